"""What EBS holds after a registration boots: the blocks are read back and hung on a guest's NVMe controller."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from aws.conftest import HOME, blocks_of
from simulators.moto_aws import FaultyAws

from skyvypack import disk as disks
from skyvypack import seed
from skyvypack.accelerator import choose
from skyvypack.artifact import DiskFile
from skyvypack.link import Access
from skyvypack.machine import Hardware, Machine, wait
from skyvypack.progress import Progress
from skyvypack.registrar import Journal
from skyvypack.registrar.contract import Order
from skyvypack.roles import Role
from skyvypack.spec.model import Machine as Wanted
from skyvypack.spec.model import Spec
from skyvypack.targets import settings_rules
from skyvypack.targets.aws.ec2 import images, marks, snapshots
from skyvypack.targets.aws.ec2.blocks import BLOCK
from skyvypack.targets.aws.registrar import connect


def order_of(template: Path, aws: FaultyAws) -> Order:
    """An order of a finished template, for the account that moto plays."""
    size = disks.info(template)["virtual-size"]
    defaults = {name: rule["default"] for name, rule in settings_rules("aws").items()}
    settings = {**defaults, "region": HOME, "endpoint": aws.url}
    roles = (Role("toy", "a toy", Path("toy")),)
    machine = Wanted(disk=-(-size // (1 << 30)))
    spec = Spec("web", "1.0.0", "trixie", roles, machine=machine, targets={"aws": settings})
    file = DiskFile(template, "qcow2", template.stat().st_size, disks.sha256(template))
    return Order(spec, "aws", f"sha256:{file.sha256}", file)


def read_back(order: Order, raw: Path) -> None:
    """Register, and write what the AMI's snapshot holds to a raw disk."""
    with connect(order.settings, Progress()) as registrar:
        with Journal("aws").run(order.settings, order.title, registrar.undo, Progress()) as run:
            template = registrar.register(order, run)
            run.finish()
        image: Any = images.look(registrar.region, template.id)
        (snapshot,) = marks.snapshots_of(image)
        with raw.open("wb") as handle:
            handle.truncate(order.spec.machine.disk << 30)
            for index, data in blocks_of(registrar.region, snapshot).items():
                handle.seek(index * BLOCK)
                handle.write(data)


@pytest.mark.boot
def test_what_ebs_holds_boots_from_nvme_by_uefi(
    aws: FaultyAws, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on an instance of today: UEFI, an NVMe root that grew to its volume, and first-boot user-data applied."""
    template = os.environ.get("SKYVYPACK_TEST_DISK")
    if not template:
        pytest.skip("SKYVYPACK_TEST_DISK names no finished qcow2 disk")
    for module in (images, snapshots):
        monkeypatch.setattr(module, "PAUSE", 0.01)
    read_back(order_of(Path(template), aws), tmp_path / "volume.raw")
    disks.convert(tmp_path / "volume.raw", tmp_path / "volume.qcow2", "qcow2")
    key, public = seed.keypair(tmp_path)
    account = f"name: tester\n  sudo: ALL=(ALL) NOPASSWD:ALL\n  ssh_authorized_keys: ['{public}']"
    iso = seed.make(tmp_path, f"#cloud-config\nusers:\n- {account}\n", "instance-id: one\n")
    with Machine(
        "instance",
        tmp_path / "volume.qcow2",
        tmp_path / "machine",
        accelerator=choose(None, cache=tmp_path),
        access=Access("tester", key),
        seed=iso,
        hardware=Hardware("uefi", "nvme"),
    ) as machine:
        wait(machine.connecting(240))
        assert wait(machine.settling(240)) == "running"
        assert machine.run("findmnt -no SOURCE /").stdout.startswith("/dev/nvme0n1p")
        assert "cloud-init" in machine.run("cloud-init status --long; echo cloud-init").stdout
        assert machine.run("test -d /sys/firmware/efi && echo uefi").stdout == "uefi\n"
        wait(machine.powering_off(60))
