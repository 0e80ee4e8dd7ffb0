"""The disk that is shipped in an OVA boots from VMware's paravirtual devices, as far as QEMU has them."""

from __future__ import annotations

import json
import os
import tarfile
from pathlib import Path

import pytest

from skyvypack import disk, ova, seed
from skyvypack.accelerator import choose
from skyvypack.machine import Access, Hardware, Machine, wait
from skyvypack.spec import loads

SPEC = loads("name: web\nversion: 1.0.0\nroles: [base]\nmachine: {firmware: uefi}\n")


def shipped(template: Path, folder: Path) -> Path:
    """A template's disk, taken through streamOptimized VMDK and OVA and back."""
    disk.convert(template, folder / "web.vmdk", "vmdk", source_format="qcow2")
    ova.write(folder / "web.vmdk", folder / "web-1.0.0.ova", SPEC)
    with tarfile.open(folder / "web-1.0.0.ova") as archive:
        archive.extract("web-1.0.0.vmdk", folder, filter="data")
    disk.convert(folder / "web-1.0.0.vmdk", folder / "back.qcow2", "qcow2", source_format="vmdk")
    return folder / "back.qcow2"


@pytest.mark.boot
def test_boots_from_pvscsi_with_vmxnet3(tmp_path: Path) -> None:
    """The guest finds its root disk on pvscsi, answers by its vmxnet3, and nothing failed.

    By BIOS: SeaBIOS reads from pvscsi, Debian's OVMF has no driver for it, as VMware's UEFI has.
    """
    template = os.environ.get("SKYVYPACK_TEST_DISK")
    if not template:
        pytest.skip("SKYVYPACK_TEST_DISK names no finished qcow2 disk")
    key, public = seed.keypair(tmp_path)
    account = f"name: tester\n  sudo: ALL=(ALL) NOPASSWD:ALL\n  ssh_authorized_keys: ['{public}']"
    iso = seed.make(tmp_path, f"#cloud-config\nusers:\n- {account}\n", "instance-id: one\n")
    machine = Machine(
        "guest",
        shipped(Path(template), tmp_path),
        tmp_path / "machine",
        accelerator=choose(None, cache=tmp_path),
        access=Access("tester", key),
        seed=iso,
        hardware=Hardware("bios", "pvscsi", card="vmxnet3"),
    )
    with machine as guest:
        wait(guest.connecting(90))
        wait(guest.settling(90))
        root = guest.run("lsblk -no PKNAME $(findmnt -no SOURCE /)").stdout.strip()
        driver = guest.run(f"readlink -f /sys/block/{root}/device/../../../driver").stdout
        assert driver.strip().endswith("/vmw_pvscsi")
        links = json.loads(guest.run("ip -json route show default").stdout)
        card = guest.run(f"readlink -f /sys/class/net/{links[0]['dev']}/device/driver").stdout
        assert card.strip().endswith("/vmxnet3")
        assert guest.run("systemctl --failed --no-legend --plain").stdout == ""
        wait(guest.powering_off(30))
