"""The contract of role php."""

import json

import pytest

EXTENSIONS = {"mysqli", "pdo_mysql", "curl", "gd", "mbstring", "xml", "zip", "Zend OPcache"}
KEYS = ("memory_limit", "max_execution_time", "upload_max_filesize", "post_max_size", "expose_php", "display_errors")


@pytest.fixture(scope="module")
def number(spec):
    return "8.4" if spec.release_number >= 13 else "8.2"


@pytest.fixture(scope="module")
def page(host):
    """What a page says of itself, through nginx."""
    path = "/srv/www/skyvyos-contract.php"
    keys = ", ".join(f"'{key}' => ini_get('{key}')" for key in KEYS)
    php = f"<?php echo json_encode(['version' => PHP_VERSION, 'extensions' => get_loaded_extensions(), {keys}]);"
    host.check_output(f"cat >{path} <<'END'\n{php}\nEND")
    get = "import ssl, urllib.request as u; c = ssl._create_unverified_context(); "
    get += "print(u.urlopen('https://127.0.0.1/skyvyos-contract.php', context=c).read().decode())"
    try:
        return json.loads(host.check_output(f'python3 -c "{get}"'))
    finally:
        host.run(f"rm -f {path}")


@pytest.mark.requirement("PHP-1")
def test_a_page_is_served_with_every_extension(page, settings):
    """PHP 8 answers behind nginx, with the extensions that are asked for and the values of the settings."""
    assert page["version"].startswith("8.")
    assert EXTENSIONS - set(page["extensions"]) == set()
    assert page["memory_limit"] == settings["memory_limit"]
    assert page["max_execution_time"] == str(settings["max_execution_time"])
    assert page["upload_max_filesize"] == page["post_max_size"] == settings["upload_max_filesize"]
    assert page["expose_php"] in ("", "0")
    assert page["display_errors"] in ("", "0")


@pytest.mark.requirement("PHP-1")
def test_processes_follow_the_memory(host, settings, number):
    """pm.max_children is what the settings say, or their share of this machine's memory, since before PHP started."""
    memory = int(host.check_output("sed -n 's/^MemTotal: *\\([0-9]*\\) kB/\\1/p' /proc/meminfo")) // 1024
    share = memory * settings["memory_share"] // 100 // settings["memory_of_child"]
    wanted = max(2, settings["max_children"] or share)
    assert f"pm.max_children = {wanted}\n" in host.run(f"php-fpm{number} -tt").stderr
    script = f"""
        systemctl show -P ExecMainExitTimestampMonotonic skyvyos-php-memory.service
        systemctl show -P ExecMainStartTimestampMonotonic php{number}-fpm.service
    """
    written, started = map(int, host.check_output(script).split())
    assert 0 < written <= started
    assert host.service(f"php{number}-fpm").is_running


@pytest.mark.once
@pytest.mark.requirement("PHP-1")
def test_only_files_that_are_there_reach_php(host):
    """A made-up page is refused by nginx."""
    get = "import ssl, urllib.request as u; c = ssl._create_unverified_context(); "
    get += "u.urlopen('https://127.0.0.1/index.html/skyvyos-contract.php', context=c)"
    assert "HTTP Error 404" in host.run(f'python3 -c "{get}"').stderr
