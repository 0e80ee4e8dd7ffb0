"""The contract of role logging."""

import pytest


@pytest.mark.requirement("LOG-1")
def test_each_message_is_in_its_file(host):
    """A message of each kind arrives in syslog, auth.log and kern.log."""
    boot = host.check_output("cat /proc/sys/kernel/random/boot_id")
    script = f"""
        logger -t skyvyos-contract 'plain {boot}'
        logger -t skyvyos-contract -p auth.info 'auth {boot}'
        echo 'skyvyos-contract: kern {boot}' >/dev/kmsg
        for n in $(seq 20); do
            grep -qs 'plain {boot}' /var/log/syslog && grep -qs 'auth {boot}' /var/log/auth.log && break
            sleep 1
        done
        grep -c 'plain {boot}' /var/log/syslog
        grep -c 'auth {boot}' /var/log/auth.log
        test -s /var/log/kern.log && echo kernel
        stat -c %a /var/log/syslog /var/log/auth.log /var/log/kern.log
    """
    assert host.check_output(script).split() == ["1", "1", "kernel", "640", "640", "640"]


@pytest.mark.once
@pytest.mark.requirement("LOG-2")
def test_rotation_is_daily_or_by_size_and_keeps_the_weeks_asked_for(host, settings):
    """logrotate reads its files without complaint; logs of the system are kept as long as the settings say."""
    checked = host.run("logrotate -d /etc/logrotate.conf 2>&1")
    assert checked.rc == 0
    assert "error:" not in checked.stdout
    for path in ("/etc/logrotate.conf", "/etc/logrotate.d/rsyslog"):
        words = host.file(path).content_string.split("\n")
        lines = {line.strip() for line in words}
        assert {"daily", "compress", f"rotate {settings['weeks'] * 7}", f"maxsize {settings['maxsize']}"} <= lines
    assert host.check_output("systemctl is-active logrotate.timer") == "active"
    journal = host.check_output("systemd-analyze cat-config systemd/journald.conf | grep -E '^(SystemMaxUse|Storage)='")
    assert f"SystemMaxUse={settings['journal_maxsize']}" in journal
    assert "Storage=persistent" in journal


@pytest.mark.requirement("RES-3")
def test_the_journal_outlives_a_shortage_of_memory(host):
    """The OOM killer looks for another victim."""
    assert int(host.check_output("systemctl show -P OOMScoreAdjust systemd-journald.service")) < 0
