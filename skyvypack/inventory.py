"""What is installed on a disk: read from dpkg's own list, and counted for each role. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from skyvypack.spec.model import Spec

# Names of what no role brings.
DEBIAN, SPEC, REST = "(debian)", "(spec)", "(rest)"


@dataclass(frozen=True, slots=True)
class Package:
    """An installed package.

    Args:
        name: Debian's.
        version: the installed one.
        kib: installed size in KiB, as the package itself says.
        core: what every Debian has: essential or required, and apt.
        needs: of each dependency the alternatives, by name.
        provides: names that it also goes by.
    """

    name: str
    version: str
    kib: int
    core: bool
    needs: tuple[tuple[str, ...], ...]
    provides: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Size:
    """What a role brought that was not there already.

    Args:
        packages: how many.
        kib: their installed size in KiB.
    """

    packages: int
    kib: int


def parse(status: str) -> tuple[Package, ...]:
    """The installed packages, by name.

    Args:
        status: the text of ``/var/lib/dpkg/status``.
    """
    found = []
    for paragraph in status.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in paragraph.splitlines() if ": " in line and line[0] != " ")
        if fields.get("Status", "").endswith(" installed"):
            found.append(_package(fields))
    return tuple(sorted(found, key=lambda package: package.name))


def _package(fields: Mapping[str, str]) -> Package:
    name = fields["Package"]
    relations = f"{fields.get('Pre-Depends', '')},{fields.get('Depends', '')}"
    return Package(
        name,
        fields["Version"],
        int(fields.get("Installed-Size", 0)),
        fields.get("Essential") == "yes" or fields.get("Priority") == "required" or name == "apt",
        _names(relations),
        tuple(alternatives[0] for alternatives in _names(fields.get("Provides", ""))),
    )


def _names(relations: str) -> tuple[tuple[str, ...], ...]:
    """``a (>= 1) | b, c:any`` as names: ``((a, b), (c,))``."""
    groups = (group.split("|") for group in relations.split(",") if group.strip())
    return tuple(tuple(re.split(r"[\s:(]", one.strip())[0] for one in group) for group in groups)


def sizes(packages: Sequence[Package], spec: Spec, named: Iterable[str]) -> dict[str, Size]:
    """What each role brought, in the order of the roles: a package counts for the first that needs it.

    Args:
        packages: all that are installed.
        spec: whose roles.
        named: every package that was asked for, whoever asked.

    Returns:
        Sizes by role; `DEBIAN` before them is what every Debian has, `SPEC` after them what the spec and the bake
        itself ask for, and `REST` what nothing explains.
    """
    known = {package.name: package for package in packages}
    providers: dict[str, set[str]] = {name: {name} for name in known}
    for package in packages:
        for name in package.provides:
            providers.setdefault(name, set()).add(package.name)
    counted: set[str] = set()

    def size(wanted: Iterable[str]) -> Size:
        new = _closure(wanted, known, providers) - counted
        counted.update(new)
        return Size(len(new), sum(known[name].kib for name in new))

    found = {DEBIAN: size(package.name for package in packages if package.core)}
    found |= {role.name: size(role.packages) for role in spec.roles}
    found[SPEC] = size(named)
    found[REST] = size(known)
    return found


def _closure(wanted: Iterable[str], known: Mapping[str, Package], providers: Mapping[str, set[str]]) -> set[str]:
    found: set[str] = set()
    waiting = {provider for name in wanted for provider in providers.get(name, ())}
    while waiting:
        name = waiting.pop()
        found.add(name)
        for alternatives in known[name].needs:
            waiting |= {provider for one in alternatives for provider in providers.get(one, ())} - found
    return found
