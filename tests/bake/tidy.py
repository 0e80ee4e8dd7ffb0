"""What a bake must leave behind, however it ended."""

from __future__ import annotations

import fcntl
import json
from pathlib import Path

from fake_host import Host, living, until

from skyvypack import artifact, disk


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def is_tidy(host: Host) -> bool:
    """Nothing but the artifact is in the output, no run and nothing half-made in the cache, and no lock is held."""
    for path in [*host.output.glob(".*.lock"), *host.cache.rglob("*.lock")]:
        with path.open() as handle:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    half = [path for path in host.cache.rglob("*") if path.suffix in (".part", ".new")]
    return names(host.output) == [f".{host.final.name}.lock", host.final.name] and not half and not host.marks()


def is_whole(host: Host) -> None:
    """The artifact is what its manifest says, to the byte, and so is every layer."""
    for file in artifact.load(host.final).files:
        assert disk.sha256(file.path) == file.sha256
    for layer in (host.cache / "layers").iterdir():
        assert disk.sha256(layer / "disk.qcow2") == json.loads((layer / "layer.json").read_text())["digest"]


def is_dead(marks: list[str]) -> bool:
    """No process of these runs is left; one that was killed has a moment to go, as it is nobody's child by now."""
    until(lambda: not living(marks), 5)
    return True
