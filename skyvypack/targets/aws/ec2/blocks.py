"""A raw disk as EBS sees it: blocks of 512 KiB, of which those without data are never looked at.

The size of a block is a fact of the EBS direct API ("Concepts for EBS direct APIs" in the EBS user guide).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

from skyvypack.disk import data_extents

BLOCK = 512 * 1024
GIB = 1 << 30
_ZEROES = bytes(BLOCK)


class RawDisk:
    """A raw disk image, open for reading from several threads.

    Args:
        path: of the image, sparse or not.

    Raises:
        OSError: it cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor = os.open(path, os.O_RDONLY)
        self.size: int = os.fstat(self._descriptor).st_size

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._descriptor)

    @property
    def gibibytes(self) -> int:
        """Size of the smallest volume that holds it, in GiB."""
        return max(-(-self.size // GIB), 1)

    def indexes(self) -> Iterator[int]:
        """Number of each block that is not wholly in a hole of the file, ascending."""
        after = 0
        for start, end in data_extents(self._descriptor, 0, self.size):
            first = max(start // BLOCK, after)
            after = -(-end // BLOCK)
            yield from range(first, after)

    def read(self, index: int) -> bytes | None:
        """One block, zeroes after the end of the disk; None when it holds nothing but zeroes."""
        data = os.pread(self._descriptor, BLOCK, index * BLOCK)
        if data == _ZEROES[: len(data)]:
            return None
        return data if len(data) == BLOCK else data.ljust(BLOCK, b"\0")
