"""The smallest disks that count as such."""

from __future__ import annotations

import struct
from pathlib import Path

from skyvypack import ova
from skyvypack.spec.model import Spec

_SECTOR = 512
_GRAIN = 128  # sectors
_ENTRIES = 512


def vmdk(content: bytes, capacity: int = 1 << 20) -> bytes:
    """A sparse VMDK, laid out as qemu-img lays out a streamOptimized one: header, directory, one table, grains.

    Args:
        content: what its first grains hold.
        capacity: of the disk, in bytes.
    """
    grains = -(-len(content) // (_GRAIN * _SECTOR))
    header = struct.pack(
        "<IIIQQQQIQQ", 0x564D444B, 3, 0x30001, capacity // _SECTOR, _GRAIN, 0, 0, _ENTRIES, 0, 1
    ).ljust(_SECTOR, b"\0")
    directory = struct.pack("<I", 2).ljust(_SECTOR, b"\0")
    places = [6 + number * _GRAIN for number in range(grains)]
    table = struct.pack(f"<{len(places)}I", *places).ljust(4 * _ENTRIES, b"\0")
    return header + directory + table + content.ljust(grains * _GRAIN * _SECTOR, b"\0")


def write_ova(path: Path, spec: Spec, content: bytes) -> None:
    """An OVA that holds such a disk."""
    source = path.with_suffix(".vmdk")
    source.write_bytes(vmdk(content))
    ova.write(source, path, spec)
    source.unlink()
