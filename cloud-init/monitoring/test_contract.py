"""The contract of role monitoring."""

import pytest


@pytest.mark.once
@pytest.mark.requirement("TLS-1")
def test_the_tools_are_there(host):
    """Each runs far enough to be there with its libraries."""
    tools = ("htop", "iotop", "iftop", "nmon", "ncdu", "sar", "iostat", "mpstat", "pidstat")
    script = f"for tool in {' '.join(tools)}; do path=$(command -v $tool) && ldd $path 2>&1 | grep -q 'not found'"
    missing = host.check_output(f'{script} || [ -z "$path" ] && echo $tool; done; :')
    assert missing == ""
    for tool in ("htop --version", "ncdu --version", "sar -V"):
        assert host.run(tool).rc == 0, tool


@pytest.mark.requirement("TLS-1")
def test_sysstat_collects(host, settings):
    """The timer runs at the interval of the settings, and what it writes can be read back."""
    assert host.check_output("systemctl is-active sysstat-collect.timer") == "active"
    calendar = host.check_output("systemctl show -p TimersCalendar sysstat-collect.timer")
    minutes = settings["interval"]
    assert calendar.count("OnCalendar=") == 1
    assert f":00/{minutes}:00" in calendar if minutes < 60 else "OnCalendar=*-*-* *:00:00" in calendar
    host.check_output("systemctl start sysstat-collect.service && sleep 1 && systemctl start sysstat-collect.service")
    assert "Average:" in host.check_output("LC_ALL=C sar -u")
    assert f"HISTORY={settings['days']}" in host.check_output("cat /etc/sysstat/sysstat").splitlines()
