"""The contract of role certbot."""

import pytest


@pytest.mark.once
@pytest.mark.requirement("CRT-1")
def test_certbot_has_its_plugin_for_nginx(host, settings):
    """certbot knows nginx as a way to get and to install certificates, and takes our configuration."""
    shown = host.check_output("certbot plugins --text --non-interactive 2>/dev/null")
    assert "* nginx" in shown
    assert not settings["email"] or f"email = {settings['email']}" in host.check_output("cat /etc/letsencrypt/cli.ini")


@pytest.mark.requirement("CRT-1")
def test_renewal_is_due(host):
    """The timer waits for its next turn."""
    timer = host.check_output("systemctl show -p ActiveState,NextElapseUSecRealtime certbot.timer")
    assert "ActiveState=active" in timer
    assert "NextElapseUSecRealtime=\n" not in timer + "\n"


@pytest.mark.once
@pytest.mark.requirement("CRT-1")
def test_renewal_runs_by_itself(host):
    """What the timer starts succeeds."""
    assert host.run("systemctl start certbot.service").rc == 0


@pytest.mark.once
@pytest.mark.requirement("CRT-1", "NGX-1")
def test_a_new_certificate_reaches_nginx(host):
    """The hook that is run after a renewal reloads nginx."""
    hook = "/etc/letsencrypt/renewal-hooks/deploy/skyvyos-nginx"
    script = f"""
        before=$(pgrep -of '^nginx: worker')
        {hook} || exit 1
        for n in $(seq 20); do
            after=$(pgrep -nf '^nginx: worker')
            [ "$after" -gt "$before" ] && exit 0
            sleep 0.5
        done
        exit 1
    """
    assert host.run(script).rc == 0
