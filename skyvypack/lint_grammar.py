"""Keeps the parser of HCL in the cache: making it takes three quarters of a second, reading it a fiftieth."""

from __future__ import annotations

import contextlib
import os
import pickle
import sys
from importlib import metadata
from pathlib import Path

from lark import Lark

from skyvypack.lint import syntax

# Another version of any of them has other tables.
_MAKERS = ("lark", "pyhcl2")


def prepare(cache: Path) -> None:
    """Have `lint` use the parser that the cache keeps; one that is missing or spoilt is made, and kept if it can be.

    Args:
        cache: the cache folder; made if need be. Nothing in it that others may write is read.
    """
    versions = "-".join(metadata.version(name) for name in _MAKERS)
    path = cache / f"hcl-grammar-{versions}-{sys.implementation.cache_tag}.pickle"
    ready = _kept(path)
    if ready is None:
        ready = syntax.make_grammar()
        with contextlib.suppress(OSError):
            _keep(ready, path)
    syntax.adopt(ready)


def _kept(path: Path) -> Lark | None:
    # Unpickling runs what the file says, so it must be ours alone.
    try:
        with path.open("rb") as stream:
            state = os.fstat(stream.fileno())
            if state.st_uid != os.geteuid() or state.st_mode & 0o022:
                return None
            return Lark.load(stream)
    except (OSError, EOFError, pickle.UnpicklingError, LookupError, AttributeError, TypeError, ValueError, ImportError):
        return None


def _keep(ready: Lark, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_suffix(f".{os.getpid()}")
    try:
        with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as stream:
            ready.save(stream)
        fresh.replace(path)
    finally:
        fresh.unlink(missing_ok=True)
