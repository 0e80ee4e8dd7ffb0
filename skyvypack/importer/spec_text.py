"""A draft as the text of a spec, each value with where it comes from."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import yaml

from skyvypack.importer.carry import Leftover, Place

_WORD = re.compile(r"[A-Za-z][A-Za-z0-9_./-]*")
_COLUMN = 44
# The order of a spec that a person writes.
_ORDER = ("name", "version", "debian", "profile", "base", "machine", "targets")
_KIND = ("base", "kind")


def spec_text(
    places: Mapping[Place, Any], notes: Mapping[Place, str], about: str, leftovers: Iterable[Leftover]
) -> str:
    """YAML that holds the places' values.

    Args:
        places: value by place, such as ``("machine", "cpus")``.
        notes: for some places, where the value comes from.
        about: a comment above everything.
        leftovers: told below everything, but for what the bundle sets by itself.
    """
    tree: dict[str, Any] = {}
    for place in sorted(places, key=_rank):
        below = tree
        for step in place[:-1]:
            below = below.setdefault(step, {})
        below[place[-1]] = place
    lines = [f"# {_line(about)}", "", *_lines(tree, places, notes, 0)]
    told = [_told(one) for one in leftovers if one.kind != "own"]
    if told:
        lines += ["", "# Not as it stood in the template:", *(f"# - {_line(text)}" for text in told)]
    return "\n".join(lines) + "\n"


def _rank(place: Place) -> tuple[int, bool, bool]:
    return _ORDER.index(place[0]), place != _KIND, "arguments" in place[2:3]


def _told(one: Leftover) -> str:
    fed = f"; feed it by {one.environment} in the environment" if one.environment else ""
    where = f"{one.file}:{one.line}: " if one.line else ""
    return f"{where}{one.what} {one.reason}{fed}"


def _lines(
    tree: Mapping[str, Any], places: Mapping[Place, Any], notes: Mapping[Place, str], depth: int
) -> Iterator[str]:
    for name, below in tree.items():
        key = f"{'  ' * depth}{leaf(name)}:"
        if isinstance(below, dict):
            yield key
            yield from _lines(below, places, notes, depth + 1)
        else:
            text = f"{key} {leaf(places[below])}"
            note = _line(notes.get(below, ""))
            yield f"{text.ljust(_COLUMN)}  # {note}" if note else text


def leaf(value: Any) -> str:
    """A value on one line of YAML."""
    match value:
        case str():
            return _text(value)
        case bool():
            return "true" if value else "false"
        case None:
            return "null"
        case list() | tuple():
            return f"[{', '.join(map(leaf, value))}]"
        case dict():
            return "{" + ", ".join(f"{leaf(key)}: {leaf(item)}" for key, item in value.items()) + "}"
    return str(value)


def _text(value: str) -> str:
    if _WORD.fullmatch(value) and yaml.safe_load(value) == value:
        return value
    dumped: str = yaml.safe_dump(value, default_style='"', allow_unicode=True, width=2**31)
    return dumped.removesuffix("\n")


def _line(text: str) -> str:
    """A text that stays within its comment."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)
