"""LVM, LUKS and RAID 1, partitioned for real by Debian's installer on a machine of its own, without Packer."""

from __future__ import annotations

import hashlib
import json
import signal
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from mirror import Source

from skyvypack import command, installer, iso
from skyvypack.machine import find_ovmf
from skyvypack.spec import loads
from skyvypack.spec.model import Base

pytestmark = pytest.mark.boot

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ0qG0eVvF8oJtT5qYq0pP3mX3kM0y2r9Xv5k3d2b1aZ someone@example.org"
# What a person types when a disk is encrypted.
PASSPHRASE = "".join(
    f"d-i partman-crypto/{question}\n"
    for question in (
        "passphrase password correct horse battery",
        "passphrase-again password correct horse battery",
        "weak_passphrase boolean true",
    )
)
# Without asking the mirror for anything: a machine that others use as well takes its time, and gets on.
MINUTES = 40


@dataclass(frozen=True)
class Layout:
    """A layout, what its disks show afterwards, and how the machine starts.

    Args:
        wish: in the spec's `installer`.
        disks: how many.
        root: type of the last partition's content, as blkid names it.
        uefi: the machine boots by UEFI.
    """

    wish: str
    disks: int
    root: str
    uefi: bool = False


LAYOUTS = {
    "lvm": Layout("layout: lvm, swap: 512", 1, "LVM2_member"),
    "luks": Layout("encrypt: true", 1, "crypto_LUKS", uefi=True),
    "raid1": Layout("layout: raid1", 2, "linux_raid_member"),
}


def make(source: Source, layout: Layout, folder: Path) -> Path:
    """The installer of a machine of this layout."""
    names = ", ".join(f"/dev/vd{letter}" for letter in "ab"[: layout.disks])
    digest = hashlib.sha256(source.path.read_bytes()).hexdigest()
    spec = loads(
        f"name: web\nversion: 1.0.0\ndebian: {source.release}\nroles: [base]\nmachine: {{disk: 8}}\n{source.mirror}"
        f"users: [{{name: admin, ssh_authorized_keys: ['{KEY}']}}]\n"
        f"installer: {{disks: [{names}], {layout.wish}}}\n"
    )
    base = Base("iso", url=str(source.path), checksum=f"sha256:{digest}")
    files = installer.machine_files(replace(spec, base=base))
    files["installer/initrd/preseed.cfg"] += PASSPHRASE if "encrypt" in layout.wish else ""
    for path, text in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
    return iso.remaster(folder, source.path, folder / f"{source.path.stem}.iso")


def firmware(folder: Path) -> list[str]:
    """QEMU's arguments for UEFI, with variables of its own in a folder."""
    code, variables = find_ovmf()
    own = folder / "variables.fd"
    own.write_bytes(variables.read_bytes())
    return ["-drive", f"if=pflash,format=raw,readonly=on,file={code}", "-drive", f"if=pflash,format=raw,file={own}"]


def partition(image: Path, disks: Sequence[Path], source: Source, *, uefi: bool) -> str:
    """Run the installer until it fetches the base system onto the disks; gives what its console said until then."""
    console = image.parent / "console.log"
    argv = ["qemu-system-x86_64", "-machine", "q35", "-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2"]
    argv += ["-m", "2048", "-display", "none", "-serial", f"file:{console}", "-cdrom", str(image), "-boot", "once=d"]
    argv += ["-nic", "user,model=virtio-net-pci", "-no-reboot", *(firmware(image.parent) if uefi else ())]
    for disk in disks:
        command.run(["qemu-img", "create", "-q", "-f", "raw", disk, "8G"])
        argv += ["-drive", f"file={disk},format=raw,if=virtio,cache=unsafe"]
    heard, before = time.monotonic(), len(source.asked)
    count = before
    with subprocess.Popen(argv) as qemu:
        try:
            while not any(path.endswith(".deb") for path in source.asked[before:]):
                said = console.read_text(errors="replace") if console.exists() else ""
                assert qemu.poll() is None, f"the installer gave up: {said[-2000:]}"
                if len(source.asked) > count:
                    heard, count = time.monotonic(), len(source.asked)
                assert time.monotonic() - heard < MINUTES * 60, f"nothing was partitioned: {said[-2000:]}"
                time.sleep(1)
            # What it wrote reaches the disk with the first files of the base system.
            time.sleep(20)
        finally:
            qemu.send_signal(signal.SIGTERM)
    return console.read_text(errors="replace")


def content(disk: Path) -> list[tuple[str, str]]:
    """Each partition's type, and what blkid finds in it."""
    table = json.loads(command.run(["sfdisk", "--json", disk]).stdout)["partitiontable"]
    found = []
    for one in table["partitions"]:
        argv = ["blkid", "-p", "-o", "value", "-s", "TYPE", "-O", str(one["start"] * table["sectorsize"])]
        argv += ["-S", str(one["size"] * table["sectorsize"]), str(disk)]
        found.append((one["type"], command.run(argv, check=False).stdout.strip()))
    return found


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_partitioned_as_wished(tmp_path: Path, source: Source, layout: Layout) -> None:
    """No question is left open, and both firmwares find what they boot from on every disk."""
    disks = [tmp_path / f"disk{number}.raw" for number in range(layout.disks)]
    partition(make(source, layout, tmp_path / "installer"), disks, source, uefi=layout.uefi)
    for disk in disks:
        kinds, formats = zip(*(found := content(disk)), strict=True)
        assert "21686148-6449-6E6F-744E-656564454649" in kinds, "a BIOS boot partition"
        assert ("C12A7328-F81F-11D2-BA4B-00A0C93EC93B", "vfat") in found, "an EFI system partition"
        assert layout.root in formats
        assert ("ext4" in formats) == (layout.root in ("LVM2_member", "crypto_LUKS")), "/boot of its own"
