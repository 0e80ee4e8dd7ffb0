"""One module: the files that Packer reads together, and what they declare and use."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from pyhcl2.nodes import Attribute, Block, Expression

from skyvypack.lint import json_text, syntax
from skyvypack.lint.findings import Edit, Finding, Rule
from skyvypack.lint.syntax import Syntax
from skyvypack.lint.templates import Malformed
from skyvypack.lint.walk import Scope, Use, body_uses, uses

Kind: TypeAlias = Literal["template", "values"]

_IGNORE = re.compile(r"skyvypack:ignore(?P<file>-file)?\b[ \t:=]*(?P<rules>[\w, -]*)")
TEMPLATE_ENDINGS = (".pkr.hcl", ".pkr.json")
VALUES_ENDINGS = (".pkrvars.hcl", ".pkrvars.json")


@dataclass(slots=True)
class Document:
    """A file of a module.

    Args:
        file: its name, as findings show it.
        text: what stands in it.
        reported: whether it is linted itself, or only says what exists.
    """

    file: str
    text: str
    reported: bool = True
    syntax: Syntax = field(init=False)
    malformed: Malformed | None = None
    _lines: list[int] = field(default_factory=lambda: [0])

    def __post_init__(self) -> None:
        self._lines += [match.end() for match in re.finditer("\n", self.text)]
        try:
            _refuse_other_bytes(self.text)
            self.syntax = self.read()
        except Malformed as error:
            self.malformed = error
            self.syntax = Syntax(self.text, [], {}, ())

    def read(self) -> Syntax:
        """What its text says; raises `Malformed`."""
        # Packer passes over a byte order mark; a blank in its place keeps all positions.
        text = " " + self.text[1:] if self.text.startswith("\ufeff") else self.text
        return json_text.read(text) if self.is_json else syntax.read(text)

    @property
    def is_json(self) -> bool:
        """Whether it is JSON, where blocks and attributes look alike."""
        return self.file.endswith(".json")

    @property
    def kind(self) -> Kind:
        """``values`` for a file that gives variables their values, else ``template``."""
        return "values" if self.file.endswith(VALUES_ENDINGS) else "template"

    def place(self, position: int) -> tuple[int, int]:
        """Line and column of a position, both from 1."""
        line = bisect_right(self._lines, position)
        return line, position - self._lines[line - 1] + 1

    def head(self, block: Block) -> Any:
        """What names a block; in JSON its last label, for its type may stand far above."""
        return block.labels[-1].span if self.is_json and block.labels else block.key_span

    def finding(self, rule: Rule, span: Any, message: str, hint: str = "", edits: tuple[Edit, ...] = ()) -> Finding:
        """A finding in this file.

        Args:
            rule: what found it.
            span: where: anything with `start` and `end`.
            message: what is wrong.
            hint: what to do.
            edits: what mends it; dropped for JSON, whose positions stand for decoded text.
        """
        edits = () if self.is_json else edits
        where = (*self.place(span.start), *self.place(max(span.end, span.start)))
        return Finding(self.file, *where, rule.id, rule.severity, message, hint, edits)

    def ignores(self) -> Iterator[tuple[int | None, frozenset[str], int]]:
        """Comments that silence rules: the line they hold for (none: the file), the rules (none: all), the position."""
        for start, end in self.syntax.comments:
            match = _IGNORE.search(self.text, start, end)
            if not match:
                continue
            rules = frozenset(match["rules"].replace(",", " ").split())
            line = self.place(start)[0]
            alone = not self.text[self._lines[line - 1] : start].strip()
            yield None if match["file"] else line + alone, rules, start


def _refuse_other_bytes(text: str) -> None:
    """Bytes that are no UTF-8 come as lone surrogates, as Python's `surrogateescape` makes them."""
    if match := re.search("[\ud800-\udfff]", text):
        raise Malformed("not UTF-8 text", match.start())


