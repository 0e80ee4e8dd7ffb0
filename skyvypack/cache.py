"""The cache's layers, downloaded packages and images: who uses them, how much they take, what goes when it is too much.

Each layer and image has two lock files in ``<cache>/locks``: one is held shared by whoever reads it and exclusive by
whoever removes or replaces it, the other by whoever makes it. The kernel drops a lock with its process. Lock files
stay: removing one would leave two processes with a lock each.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from skyvypack import command, runs
from skyvypack.errors import SkyvypackError

DEFAULT_LIMIT = 20 << 30
PRUNE_HINT = "free some: python -m skyvypack cache prune; or choose a cache on another disk with --cache"
_FOLDERS: dict[str, Kind] = {"layers": "layer", "debs": "packages", "images": "image"}

Kind = Literal["layer", "packages", "image"]


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing in the cache that can be made or fetched again.

    Args:
        kind: ``layer``, ``packages`` (downloads of apt) or ``image`` (a cloud image).
        path: file or folder.
        size: bytes on disk.
        used: seconds since 1970 of its last use.
    """

    kind: Kind
    path: Path
    size: int
    used: float


def entries(cache: Path) -> list[Entry]:
    """What the cache holds, least recently used first; all downloaded packages are one entry."""
    single = _removable(cache)
    debs = [entry for entry in single if entry.kind == "packages"]
    found = [entry for entry in single if entry.kind != "packages"]
    if debs:
        used = max(entry.used for entry in debs)
        found.append(Entry("packages", cache / "debs", sum(entry.size for entry in debs), used))
    return sorted(found, key=lambda entry: entry.used)


def prune(cache: Path, limit: int = DEFAULT_LIMIT) -> list[Entry]:
    """Remove what was least recently used until the rest fits; what a process is using stays.

    Args:
        cache: the cache folder.
        limit: bytes that may stay.

    Returns:
        What was removed; downloaded packages one by one.
    """
    sweep(cache)
    candidates = _removable(cache)
    total = sum(entry.size for entry in candidates)
    removed = []
    for entry in candidates:
        if total <= limit:
            break
        if _remove_unused(entry):
            total -= entry.size
            removed.append(entry)
    return removed


def sweep(cache: Path) -> None:
    """Remove what killed builds and downloads left half-made."""
    for folder in _FOLDERS:
        for half in (cache / folder).glob(".*.part"):
            with exclusive(half, wait=False) as free:
                if free:
                    remove(half)


def half_path(item: Path) -> Path:
    """Where a layer or an image grows: beside its place, so that the last step is a rename."""
    return item.with_name(f".{item.name}.part")


def exclusive(item: Path, *, wait: bool = True) -> AbstractContextManager[bool]:
    """Be the only one to remove an item, or to make the half-made one; yields False when it is not free now.

    Args:
        item: path of a layer or an image, or its `half_path`.
        wait: wait until it is free.
    """
    return runs.lock(_lock_file(item), wait=wait)


def hold(item: Path) -> int:
    """Take a shared lock and note the use; returns the file descriptor that holds it until it is closed."""
    lock = _lock_file(item)
    lock.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        with contextlib.suppress(FileNotFoundError):
            os.utime(item)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def remove(path: Path) -> None:
    """Remove a file or a tree, also one that holds files of the other users of our user namespace."""
    if path.is_dir() and not path.is_symlink():
        runs.remove(path)
        if path.exists() and os.geteuid():
            command.run(["unshare", "--map-root-user", "--map-auto", "rm", "-rf", path], check=False)
    else:
        path.unlink(missing_ok=True)


def require_space(folder: Path, needed: int, purpose: str) -> None:
    """Refuse to begin what cannot end.

    Args:
        folder: exists, on the disk in question.
        needed: bytes.
        purpose: what for.

    Raises:
        SkyvypackError: less than that is free.
    """
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise no_space(folder, purpose, needed)


def no_space(folder: Path, purpose: str, needed: int) -> SkyvypackError:
    """The error that says which folder is full, how much is free and how much it takes."""
    free = shutil.disk_usage(folder).free
    gib = 1 << 30
    return SkyvypackError(
        f"not enough space in {folder} for {purpose}: {free / gib:.1f} GiB free, about {needed / gib:.1f} GiB needed",
        PRUNE_HINT,
    )


@contextmanager
def space_errors(folder: Path, purpose: str, needed: int) -> Iterator[None]:
    """Turn "no space left on device" into an error that helps."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise no_space(folder, purpose, needed) from error


def _lock_file(item: Path) -> Path:
    return item.parent.parent / "locks" / f"{item.name}.lock"


def _removable(cache: Path) -> list[Entry]:
    found = []
    for folder, kind in _FOLDERS.items():
        for path in (cache / folder).glob("[!.]*"):
            with contextlib.suppress(FileNotFoundError):
                found.append(Entry(kind, path, _size(path), path.stat().st_mtime))
    return sorted(found, key=lambda entry: entry.used)


def _size(path: Path) -> int:
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.lstat().st_blocks * 512 for file in files)


def _remove_unused(entry: Entry) -> bool:
    if entry.kind == "packages":
        # Whoever uses it has a hard link of its own.
        entry.path.unlink(missing_ok=True)
        return True
    with exclusive(entry.path, wait=False) as free:
        if free:
            # Out of its place first: a removal that is killed half-way leaves nothing that looks whole.
            going = half_path(entry.path.with_name(f"{entry.path.name}.gone"))
            entry.path.rename(going)
            remove(going)
        return free
