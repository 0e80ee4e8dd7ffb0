"""The doctor says what a machine has and misses, and mends it by exact commands."""

from __future__ import annotations

import os
from collections import namedtuple
from collections.abc import Callable
from pathlib import Path

import pytest

from skyvypack import command, doctor
from skyvypack.doctor import Finding
from skyvypack.errors import SkyvypackError

FakeTool = Callable[[str, str], Path]

VERSIONS = {
    "packer": "Packer v1.6.6",
    "qemu-system-x86_64": "QEMU emulator version 7.2.22 (Debian 1:7.2)",
    "qemu-img": "qemu-img version 7.2.22",
    "mmdebstrap": "mmdebstrap 1.3.5",
    "xorriso": "xorriso 1.5.4 : RockRidge filesystem manipulator",
    "mke2fs": "mke2fs 1.47.0 (5-Feb-2023)",
    "debugfs": "debugfs 1.47.0 (5-Feb-2023)",
    "sfdisk": "sfdisk from util-linux 2.38.1",
    "ssh": "OpenSSH_9.2p1 Debian-2",
    "mkfs.vfat": "",
    "ssh-keygen": "",
}


@pytest.fixture
def machine(fake_tool: FakeTool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeTool:
    """A Debian machine with every tool, and nothing on PATH but fakes."""
    for name, text in VERSIONS.items():
        fake_tool(name, f"echo '{text}'")
    fake_tool("apt-get", "exit 0")
    monkeypatch.setenv("PATH", str(tmp_path / "fake-tools"))
    monkeypatch.setattr(command, "_SBIN", ())
    monkeypatch.setattr(doctor, "_KEYRINGS", (str(tmp_path / "fake-tools" / "packer"),))
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    return fake_tool


def found(name: str) -> Finding:
    return next(finding for finding in doctor.examine() if finding.name == name)


def without(tmp_path: Path, name: str) -> None:
    (tmp_path / "fake-tools" / name).unlink()


def test_a_whole_machine_misses_no_program(machine: FakeTool) -> None:
    """Every program that is there is found with its version."""
    findings = {finding.name: finding for finding in doctor.examine()}
    assert all(findings[name].ok for name in VERSIONS)
    assert findings["packer"].found == "1.6.6"
    assert findings["ssh"].found == "9.2"


@pytest.mark.parametrize("name", VERSIONS)
def test_a_missing_program_names_the_command_that_brings_it(machine: FakeTool, tmp_path: Path, name: str) -> None:
    """Without a program the finding is not ok, is needed, and has the apt command of its package."""
    without(tmp_path, name)
    finding = found(name)
    assert not finding.ok
    assert finding in doctor.missing([finding])
    assert finding.fix == f"apt-get install --yes --no-install-recommends {finding.package}"


@pytest.mark.parametrize(("name", "old"), [("packer", "Packer v1.5.9"), ("mmdebstrap", "mmdebstrap 1.2.5")])
def test_a_program_that_is_too_old_does_not_do(machine: FakeTool, name: str, old: str) -> None:
    """A version below the minimum is shown together with what is needed."""
    machine(name, f"echo '{old}'")
    finding = found(name)
    assert not finding.ok
    assert finding.found == old.split()[-1].lstrip("v")
    assert "or newer" in finding.purpose


def test_a_program_that_fails_is_still_reported(machine: FakeTool) -> None:
    """A program that exits with an error and no version is told apart from one that is fine."""
    machine("packer", "echo broken >&2; exit 1")
    finding = found("packer")
    assert finding.found == "unknown version"
    assert not finding.ok


def test_a_host_without_apt_is_told_package_names_but_no_command(machine: FakeTool, tmp_path: Path) -> None:
    """Where there is no apt-get no command is pretended, and what only base bootstrap needs is no must."""
    without(tmp_path, "apt-get")
    without(tmp_path, "xorriso")
    without(tmp_path, "mmdebstrap")
    assert found("xorriso").fix == ""
    assert found("xorriso").package == "xorriso"
    assert found("xorriso").severity == "needed"
    assert found("mmdebstrap").severity == "useful"


def test_an_ordinary_user_needs_subordinate_ids(
    machine: FakeTool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without root the doctor looks for newuidmap and the user's line in /etc/subuid, and mends by sudo."""
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(doctor, "_subordinate", lambda file, user: "")
    assert found("newuidmap").fix == "sudo apt-get install --yes --no-install-recommends uidmap"
    assert found("/etc/subuid, /etc/subgid").fix.startswith("sudo usermod --add-subuids ")


def test_subordinate_ids_are_found_by_the_user_s_name(tmp_path: Path) -> None:
    """A line of another user does not count."""
    file = tmp_path / "subuid"
    file.write_text("ann:100000:65536\n")
    assert doctor._subordinate(file, "ann") == "ann:100000:65536"
    assert doctor._subordinate(file, "an") == ""
    assert doctor._subordinate(tmp_path / "none", "ann") == ""


def test_little_disk_space_is_a_must_and_little_memory_is_not(
    machine: FakeTool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk stops a bake; little memory only slows it."""
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda path: usage(10, 10, 1024**3))
    monkeypatch.setattr(doctor, "_MEMORY", 1024**6)
    assert found("disk") in doctor.missing([found("disk")])
    assert not found("memory").ok
    assert doctor.missing([found("memory")]) == []


def test_fix_installs_all_missing_packages_at_once(machine: FakeTool, tmp_path: Path) -> None:
    """One update and one install with every missing package, each once."""
    machine("apt-get", f'echo "$@" >> {tmp_path}/log')
    for name in ("xorriso", "mke2fs", "debugfs"):
        without(tmp_path, name)
    ran = doctor.fix(doctor.examine())
    assert ran == ["apt-get update", "apt-get install --yes --no-install-recommends e2fsprogs xorriso"]
    assert (tmp_path / "log").read_text().splitlines() == [line.removeprefix("apt-get ") for line in ran]


def test_fix_runs_nothing_when_nothing_is_missing(machine: FakeTool) -> None:
    """What is ok, or only useful, is left alone."""
    useful = Finding("KVM", "speed", "no permission", False, "useful", fix="adduser ann kvm")
    assert doctor.fix([found("packer"), useful]) == []


def test_fix_that_cannot_become_root_says_what_to_run(machine: FakeTool, monkeypatch: pytest.MonkeyPatch) -> None:
    """sudo that wants a password cannot ask for it: the error has the whole line to run by hand."""
    machine("sudo", 'echo "sudo: a password is required" >&2; exit 1')
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    missing = Finding("xorriso", "", "", False, "needed", "xorriso", "sudo apt-get install xorriso")
    with pytest.raises(SkyvypackError) as caught:
        doctor.fix([missing])
    assert "a password is required" in caught.value.message
    assert "sudo apt-get update && sudo apt-get install --yes --no-install-recommends xorriso" in caught.value.hint


def test_kvm_that_cannot_be_opened_is_mended_only_by_its_own_group(
    machine: FakeTool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody is put into another group than kvm for it."""
    device = type("Device", (), {"exists": lambda self: True, "group": lambda self: "root"})()
    monkeypatch.setattr(doctor, "Path", lambda path: device)
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    finding = doctor._kvm()
    assert not finding.ok
    assert finding.fix == ""
