"""VMDK headers and tables are read as qemu-img writes them and as VMware's format says."""

from __future__ import annotations

import os
import struct
from pathlib import Path

import pytest
from simulators import disks

from skyvypack import disk, vmdk
from skyvypack.errors import InputError


def test_populated(tmp_path: Path) -> None:
    """Capacity is the disk's, and only grains that are there count."""
    path = tmp_path / "a.vmdk"
    path.write_bytes(disks.vmdk(b"x" * 100_000, capacity=64 << 20))
    assert vmdk.read(path) == vmdk.Extent(64 << 20, 2 << 16)


def test_footer(tmp_path: Path) -> None:
    """A directory that only the footer knows is found, also inside another file."""
    made = disks.vmdk(b"x", capacity=1 << 20)
    at_end = made[:56] + struct.pack("<Q", (1 << 64) - 1) + made[64:]
    path = tmp_path / "a.ova"
    path.write_bytes(b"h" * 512 + at_end + made[:512] + bytes(512) + b"t" * 700)
    assert vmdk.read(path, 512, len(at_end) + 1024) == vmdk.Extent(1 << 20, 1 << 16)


@pytest.mark.parametrize("content", [b"", b"KDMV", b"QFI\xfb" + bytes(600), disks.vmdk(b"x")[:700]])
def test_no_vmdk(tmp_path: Path, content: bytes) -> None:
    """What is no VMDK, or was cut off, is refused in words."""
    path = tmp_path / "a.vmdk"
    path.write_bytes(content)
    with pytest.raises(InputError, match="VMDK"):
        vmdk.read(path)


@pytest.mark.tool
def test_as_qemu_writes_it(tmp_path: Path) -> None:
    """The figures of a disk that `bake` made are right."""
    raw = tmp_path / "a.raw"
    with raw.open("wb") as handle:
        handle.truncate(64 << 20)
        handle.seek(7 << 20)
        handle.write(os.urandom(5 << 20))
    disk.convert(raw, tmp_path / "a.vmdk", "vmdk")
    assert vmdk.read(tmp_path / "a.vmdk") == vmdk.Extent(64 << 20, 5 << 20)
