"""The contract of role status: run by `skyvypack verify` against a booted clone."""


def test_the_page_tells_how_the_machine_is(host, spec):
    """The service writes a page that names the template and the machine, and nginx may read it."""
    host.check_output("systemctl start status-page.service")
    text = host.check_output("setpriv --reuid=www-data --regid=www-data --clear-groups cat /srv/www/status.txt")
    assert spec.title in text
    assert host.check_output("hostname") in text


def test_the_page_is_written_again_and_again(host, settings):
    """The timer waits for its next turn, at the interval of the settings."""
    shown = host.check_output("systemctl show -p ActiveState,TimersMonotonic status-page.timer")
    assert "ActiveState=active" in shown
    assert f"OnUnitActiveUSec={settings['minutes']}min" in shown
