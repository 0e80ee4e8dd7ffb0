"""How long each stage took on this machine, so that the next bake can say what to expect."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from pathlib import Path

from skyvypack import runs

_FILE = "timings.json"


def expected(cache: Path, kind: str) -> dict[str, float]:
    """Seconds of each stage in the last run of this kind; empty when there was none.

    Args:
        cache: the cache folder.
        kind: what makes runs comparable, such as ``qemu-tcg``.
    """
    return _read(cache / _FILE).get(kind, {})


def record(cache: Path, kind: str, stages: Mapping[str, float]) -> None:
    """Keep the seconds of each stage of a run; a stage that did not run keeps its earlier figure.

    A disk that is full or takes no writes keeps nothing: no bake fails for want of a prediction.
    """
    path = cache / _FILE
    fresh = path.with_suffix(".new")
    with contextlib.suppress(OSError), runs.lock(cache / f"{_FILE}.lock"):
        known = _read(path)
        known[kind] = {**known.get(kind, {}), **stages}
        try:
            fresh.write_text(json.dumps(known, indent=1, sort_keys=True) + "\n")
            fresh.replace(path)
        finally:
            fresh.unlink(missing_ok=True)


def _read(path: Path) -> dict[str, dict[str, float]]:
    """What is known; nothing when the file is missing or damaged."""
    with contextlib.suppress(OSError, ValueError, TypeError, AttributeError):
        kinds = json.loads(path.read_text()).items()
        return {kind: {name: float(seconds) for name, seconds in stages.items()} for kind, stages in kinds}
    return {}
