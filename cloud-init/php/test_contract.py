"""The contract of role php."""

import json

import pytest

EXTENSIONS = {"mysqli", "pdo_mysql", "curl", "gd", "mbstring", "xml", "zip", "Zend OPcache"}
KEYS = ("memory_limit", "max_execution_time", "upload_max_filesize", "post_max_size", "expose_php", "display_errors")


@pytest.fixture(scope="module")
def number(spec):
    return "8.4" if spec.release_number >= 13 else "8.2"


def get(host, path):
    """What nginx answers over TLS: head, an empty line, body."""
    request = f"printf 'GET {path} HTTP/1.0\\r\\nHost: 127.0.0.1\\r\\n\\r\\n'"
    # Not Python, which loads its libraries for two seconds on an emulated machine.
    answer = host.run(f"{request} | openssl s_client -quiet -connect 127.0.0.1:443 2>/dev/null").stdout
    return answer.replace("\r\n", "\n")


@pytest.fixture(scope="module")
def page(host):
    """What a page says of itself, through nginx."""
    path = "/srv/www/skyvyos-contract.php"
    keys = ", ".join(f"'{key}' => ini_get('{key}')" for key in KEYS)
    php = f"<?php echo json_encode(['version' => PHP_VERSION, 'extensions' => get_loaded_extensions(), {keys}]);"
    host.check_output(f"cat >{path} <<'END'\n{php}\nEND")
    try:
        return json.loads(get(host, "/skyvyos-contract.php").partition("\n\n")[2])
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
    assert " 404 " in get(host, "/index.html/skyvyos-contract.php").splitlines()[0]
