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
    with contextlib.suppress(OSError, ValueError, AttributeError):
        stages = json.loads((cache / _FILE).read_text()).get(kind, {})
        return {str(name): float(seconds) for name, seconds in stages.items()}
    return {}


def record(cache: Path, kind: str, stages: Mapping[str, float]) -> None:
    """Keep the seconds of each stage of a run; a stage that did not run keeps its earlier figure."""
    path = cache / _FILE
    with runs.lock(cache / f"{_FILE}.lock"):
        known: dict[str, dict[str, float]] = {}
        with contextlib.suppress(OSError, ValueError):
            known = json.loads(path.read_text())
        known[kind] = {**known.get(kind, {}), **stages}
        fresh = path.with_suffix(".new")
        fresh.write_text(json.dumps(known, indent=1, sort_keys=True) + "\n")
        fresh.replace(path)
