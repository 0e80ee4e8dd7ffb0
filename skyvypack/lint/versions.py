"""Version constraints as HashiCorp's go-version reads them: ``~> 1.0.4``, ``>= 1.0, < 2``."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

Version: TypeAlias = tuple[int, int, int]

_TERM = re.compile(r"\s*(>=|<=|!=|~>|=|>|<|)\s*v?(\d+)(?:\.(\d+))?(?:\.(\d+))?(-[\w.-]+)?\s*")
_COMPARE: Mapping[str, Callable[[Version, Version], bool]] = {
    "": lambda version, limit: version == limit,
    "=": lambda version, limit: version == limit,
    "!=": lambda version, limit: version != limit,
    ">": lambda version, limit: version > limit,
    ">=": lambda version, limit: version >= limit,
    "<": lambda version, limit: version < limit,
    "<=": lambda version, limit: version <= limit,
}


@dataclass(frozen=True, slots=True)
class Constraint:
    """What `constraint` read: limits that all hold."""

    limits: tuple[tuple[str, Version], ...]

    def admits(self, version: Version) -> bool:
        """Whether a version meets every limit."""
        return all(_COMPARE[sign](version, limit) for sign, limit in self.limits)

    def newest(self, known: Iterable[Version]) -> Version | None:
        """The newest version it admits of those known and those it names; nothing when it admits none."""
        named = [limit for sign, limit in self.limits if sign not in ("<", "!=")]
        return max((version for version in [*known, *named] if self.admits(version)), default=None)

    def oldest(self, known: Iterable[Version]) -> Version | None:
        """The oldest, likewise."""
        named = [limit for sign, limit in self.limits if sign not in ("<", "!=")]
        return min((version for version in [*known, *named] if self.admits(version)), default=None)


def parse(text: str) -> Version | None:
    """A version such as ``1.2.3`` or ``v1.2``; nothing when it is none."""
    match = _TERM.fullmatch(text)
    return _numbers(match) if match and not match[1] else None


def constraint(text: str) -> Constraint | None:
    """Read a constraint; nothing when it is none.

    >>> constraint("~> 1.0.4").limits
    (('>=', (1, 0, 4)), ('<', (1, 1, 0)))
    """
    limits: list[tuple[str, Version]] = []
    for term in text.split(","):
        match = _TERM.fullmatch(term)
        if not match:
            return None
        version = _numbers(match)
        if match[1] == "~>":
            limits += [(">=", version), ("<", _next(version, match))]
        else:
            limits.append((match[1], version))
    return Constraint(tuple(limits))


def _numbers(match: re.Match[str]) -> Version:
    return int(match[2]), int(match[3] or 0), int(match[4] or 0)


def _next(version: Version, match: re.Match[str]) -> Version:
    """Where ``~>`` ends: the last number given may grow, the one before it may not."""
    if match[4]:
        return version[0], version[1] + 1, 0
    return version[0] + 1, 0, 0


def text(version: Version) -> str:
    """As it is written: ``1.2.3``."""
    return ".".join(map(str, version))
