"""Run folders: where a run keeps its half-made things, and how a later run finds what a killed one left.

A run holds `flock` on its folder's `lock` for as long as it lives; the kernel drops it with the process, also on
`kill -9`. Every process of the run carries the run's id in its environment. So a folder whose lock is free is a dead
run: its processes are stopped and its folder removed, and nothing of a living run is ever touched.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import signal
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from skyvypack.command import RUN_MARK


def cache_folder() -> Path:
    """The folder of everything that can be made again: `$SKYVYPACK_CACHE`, else skyvypack in the XDG cache folder."""
    given = os.environ.get("SKYVYPACK_CACHE")
    return Path(given) if given else Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "skyvypack"


@contextmanager
def lock(path: Path, *, wait: bool = True) -> Iterator[bool]:
    """Hold an exclusive lock on a file; yields False when another process has it and `wait` is not set."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            yield False
        else:
            yield True


@contextmanager
def run_folder(cache: Path | None = None) -> Iterator[Path]:
    """A new folder for one run, gone when the block is left; mends what killed runs left, first.

    Args:
        cache: the cache folder; `cache_folder()` by default.
    """
    runs = (cache or cache_folder()) / "runs"
    reap(runs)
    folder = runs / uuid.uuid4().hex
    folder.mkdir(parents=True, mode=0o700)
    before = os.environ.get(RUN_MARK)
    with lock(folder / "lock"):
        os.environ[RUN_MARK] = folder.name
        try:
            yield folder
        finally:
            if before is None:
                os.environ.pop(RUN_MARK, None)
            else:
                os.environ[RUN_MARK] = before
            remove(folder)


def reap(runs: Path) -> list[str]:
    """Stop the processes and remove the folders of runs that are dead; returns their ids."""
    dead = []
    for folder in sorted(runs.iterdir()) if runs.is_dir() else ():
        with lock(folder / "lock", wait=False) as free:
            if not free:
                continue
            _stop_marked(folder.name)
            remove(folder)
            dead.append(folder.name)
    return dead


def _marked(mark: str) -> list[int]:
    wanted = f"{RUN_MARK}={mark}".encode()
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            with contextlib.suppress(OSError):
                if wanted in (entry / "environ").read_bytes().split(b"\0"):
                    found.append(int(entry.name))
    return found


def _stop_marked(mark: str) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        for process in _marked(mark):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(process, number)
        deadline = time.monotonic() + 3
        while _marked(mark) and time.monotonic() < deadline:
            time.sleep(0.1)


def remove(folder: Path) -> None:
    """Remove a folder tree; what another user's id owns (an unshare tree) is left for that user's namespace."""
    shutil.rmtree(folder, ignore_errors=True)
