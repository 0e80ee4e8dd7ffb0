"""Which blocks of an unfinished snapshot have arrived: what a second run needs to send only the rest.

EBS itself does not tell: a pending snapshot cannot be listed ("Frequently asked questions for EBS direct APIs").
One line for each block, ``<index> <SHA-256 in hexadecimal>``, is written when EBS has acknowledged it. A line that is
lost with the machine's power only means that its block is sent again.
"""

from __future__ import annotations

import re
from pathlib import Path
from types import TracebackType
from typing import Self

_LINE = re.compile(rb"(\d+) ([0-9a-f]{64})\n")


class Ledger:
    """The blocks of one snapshot that have arrived. Written from one thread, read from any.

    Args:
        path: of the file; what is in it already is taken over.

    Raises:
        OSError: it cannot be read or written.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.path = path
        self.digests: dict[int, bytes] = {}
        whole = 0
        text = path.read_bytes() if path.exists() else b""
        for match in _LINE.finditer(text):
            if match.start() != whole:
                break
            self.digests[int(match[1])] = bytes.fromhex(match[2].decode())
            whole = match.end()
        self._handle = path.open("r+b" if path.exists() else "xb", buffering=0)
        # The last line of a killed run may be torn; the next one must not be glued to it.
        self._handle.truncate(whole)
        self._handle.seek(whole)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._handle.close()

    def add(self, index: int, digest: bytes) -> None:
        """Write down that a block has arrived."""
        self._handle.write(b"%d %s\n" % (index, digest.hex().encode()))
        self.digests[index] = digest
