"""What the header and the tables of a sparse or streamOptimized VMDK say, without a program.

Source: VMware, "Virtual Disk Format 5.0": SparseExtentHeader, grain directory and grain tables; a directory offset of
all ones means that a footer, the header's twin 1,024 bytes before the end, knows the true one.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from skyvypack.errors import InputError

_MAGIC = 0x564D444B
# magic, version, flags, capacity, grain size, descriptor offset and size, entries of a table, offset of the redundant
# directory, offset of the directory; sizes and offsets in sectors.
_HEADER = struct.Struct("<IIIQQQQIQQ")
_SECTOR = 512
_AT_END = (1 << 64) - 1
_FOOTER = 1024


@dataclass(frozen=True, slots=True)
class Extent:
    """A disk in a VMDK file.

    Args:
        capacity: of the disk, in bytes.
        populated: bytes of the disk that the file holds; a thin disk takes about that much.
    """

    capacity: int
    populated: int


def read(path: Path, offset: int = 0, size: int | None = None) -> Extent:
    """Read header and tables, a few kilobytes for each gigabyte of the disk.

    Args:
        path: the file.
        offset: where the VMDK begins in it, as in an OVA.
        size: bytes of the VMDK; the rest of the file by default.

    Raises:
        InputError: it is no VMDK, or was cut off.
    """
    try:
        with path.open("rb") as handle:
            return _read(handle, offset, path.stat().st_size - offset if size is None else size)
    except struct.error as error:
        raise InputError(f"{path} holds no whole VMDK: {error}", "bake again, or copy it again") from error
    except ValueError as error:
        raise InputError(f"{path} holds no VMDK: {error}", "give a streamOptimized vmdk, or an ova") from error


def _read(handle: BinaryIO, offset: int, size: int) -> Extent:
    capacity, grain, entries, directory = _header(handle, offset)
    if directory == _AT_END:
        capacity, grain, entries, directory = _header(handle, offset + size - _FOOTER)
    if not grain or not entries:
        raise ValueError("its header has no grain size")
    grains = -(-capacity // grain)
    tables = _numbers(handle, offset + directory * _SECTOR, -(-grains // entries))
    populated = 0
    for table in tables:
        if table:
            populated += sum(entry > 1 for entry in _numbers(handle, offset + table * _SECTOR, entries))
    return Extent(capacity * _SECTOR, min(populated * grain, capacity) * _SECTOR)


def _header(handle: BinaryIO, offset: int) -> tuple[int, int, int, int]:
    handle.seek(offset)
    fields = _HEADER.unpack(handle.read(_HEADER.size))
    magic, _version, _flags, capacity, grain, _text, _length, entries, _redundant, directory = fields
    if magic != _MAGIC:
        raise ValueError("it does not begin with KDMV")
    return capacity, grain, entries, directory


def _numbers(handle: BinaryIO, offset: int, count: int) -> tuple[int, ...]:
    handle.seek(offset)
    return struct.unpack(f"<{count}I", handle.read(4 * count))
