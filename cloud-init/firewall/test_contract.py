"""The contract of role firewall."""

import re

import pytest


@pytest.fixture(scope="module")
def status(host):
    return host.check_output("ufw status verbose")


@pytest.mark.requirement("FW-1")
def test_ufw_is_active_and_denies_by_default(host, status, settings):
    """Active now and on boot; incoming denied, outgoing allowed."""
    assert "Status: active" in status
    assert re.search(r"^Default: deny \(incoming\), allow \(outgoing\)", status, re.M)
    assert f"Logging: {'off' if settings['logging'] == 'off' else 'on'}" in status
    assert "ENABLED=yes" in host.check_output("cat /etc/ufw/ufw.conf")
    assert host.service("ufw").is_enabled


@pytest.mark.requirement("FW-1")
def test_exactly_the_ports_asked_for_are_open(status, settings, ports):
    """Every role's port and every allowed one is open in IPv4 and IPv6, and no other."""
    wanted = {f"{port.port}/{port.protocol}" for port in ports} | set(settings["allow"])
    rules = re.findall(r"^(\S+)( \(v6\))? +(ALLOW|LIMIT) IN", status, re.M)
    assert {port for port, six, _ in rules if not six} == wanted
    assert {port for port, six, _ in rules if six} == wanted
    limited = {port for port, _, action in rules if action == "LIMIT"}
    assert limited == ({f"{port.port}/tcp" for port in ports if port.role == "ssh"} if settings["limit_ssh"] else set())


@pytest.mark.requirement("FW-1")
def test_a_port_nobody_asked_for_does_not_answer(host, clone, settings, ports):
    """A server started on another port cannot be reached from outside, while sshd's port can."""
    taken = {port.port for port in ports} | {int(entry.split("/")[0]) for entry in settings["allow"]}
    free = next(port for port in range(8200, 8300) if port not in taken)
    listening = f"ss -Hltn sport = :{free} | grep -q ."
    host.check_output(f"systemd-run --quiet --unit=skyvyos-contract python3 -m http.server {free}")
    try:
        assert host.run(f"for n in $(seq 30); do {listening} && exit 0; sleep 1; done; exit 1").rc == 0
        assert not clone.answers(free, 5)
    finally:
        host.run("systemctl stop skyvyos-contract")


@pytest.mark.requirement("FW-2")
def test_the_rules_are_in_netfilter_by_iptables(host):
    """iptables itself, IPv4 and IPv6, shows the policy and UFW's chains."""
    for tool, chain in (("iptables", "ufw-user-input"), ("ip6tables", "ufw6-user-input")):
        rules = host.check_output(f"{tool} -S")
        assert "-P INPUT DROP" in rules
        assert f"-N {chain}" in rules
