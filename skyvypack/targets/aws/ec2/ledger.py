"""Which blocks of an unfinished snapshot have arrived: what a second run needs to send only the rest.

EBS itself does not tell: a pending snapshot cannot be listed ("Frequently asked questions for EBS direct APIs").
One line for each block, ``<index> <SHA-256 in hexadecimal>``, is written by the worker that sent it, as soon as EBS has
acknowledged it. So what a killed run has sent without a line is at most one block for each worker. A line that is lost
with the machine's power only means that its block is sent again.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from threading import Lock
from types import TracebackType
from typing import Self

_LINE = re.compile(rb"(\d+) ([0-9a-f]{64})\n")


class Ledger:
    """The blocks of one snapshot that have arrived, for any number of threads.

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
        self._writing = Lock()
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        # The last line of a killed run may be torn; the next one must not be glued to it.
        os.truncate(self._descriptor, whole)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._writing:
            os.close(self._descriptor)
            self._descriptor = -1

    def add(self, index: int, digest: bytes) -> None:
        """Write down that a block has arrived; it is in the file when this returns.

        Raises:
            OSError: it cannot be written, as for a worker that comes after the end.
        """
        line = b"%d %s\n" % (index, digest.hex().encode())
        with self._writing:
            os.write(self._descriptor, line)
            self.digests[index] = digest
