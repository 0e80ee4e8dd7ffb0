"""Packer's JSON to the nodes that HCL gives: HCL's own JSON profile, as far as Packer templates use it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from json import JSONDecodeError
from json.decoder import scanstring  # type: ignore[attr-defined]
from typing import Any, TypeAlias

from pyagnostics.spans import SourceId, SourceSpan
from pyhcl2.nodes import ArrayExpression, Attribute, Block, Expression, Identifier, Literal, ObjectExpression, Stmt
from pyhcl2.values import Boolean, Float, Integer, Null, String

from skyvypack.lint.syntax import Syntax
from skyvypack.lint.templates import Malformed, Template, scan

_SOURCE = SourceId()
_SPACE = re.compile(r"[ \t\r\n]*")
_NUMBER = re.compile(r"-?\d+(\.\d+)?([eE][+-]?\d+)?")
_DEPTH = 100
# A heredoc takes a text as it stands: in JSON a backslash has done its work before HCL sees the string.
_OPENING, _CLOSING = "<<JSON\n", "\nJSON"

Labels: TypeAlias = dict[str, int]
# How many labels a block takes where; what is not named is an attribute, or a block by the builder's own table.
TOP: Labels = {
    "packer": 0,
    "variable": 1,
    "variables": 0,
    "locals": 0,
    "local": 1,
    "source": 2,
    "data": 2,
    "build": 0,
}
_INNER: dict[str, Labels] = {
    "packer": {"required_plugins": 0},
    "variable": {"validation": 0},
    "build": {
        "source": 1,
        "provisioner": 1,
        "error-cleanup-provisioner": 1,
        "post-processor": 1,
        "post-processors": 0,
        "hcp_packer_registry": 0,
    },
    "post-processors": {"post-processor": 1},
}


@dataclass(frozen=True, slots=True)
class Value:
    """A JSON value and where it stands."""

    start: int
    end: int
    data: Any


@dataclass(slots=True)
class Reader:
    """Reads JSON and keeps positions."""

    text: str
    depth: int = 0

    def value(self, at: int) -> Value:
        """What begins at a position; raises `Malformed`."""
        at = self.blank(at)
        first = self.text[at : at + 1]
        if first in ("{", "["):
            self.depth += 1
            if self.depth > _DEPTH:
                raise Malformed("nested too deeply", at)
            found = self.object(at) if first == "{" else self.array(at)
            self.depth -= 1
            return found
        if first == '"':
            return self.string(at)
        for word, data in (("true", True), ("false", False), ("null", None)):
            if self.text.startswith(word, at):
                return Value(at, at + len(word), data)
        if number := _NUMBER.match(self.text, at):
            whole = number[1] is None and number[2] is None
            return Value(at, number.end(), int(number[0]) if whole else float(number[0]))
        raise Malformed("a JSON value is missing here" if first else "the text ends too early", at)

    def blank(self, at: int) -> int:
        """The first position that is no white space."""
        match = _SPACE.match(self.text, at)
        return match.end() if match else at

    def string(self, at: int) -> Value:
        """The string that begins at a position; raises `Malformed`."""
        if self.text[at : at + 1] != '"':
            raise Malformed("a JSON string is missing here", at)
        try:
            data, end = scanstring(self.text, at + 1)
        except JSONDecodeError as error:
            raise Malformed(error.msg.lower(), error.pos) from None
        return Value(at, end, data)

    def array(self, start: int) -> Value:
        """The array that begins at a position; raises `Malformed`."""
        items, at = [], self.blank(start + 1)
        while self.text[at : at + 1] != "]":
            items.append(self.value(at))
            at = self.next(items[-1].end, "]")
        return Value(start, at + 1, items)

    def object(self, start: int) -> Value:
        """The object that begins at a position: pairs of key and value by number, for keys may be there twice."""
        items, at = [], self.blank(start + 1)
        while self.text[at : at + 1] != "}":
            key = self.string(at)
            at = self.blank(key.end)
            if self.text[at : at + 1] != ":":
                raise Malformed("a colon is missing here", at)
            items.append((key, self.value(at + 1)))
            at = self.next(items[-1][1].end, "}")
        return Value(start, at + 1, dict(enumerate(items)))

    def next(self, at: int, closing: str) -> int:
        """Where the next item begins, or what closes; raises `Malformed`."""
        at = self.blank(at)
        if self.text[at : at + 1] == ",":
            following = self.blank(at + 1)
            if self.text[following : following + 1] == closing:
                raise Malformed("a comma before the end", at)
            return following
        if self.text[at : at + 1] != closing:
            raise Malformed(f"a comma or {closing} is missing here", at)
        return at


@dataclass(slots=True)
class Nodes:
    """Makes HCL's nodes of JSON values."""

    text: str
    templates: dict[int, Template] = field(default_factory=dict)

    def body(self, value: Value, labels: Labels) -> list[Stmt]:
        """What stands in a block; a list of objects is several blocks."""
        return list(self._statements(value, labels))

    def _statements(self, value: Value, labels: Labels) -> Iterator[Stmt]:
        if not isinstance(value.data, dict):
            raise Malformed("an object is missing here", value.start)
        for key, inner in value.data.values():
            if key.data == "//":
                continue
            if key.data in labels:
                yield from self._blocks(key, inner, labels[key.data], [])
            else:
                yield Attribute(self.name(key), self.expression(inner), span=span_of(key.start, inner.end))

    def _blocks(self, key: Value, value: Value, count: int, labels: list[Value]) -> Iterator[Stmt]:
        for one in value.data if isinstance(value.data, list) else [value]:
            if count and isinstance(one.data, dict):
                for label, inner in one.data.values():
                    yield from self._blocks(key, inner, count - 1, [*labels, label])
            else:
                names: list[Any] = [self.literal(label) for label in labels]
                body = self.body(one, _INNER.get(key.data, {}))
                yield Block(self.name(key), names, body, span=span_of(key.start, one.end))

    def name(self, key: Value) -> Identifier:
        """The name of an attribute or block."""
        return Identifier(key.data, span=span_of(key.start, key.end))

    def expression(self, value: Value) -> Expression:
        """The node of a value."""
        span = span_of(value.start, value.end)
        match value.data:
            case str():
                return self.literal(value)
            case bool():
                return Literal(Boolean(value.data, span=span), span=span)
            case int():
                return Literal(Integer(value.data, span=span), span=span)
            case float():
                return Literal(Float(value.data), span=span)
            case list():
                return ArrayExpression([self.expression(item) for item in value.data], span=span)
            case dict():
                pairs: dict[Expression, Expression] = {
                    self.literal(key): self.expression(item) for key, item in value.data.values()
                }
                return ObjectExpression(pairs, span=span)
        return Literal(Null(span=span), span=span)

    def literal(self, value: Value) -> Literal:
        """A string; what is interpolated in it is found at its place, as long as no escape comes before it."""
        span = span_of(value.start, value.end)
        found = scan(f"{_OPENING}{value.data}{_CLOSING}")
        shift = value.start + 1 - len(_OPENING)
        for start, template in found.templates.items():
            if not start:
                continue  # the string itself; its place by this shift is another's
            holes = tuple(replace(hole, shift=shift) for hole in template.holes)
            self.templates[start + shift] = replace(template, holes=holes)
        whole = found.templates[0]
        holes = tuple(replace(hole, shift=shift) for hole in whole.holes)
        self.templates[value.start] = Template(value.start, value.end, value.data, False, holes)
        return Literal(String(value.data, span=span), span=span)


def span_of(start: int, end: int) -> SourceSpan:
    """A span, as pyhcl2's nodes have it."""
    return SourceSpan(start, end, source_id=_SOURCE)


def read(text: str) -> Syntax:
    """Read a ``.pkr.json`` or, being all attributes, a ``.pkrvars.json`` file.

    Raises:
        Malformed: with the position of the first thing that is wrong.
    """
    reader = Reader(text)
    value = reader.value(0)
    if reader.blank(value.end) != len(text):
        raise Malformed("there is more after the end", reader.blank(value.end))
    nodes = Nodes(text)
    body = nodes.body(value, TOP)
    syntax = Syntax(text, body, nodes.templates, ())
    for template in nodes.templates.values():
        for hole in template.holes:
            syntax.expression(hole)
    return syntax
