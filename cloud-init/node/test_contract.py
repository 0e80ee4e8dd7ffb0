"""The contract of role node."""

import pytest

SITE = "server { listen 127.0.0.1:8088; location / {\n"
SITE += "include /etc/nginx/snippets/skyvyos-proxy.conf; proxy_pass http://127.0.0.1:8087; } }"
PAGE = "require('http').createServer((ask, answer) => answer.end('made by node')).listen(8087, '127.0.0.1')"


@pytest.mark.once
@pytest.mark.requirement("NOD-1")
def test_node_and_npm_work(host, settings):
    """Node.js 20 or later, or what the spec accepts in its place, runs programs; npm runs and has our settings."""
    least = 18 if settings["accept"] == "nodejs-18" else 20
    major = host.check_output("node -p 'process.versions.node.split(\".\")[0]'")
    assert int(major) >= least
    # One start of npm, which takes seconds, shows both.
    registry = host.check_output("npm config get registry")
    assert registry.startswith("http")
    assert not settings["registry"] or registry.rstrip("/") == settings["registry"].rstrip("/")


@pytest.mark.once
@pytest.mark.requirement("NOD-1", "NGX-2")
def test_a_page_made_by_node_is_served_by_nginx(host, roles):
    """An application on Node.js behind nginx, by the snippet for reverse proxies."""
    if "nginx" not in roles:
        pytest.skip("there is no nginx in this template")
    script = f"""
        site=/etc/nginx/conf.d/skyvyos-contract.conf
        trap 'rm -f $site; systemctl reload nginx; systemctl stop skyvyos-contract-node' EXIT
        cat >$site <<'END'\n{SITE}\nEND
        systemd-run --quiet --collect --unit=skyvyos-contract-node node -e "{PAGE}"
        systemctl reload nginx
        python3 - <<'END'
import time, urllib.request
for _ in range(40):
    try:
        print(urllib.request.urlopen("http://127.0.0.1:8088/", timeout=10).read().decode())
        break
    except OSError:
        time.sleep(0.5)
END
    """
    assert host.check_output(script) == "made by node"
