"""What tells an installed system from a baked one, read offline from its disk."""

from __future__ import annotations

import fnmatch
import re
import stat
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from skyvypack import artifact, disk

ALLOWED = Path(__file__).parent / "differences.allow"
# What is a matter of time, of hardware or of the machine that did it; nothing of it is configuration.
_PASSED_OVER = re.compile(
    r"/(boot|proc|sys|dev|run|tmp|lost\+found|var/(cache|log|tmp|lib/(apt|dpkg|systemd|cloud|ucf)))/"
)
_UNITS = re.compile(r"/etc/systemd/(system|user)/[^/]+\.(wants|requires|upholds)/|/etc/systemd/system/[^/]+$")
_KERNEL = re.compile(r"/etc/sysctl\.(d/|conf)")


def facts(raw: Path) -> dict[str, str]:
    """Packages' versions, enabled and masked units, kernel settings, and every file's mode and owner, by name."""
    root = disk.root(raw)
    found = facts_of(
        {one.name: one.version for one in artifact.packages(raw)},
        [(one.path, one.mode, one.uid, one.gid) for one in root.walk()],
    )
    settings = root.read(entry for entry in root.walk() if _KERNEL.match(entry.path))
    return found | {f"sysctl {path}": text.decode(errors="replace") for path, text in settings.items()}


def facts_of(packages: Mapping[str, str], entries: Iterable[tuple[str, int, int, int]]) -> dict[str, str]:
    """The same but for kernel settings, of packages' versions and of path, mode, owner and group of every file."""
    found = {f"package {name}": version for name, version in packages.items()}
    for path, mode, owner, group in entries:
        if _PASSED_OVER.match(f"{path}/"):
            continue
        if _UNITS.match(path) and not stat.S_ISDIR(mode):
            found[f"unit {path}"] = "there"
        kind = "link" if stat.S_ISLNK(mode) else f"{stat.S_IMODE(mode):04o}"
        found[f"mode {path}"] = f"{kind} {owner}:{group}"
    return found


def differences(one: Mapping[str, str], other: Mapping[str, str]) -> Iterator[str]:
    """One line for each fact about an installed system that a baked one does not share, unless it is allowed."""
    lines = ALLOWED.read_text().splitlines()
    allowed = [line.partition("  #")[0].rstrip() for line in lines if line and not line.startswith("#")]
    for name in sorted(one.keys() | other.keys()):
        mine, theirs = one.get(name, "missing"), other.get(name, "missing")
        if mine != theirs and not any(fnmatch.fnmatchcase(name, pattern) for pattern in allowed):
            yield f"{name}: installed {mine!r}, baked {theirs!r}"
