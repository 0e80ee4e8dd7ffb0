"""What stands in a template: its sources with their arguments, its steps, and what else it declares."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from pyhcl2.nodes import Attribute, Block, Stmt

from skyvypack import dialect
from skyvypack.importer.evaluate import Evaluator, Unknown
from skyvypack.lint.module import Document, Module, label_text


@dataclass(frozen=True, slots=True)
class Given:
    """An argument of a source block.

    Args:
        path: its name, below those of the blocks it stands in: ``disks.disk_size``.
        value: what it is worth, or `Unknown`.
        file: where it stands.
        line: where it stands, from 1.
        number: of its outermost block among those of the same type, from 0.
    """

    path: str
    value: Any
    file: str
    line: int
    number: int = 0

    @property
    def where(self) -> str:
        """File and line, as a message shows them."""
        return f"{self.file}:{self.line}"


@dataclass(frozen=True, slots=True)
class Source:
    """A source block.

    Args:
        builder: its first label.
        name: its second label.
        given: its arguments, in order.
        file: where it stands.
        line: where it stands, from 1.
    """

    builder: str
    name: str
    given: tuple[Given, ...]
    file: str
    line: int

    @property
    def label(self) -> str:
        """Builder and name, as `build` refers to it."""
        return f"{self.builder}.{self.name}"


@dataclass(frozen=True, slots=True)
class Step:
    """A provisioner or a post-processor.

    Args:
        kind: ``provisioner`` or ``post-processor``, or what else a build holds.
        name: such as ``shell``.
        file: where it stands.
        line: where it stands, from 1.
        arguments: those that have a plain value.
    """

    kind: str
    name: str
    file: str
    line: int
    arguments: Mapping[str, Any]


def sources(module: Module, evaluator: Evaluator) -> list[Source]:
    """The sources of a module, each with what builds say of it beside its own block."""
    found = []
    for document, block in module.blocks("source"):
        labels = [label_text(document, label) for label in block.labels]
        if len(labels) == 2:
            given = _Arguments(evaluator, document, labels[0]).body(block.body)
            source = Source(labels[0], labels[1], tuple(given), document.file, document.place(block.span.start)[0])
            found.append(_with_builds(source, module, evaluator))
    return found


def _with_builds(source: Source, module: Module, evaluator: Evaluator) -> Source:
    """A build may give a source further arguments."""
    own = {one.path for one in source.given}
    further: list[Given] = []
    for document, build in module.blocks("build"):
        for inner in build.blocks:
            named = [label_text(document, label) for label in inner.labels]
            if inner.type.name == "source" and named in ([source.label], [f"source.{source.label}"]):
                given = _Arguments(evaluator, document, source.builder).body(inner.body)
                further += [one for one in given if one.path not in own and one.path != "name"]
    return replace(source, given=(*source.given, *further))


def steps(module: Module, evaluator: Evaluator) -> Iterator[Step]:
    """The steps of all builds, in order."""
    for document, build in module.blocks("build"):
        yield from _steps(document, build.blocks, evaluator)


def _steps(document: Document, blocks: Iterable[Block], evaluator: Evaluator) -> Iterator[Step]:
    for block in blocks:
        if block.type.name == "post-processors":
            yield from _steps(document, block.blocks, evaluator)
        elif block.type.name != "source":
            name = label_text(document, block.labels[0]) if block.labels else ""
            values = {name: evaluator.value(document, node) for name, node in block.attributes.items()}
            plain = {name: value for name, value in values.items() if not isinstance(value, Unknown)}
            yield Step(block.type.name, name, document.file, document.place(document.head(block).start)[0], plain)


@dataclass(frozen=True, slots=True)
class _Arguments:
    """Reads the body of a source block by its builder's tables, which say what is a block."""

    evaluator: Evaluator
    document: Document
    builder: str

    def body(self, body: Iterable[Stmt]) -> list[Given]:
        return list(self._body(body, "", None))

    def _body(self, body: Iterable[Stmt], within: str, number: int | None) -> Iterator[Given]:
        counts: dict[str, int] = {}
        for stmt in body:
            if isinstance(stmt, Attribute):
                yield from self._attribute(stmt, within, number)
            elif isinstance(stmt, Block):
                name = stmt.type.name
                here = counts.get(name, 0) if number is None else number
                counts[name] = counts.get(name, 0) + 1
                if name == "dynamic":
                    label = label_text(self.document, stmt.labels[0]) if stmt.labels else name
                    yield self._given(within + label, Unknown("is a dynamic block, which only Packer unfolds"), stmt, 0)
                else:
                    yield from self._body(stmt.body, f"{within}{name}.", here)

    def _attribute(self, stmt: Attribute, within: str, number: int | None) -> Iterator[Given]:
        path = within + stmt.key.name
        value = self.evaluator.value(self.document, stmt.value)
        items = value if isinstance(value, list) else [value]
        if within or not self._is_block(path) or not all(isinstance(item, dict) for item in items):
            yield self._given(path, value, stmt, number or 0)
            return
        # In JSON a block may look like an argument.
        for here, item in enumerate(items):
            for name, inner in _flat(item, path, self._is_block):
                yield self._given(name, inner, stmt, here)

    def _is_block(self, path: str) -> bool:
        tables = dialect.tables(self.builder)
        return any(_has_block(table, path) for table in (tables.bundled, tables.newest)) if tables else False

    def _given(self, path: str, value: Any, stmt: Stmt, number: int) -> Given:
        return Given(path, value, self.document.file, self.document.place(stmt.span.start)[0], number)


def _has_block(table: Mapping[str, Any] | None, path: str) -> bool:
    *outer, last = path.split(".")
    facts: Any = table
    for name in outer:
        facts = facts["blocks"].get(name) if facts else None
    return bool(facts) and last in facts["blocks"]


def _flat(item: Mapping[str, Any], path: str, is_block: Any) -> Iterator[tuple[str, Any]]:
    for name, value in item.items():
        inner = f"{path}.{name}"
        if isinstance(value, dict) and is_block(inner):
            yield from _flat(value, inner, is_block)
        else:
            yield inner, value
