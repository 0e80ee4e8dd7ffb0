"""SHA-256 of files, and which files this process has digested that nobody has touched since.

What a bake has digested for its manifest need not be read again by the upload that follows in the same process. What
came from elsewhere, such as an artifact of CI, is not known here and always read: memory is never written down, as
times and inode numbers in a file could be anybody's.
"""

from __future__ import annotations

import hashlib
import os
import time
from pathlib import Path
from typing import NamedTuple

# Kernels before 6.13 stamp with a clock that ticks each 1 to 10 ms: two writes in one tick have the same time.
_TICK = 20_000_000  # ns
_SECOND = 1_000_000_000  # ns


class Stamp(NamedTuple):
    """What tells that a file is the one it was: any write changes `changed`, which no program can set.

    Args:
        device: that holds it.
        inode: its number there.
        size: in bytes.
        modified: time of the last write, in ns since 1970.
        changed: time of the last write or change of owner, mode, links or times, in ns since 1970.
    """

    device: int
    inode: int
    size: int
    modified: int
    changed: int


_found: dict[Stamp, str] = {}


def stamp(descriptor: int) -> Stamp:
    """The stamp of an open file."""
    now = os.fstat(descriptor)
    return Stamp(now.st_dev, now.st_ino, now.st_size, now.st_mtime_ns, now.st_ctime_ns)


def of(path: Path) -> str:
    """Digest a file, in hexadecimal; it is read whatever is known of it."""
    with path.open("rb") as handle:
        before = stamp(handle.fileno())
        age = time.time_ns() - before.changed
        if 0 <= age < _TICK:
            time.sleep((_TICK - age) / 1e9)  # a later write must be seen to be later
        began = time.time_ns()
        digest = hashlib.file_digest(handle, "sha256").hexdigest()
        remember(handle.fileno(), before, began, digest)
    return digest


def known(what: Stamp) -> str:
    """The digest of a file that this process has read and that is as it was; empty when there is none."""
    return _found.get(what, "")


def remember(descriptor: int, before: Stamp, began: int, digest: str) -> None:
    """Remember a file's digest, unless it was touched meanwhile or its times would not tell of a write.

    Args:
        descriptor: of the file, still open.
        before: its stamp before the first byte was read.
        began: when that was, in ns since 1970.
        digest: of all its bytes, in hexadecimal.
    """
    coarse = before.changed % _SECOND == 0  # a file system that knows no fractions of seconds
    if not coarse and began - before.changed >= _TICK and stamp(descriptor) == before:
        _found[before] = digest
