"""Every fixture gives what the facts say."""

import pytest

pytestmark = pytest.mark.requirement("TOY-1")


@pytest.mark.requirement("TOY-2", "TOY-3")
def test_host_runs_commands(host):
    assert host.check_output("echo here") == "here"


def test_settings_are_those_of_this_role(settings, roles):
    assert settings == {"colour": "green"} == roles["passing"]


def test_spec(spec):
    assert (spec.name, spec.version, spec.debian, spec.release_number) == ("toy", "1.0", "trixie", 13)
    assert spec.title == "SkyvyOS Server 1.0 (Debian 13 trixie)"
    assert spec.machine.cpus == 2


def test_ports_services_and_packages_of_every_role(ports, services, packages):
    assert [(port.port, port.protocol, port.role) for port in ports] == [(22, "tcp", "passing")]
    assert services.enable == {"ssh.service": "remote access"}
    assert packages == {"openssh-server": "remote access"}


def test_phase_and_clone(phase, clone):
    assert phase in ("first boot", "after reboot")
    assert (clone.name, clone.firmware, clone.user) == ("bios", "bios", "tester")


@pytest.mark.parametrize("number", [1, 2])
def test_each(number):
    assert number
