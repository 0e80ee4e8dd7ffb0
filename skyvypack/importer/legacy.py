"""Packer's first kind of template, JSON with `builders`, as if it were HCL: the same nodes, at their own places."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from pyhcl2.nodes import Block, Identifier, Literal, Stmt
from pyhcl2.values import String

from skyvypack.lint.json_text import Nodes, Reader, Value, span_of
from skyvypack.lint.module import Document
from skyvypack.lint.syntax import Syntax
from skyvypack.lint.templates import Malformed, Template


class _LegacyNodes(Nodes):
    """HCL's nodes of a text in which ``${`` means nothing."""

    def literal(self, value: Value) -> Literal:
        """A string, whatever stands in it."""
        span = span_of(value.start, value.end)
        text = value.data.replace("${", "$${").replace("%{", "%%{")
        self.templates[value.start] = Template(value.start, value.end, text, False)
        return Literal(String(value.data, span=span), span=span)

    def labelled(self, kind: str, value: Value, label: str, taken: tuple[str, ...]) -> Block:
        """An object of a list as a block that one or two of its keys name."""
        if not isinstance(value.data, dict):
            raise Malformed("an object is missing here", value.start)
        names = {key.data: inner for key, inner in value.data.values() if key.data in taken}
        if label not in names or not isinstance(names[label].data, str):
            raise Malformed(f'"{label}" is missing here', value.start)
        others = {number: pair for number, pair in value.data.items() if pair[0].data not in taken}
        first = names[label]
        second = names.get("name", first)
        labels: list[Any] = [self.literal(one) for one in ([first, second] if kind == "source" else [first])]
        body = self.body(Value(value.start, value.end, others), {})
        return Block(Identifier(kind, span=labels[0].span), labels, body, span=span_of(value.start, value.end))


@dataclass(slots=True)
class LegacyDocument(Document):
    """A template of the first kind.

    Args:
        sensitive: names of the variables that it calls sensitive.
    """

    sensitive: frozenset[str] = field(default=frozenset(), init=False)

    def read(self) -> Syntax:
        """Its builders as sources, its provisioners and post-processors as those of one build."""
        reader = Reader(self.text)
        value = reader.value(0)
        if reader.blank(value.end) != len(self.text):
            raise Malformed("there is more after the end", reader.blank(value.end))
        if not isinstance(value.data, dict):
            raise Malformed("an object is missing here", value.start)
        nodes = _LegacyNodes(self.text)
        body = list(self._body(nodes, value))
        return Syntax(self.text, body, nodes.templates, ())

    def _body(self, nodes: _LegacyNodes, value: Value) -> Iterator[Stmt]:
        steps: list[Stmt] = []
        for key, inner in value.data.values():
            if key.data == "builders":
                yield from (nodes.labelled("source", one, "type", ("type", "name")) for one in _items(inner))
            elif key.data == "variables":
                yield Block(nodes.name(key), [], nodes.body(inner, {}), span=span_of(key.start, inner.end))
            elif key.data == "sensitive-variables":
                self.sensitive = frozenset(str(one.data) for one in _items(inner))
            elif key.data in ("provisioners", "post-processors"):
                steps += [self._step(nodes, key.data.removesuffix("s"), one) for one in _flat(inner)]
        yield Block(Identifier("build", span=span_of(0, 0)), [], steps, span=span_of(0, 0))

    @staticmethod
    def _step(nodes: _LegacyNodes, kind: str, value: Value) -> Block:
        if isinstance(value.data, str):
            label: Any = nodes.literal(value)
            return Block(Identifier(kind, span=label.span), [label], [], span=label.span)
        return nodes.labelled(kind, value, "type", ("type",))


def is_legacy(name: str) -> bool:
    """Whether a file of this name is a template of the first kind."""
    return name.endswith(".json") and not name.endswith((".pkr.json", ".pkrvars.json"))


def _items(value: Value) -> list[Value]:
    if not isinstance(value.data, list):
        raise Malformed("a list is missing here", value.start)
    return value.data


def _flat(value: Value) -> Iterator[Value]:
    """Post-processors come alone or as lists of those that work in a row."""
    for one in _items(value):
        yield from one.data if isinstance(one.data, list) else [one]