@dataclass(frozen=True, slots=True)
class Declared:
    """Something that has a name others can refer to.

    Args:
        document: the file it stands in.
        span: of what names it.
        block: its block, where it has one of its own.
        value: a variable's default, or a local's value.
    """

    document: Document
    span: Any
    block: Block | None = None
    value: Expression | None = None

    def attribute(self, name: str) -> Any:
        """The value of one of its block's attributes, or nothing."""
        return self.block.attributes.get(name) if self.block else None


@dataclass(frozen=True, slots=True)
class Place:
    """Something used, in which file, and by which variable's own checks (empty: by something else)."""

    document: Document
    use: Use
    variable: str = ""


Names: TypeAlias = dict[str, list[Declared]]


@dataclass(slots=True)
class Module:
    """What its files declare and use together.

    Args:
        documents: every file, those read for what they declare too.
    """

    documents: tuple[Document, ...]
    variables: Names = field(default_factory=dict)
    locals: Names = field(default_factory=dict)
    sources: Names = field(default_factory=dict)
    data: Names = field(default_factory=dict)
    uses: list[Place] = field(default_factory=list)

    def __post_init__(self) -> None:
        for document in self.documents:
            if document.kind == "template":
                for stmt in document.syntax.body:
                    if isinstance(stmt, Block):
                        self._declare(document, stmt)
                        self._use(document, stmt)

    def blocks(self, *types: str, reported: bool = True) -> Iterator[tuple[Document, Block]]:
        """Top-level blocks of some types, by default of the files that are linted."""
        for document in self.documents:
            if document.kind == "template" and (document.reported or not reported):
                for stmt in document.syntax.body:
                    if isinstance(stmt, Block) and stmt.type.name in types:
                        yield document, stmt

    def linted(self, kind: Kind = "template") -> Iterator[Document]:
        """The files that are linted."""
        return (document for document in self.documents if document.reported and document.kind == kind)

    def _declare(self, document: Document, block: Block) -> None:
        path = block.key_path[1:]
        labels = [label_text(document, label) for label in block.labels]
        match block.type.name, len(path):
            case "variable", 1:
                _add(
                    self.variables,
                    labels[0],
                    Declared(document, document.head(block), block, block.attributes.get("default")),
                )
            case "local", 1:
                value = block.attributes.get("expression")
                _add(self.locals, labels[0], Declared(document, document.head(block), block, value))
            case ("source" | "data") as kind, 2:
                names = self.sources if kind == "source" else self.data
                _add(names, ".".join(labels), Declared(document, document.head(block), block))
            case ("locals" | "variables") as kind, 0:
                names = self.locals if kind == "locals" else self.variables
                for stmt in block.body:
                    if isinstance(stmt, Attribute):
                        _add(names, stmt.key.name, Declared(document, stmt.key.span, None, stmt.value))

    def _use(self, document: Document, block: Block) -> None:
        if block.type.name != "variable":
            found = body_uses(document.syntax, [block])
            self.uses += [Place(document, use) for use in found]
            return
        name = label_text(document, block.labels[0]) if block.labels else "?"
        for stmt in block.body:
            # The type is no expression: in it, string and list(string) are words of their own.
            if isinstance(stmt, Attribute) and stmt.key.name != "type":
                self.uses += [Place(document, use) for use in uses(document.syntax, stmt.value, Scope())]
            elif isinstance(stmt, Block):
                self.uses += [Place(document, use, name) for use in body_uses(document.syntax, stmt.body)]


def label_text(document: Document, label: Any) -> str:
    """A block's label, quoted or not."""
    plain = document.syntax.plain(label)
    if plain is not None:
        return plain
    return str(getattr(label, "name", "?"))


def _add(names: Names, name: str, declared: Declared) -> None:
    names.setdefault(name, []).append(declared)


def module(files: Mapping[str, str], context: Mapping[str, str] | None = None) -> Module:
    """The module that files make.

    Args:
        files: text by name, those to be linted.
        context: text by name, files of the same folder that only say what exists.
    """
    linted = [Document(file, text) for file, text in files.items()]
    others = [Document(file, text, reported=False) for file, text in (context or {}).items()]
    return Module((*linted, *others))
