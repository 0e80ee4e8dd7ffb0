"""Tests of `skyvypack.companions`: scripts that make a machine of a finished disk on a user's own platform."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from fixture_types import FakeTool

from skyvypack import command, companions, ovf, targets
from skyvypack.artifact import DiskFile
from skyvypack.spec.model import Machine, Spec

SPEC = Spec("web", "1.0.0", "trixie", ())


def written(folder: Path, target: str, *formats: str, spec: Spec = SPEC, **settings: object) -> str:
    defaults = {name: rule["default"] for name, rule in targets.settings_rules(target).items()}
    disks = [DiskFile(folder / f"web-1.0.0.{one}", one, 3, one * 16) for one in formats]
    for disk in disks:
        disk.path.write_text("disk")
    (made,) = companions.write(folder, disks, replace(spec, targets={target: defaults | settings}), target)
    return made.read_text()


def test_a_target_without(tmp_path: Path) -> None:
    """Most targets need nothing beside the disk."""
    settings = {name: rule["default"] for name, rule in targets.settings_rules("qemu").items()}
    assert companions.write(tmp_path, [], replace(SPEC, targets={"qemu": settings}), "qemu") == []


class TestHyperV:
    def test_generation_follows_the_firmware(self, tmp_path: Path) -> None:
        """UEFI is generation 2, where GRUB is not signed; BIOS is generation 1, which has no such setting."""
        modern = written(tmp_path, "hyperv", "vhdx")
        assert "-Generation 2 " in modern
        assert "-EnableSecureBoot Off" in modern
        old = written(tmp_path, "hyperv", "vhdx", spec=replace(SPEC, machine=Machine(firmware="bios")))
        assert "-Generation 1 " in old
        assert "Set-VMFirmware" not in old

    def test_settings_and_digest(self, tmp_path: Path) -> None:
        """The switch, quoted for PowerShell, the VLAN, and the digest that the copy is held against are in it."""
        text = written(tmp_path, "hyperv", "vhdx", switch="Bob's", vlan=7, mac_spoofing=True)
        assert "'Bob''s'" in text
        assert "-VlanId 7" in text
        assert "-MacAddressSpoofing On" in text
        assert f"$digest = '{'vhdx' * 16}'" in text
        assert text.count("{") == text.count("}")


class TestVirtualBox:
    @pytest.mark.parametrize("format", ["vdi", "ova"])
    def test_makes_a_machine(self, tmp_path: Path, fake_tool: FakeTool, format: str) -> None:
        """A disk is cloned and attached to SATA, an appliance imported; both get the seed as a disc."""
        text = written(tmp_path, "virtualbox", format)
        log = tmp_path / "log"
        fake_tool("VBoxManage", f'echo "$*" >> {log}; [ "$1" != showvminfo ]')
        fake_tool("sed", "echo /machines")
        fake_tool("dirname", f"echo {tmp_path}")
        (tmp_path / "seed.iso").write_text("seed")
        (tmp_path / "register.sh").write_text(text)
        command.run(["sh", tmp_path / "register.sh", "clone 1", tmp_path / "seed.iso"])
        calls = log.read_text()
        assert ("clonemedium disk" if format == "vdi" else "import ") in calls
        assert f"--type dvddrive --medium {tmp_path}/seed.iso" in calls
        assert "modifyvm clone 1 --cpus 2 --memory 2048 --firmware efi" in calls
        assert "unregistervm" not in calls

    def test_undone_when_a_step_fails(self, tmp_path: Path, fake_tool: FakeTool) -> None:
        """A machine that was begun does not stay; one that was there before is not touched."""
        (tmp_path / "register.sh").write_text(written(tmp_path, "virtualbox", "ova"))
        log = tmp_path / "log"
        fake_tool("dirname", f"echo {tmp_path}")
        fake_tool("VBoxManage", f'echo "$*" >> {log}; case "$1" in showvminfo | modifyvm) exit 1 ;; esac')
        done = command.run(["sh", tmp_path / "register.sh", "clone"], check=False)
        assert done.returncode == 1
        assert "unregistervm clone --delete" in log.read_text()
        log.unlink()
        fake_tool("VBoxManage", f'echo "$*" >> {log}')
        done = command.run(["sh", tmp_path / "register.sh", "clone"], check=False)
        assert "there is a machine clone already" in done.stderr
        assert log.read_text() == "showvminfo clone\n"


def test_appliance_of_virtualbox() -> None:
    """VirtualBox has no paravirtual SCSI: its OVA has a SATA controller and a network card that it knows."""
    fields = targets.appliance("virtualbox")
    text = ovf.descriptor(SPEC, ovf.Disk("web.vmdk", 3, 1 << 30), ovf.Hardware(**fields))
    assert "vmware.sata.ahci" in text
    assert ">E1000<" in text
    assert "VirtualSCSI" not in text
    assert targets.appliance("qemu") == {}
