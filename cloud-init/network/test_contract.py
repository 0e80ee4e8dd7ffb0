"""The contract of role network."""

import json

import pytest


@pytest.mark.each_boot
@pytest.mark.requirement("NET-1")
def test_a_card_has_an_address_by_networkd(host):
    """systemd-networkd configured a card and gave it an address; nothing else manages cards."""
    routes = json.loads(host.check_output("ip -j route show default"))
    assert routes
    assert routes[0]["protocol"] == "dhcp"
    listed = host.check_output("networkctl list --no-legend --no-pager")
    states = {line.split()[1]: line.split()[-1] for line in listed.splitlines()}
    assert states[routes[0]["dev"]] == "configured"
    for rival in ("NetworkManager.service", "networking.service", "dhcpcd.service"):
        assert not host.service(rival.removesuffix(".service")).is_running


@pytest.mark.requirement("NET-1")
def test_any_card_would_get_dhcp(host):
    """A card that no other file knows falls to the role's own, whatever its name; virtual ones do not."""
    files = host.check_output("ls /etc/systemd/network /run/systemd/network 2>/dev/null; :").split()
    assert "99-skyvyos.network" in files
    assert max(name for name in files if name.endswith(".network")) == "99-skyvyos.network"
    lines = host.check_output("cat /etc/systemd/network/99-skyvyos.network").splitlines()
    assert {"Type=ether", "Kind=!*", "DHCP=yes"} <= set(lines)


@pytest.mark.requirement("NET-1")
def test_names_are_resolved_by_the_stub(host, settings):
    """resolv.conf is resolved's stub, names of this machine resolve, and LLMNR and mDNS are off."""
    assert host.check_output("readlink -f /etc/resolv.conf") == "/run/systemd/resolve/stub-resolv.conf"
    assert host.run("getent hosts $(hostname)").rc == 0
    effective = host.check_output("systemd-analyze cat-config systemd/resolved.conf")
    lines = [line for line in effective.splitlines() if not line.startswith("#")]
    assert "LLMNR=no" in lines
    assert "MulticastDNS=no" in lines
    if settings["dns"]:
        assert f"DNS={' '.join(settings['dns'])}" in lines
    if settings["domains"]:
        assert f"Domains={' '.join(settings['domains'])}" in lines
