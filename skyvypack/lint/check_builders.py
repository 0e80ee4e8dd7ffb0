"""Rules about what a builder takes: names, forms, types, what is missing, what has a newer name."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from pyhcl2.nodes import ArrayExpression, Attribute, Block, Identifier, Literal, ObjectExpression, Stmt

from skyvypack.lint import catalog, versions
from skyvypack.lint.findings import Edit, Finding
from skyvypack.lint.kinds import fits
from skyvypack.lint.module import Document, Module, label_text
from skyvypack.lint.schema import Body, Needed, Schema
from skyvypack.lint.setting import Required, Setting
from skyvypack.lint.versions import Version

_COMMUNICATORS = {"ssh": "ssh_username", "winrm": "winrm_username"}


@dataclass(frozen=True, slots=True)
class Inner:
    """A block in a body, dynamic ones and those of JSON too.

    Args:
        name: its type.
        span: of its name.
        body: what stands in it.
    """

    name: str
    span: Any
    body: Sequence[Stmt]


@dataclass(frozen=True, slots=True)
class Young:
    """An argument that the oldest plugin admitted lacks, where it is used, and what admits it."""

    path: str
    place: str
    first: Version
    required: Required
    oldest: Version


def check(setting: Setting) -> Iterator[Finding]:
    """Every source block of a builder that there are facts about."""
    extra = _given_in_builds(setting.module)
    young: dict[str, Young] = {}
    for document, block in setting.module.blocks("source"):
        labels = [label_text(document, label) for label in block.labels]
        schema = setting.schema(labels[0]) if len(labels) == 2 else None
        if not schema:
            continue
        checker = _Checker(setting, document, schema, labels[0], young)
        yield from checker.body(schema.body, block.body, "")
        yield from checker.missing(block, extra.get(".".join(labels), frozenset()))
        if labels[0] != schema.builder:
            message = f"the builder {labels[0]} is called {schema.builder}"
            yield document.finding(catalog.DEPRECATED, block.labels[0].span, message)
    for one in young.values():
        if one.required.document.reported:
            oldest, first = versions.text(one.oldest), versions.text(one.first)
            message = f"{one.path} at {one.place} came with plugin {first}, and {oldest} is admitted"
            yield one.required.document.finding(catalog.PLUGIN_RANGE, one.required.span, message)


def _given_in_builds(module: Module) -> dict[str, frozenset[str]]:
    """What `source` blocks of builds add to sources, by the source."""
    extra: dict[str, frozenset[str]] = {}
    for document, build in module.blocks("build", reported=False):
        for block in build.blocks:
            if block.type.name == "source" and block.labels:
                name = label_text(document, block.labels[0]).removeprefix("source.")
                given = {
                    stmt.key.name if isinstance(stmt, Attribute) else stmt.type.name for stmt in _named(block.body)
                }
                extra[name] = extra.get(name, frozenset()) | given
    return extra


def _named(body: Iterable[Stmt]) -> Iterator[Attribute | Block]:
    return (stmt for stmt in body if isinstance(stmt, Attribute | Block))


@dataclass(frozen=True, slots=True)
class _Checker:
    setting: Setting
    document: Document
    schema: Schema
    label: str
    young: dict[str, Young]

    def body(self, body: Body, stmts: Sequence[Stmt], within: str) -> Iterator[Finding]:
        """What stands in a source block or a block of it."""
        names = {stmt.key.name for stmt in stmts if isinstance(stmt, Attribute)}
        for stmt in stmts:
            if isinstance(stmt, Attribute) and not (self.document.is_json and stmt.key.name in body.blocks):
                yield from self.argument(body, stmt, within, names)
        blocks = list(inner_blocks(self.document, stmts, body))
        for inner in blocks:
            yield from self.block(body, inner, within)
        yield from self.repeated(body, blocks, within)

    def argument(self, body: Body, stmt: Attribute, within: str, names: set[str]) -> Iterator[Finding]:
        name = stmt.key.name
        if name in body.blocks:
            message = f"{within}{name} is a block of {self.schema.name}, not an argument"
            yield self.document.finding(catalog.BLOCK_OR_ARGUMENT, stmt.key.span, message, f"write {name} {{ … }}")
        elif name not in body.arguments:
            yield self.unknown(body, name, within, stmt.key.span)
        else:
            yield from self.deprecated(within + name, stmt.key.span, names)
            self.note_age(within + name, stmt.key.span)
            kind = body.arguments[name]["type"]
            changed = within + name in self.schema.tables.type_changed
            if not changed and not fits(kind, stmt.value, self.document, self.setting.module):
                message = f"{within}{name} of {self.schema.name} takes {kind}"
                yield self.document.finding(catalog.WRONG_TYPE, stmt.value.span, message)

    def block(self, body: Body, inner: Inner, within: str) -> Iterator[Finding]:
        why, until = self.schema.facts.refused.get(within + inner.name, ("", None))
        if why and (until is None or (self.schema.version or (0, 0, 0)) < until):
            message = f"{self.schema.name} cannot take {within}{inner.name}"
            yield self.document.finding(catalog.UNKNOWN_ARGUMENT, inner.span, message, why)
        elif inner.name in body.blocks:
            yield from self.deprecated(within + inner.name, inner.span, set())
            self.note_age(within + inner.name, inner.span)
            yield from self.body(body.block(inner.name), inner.body, f"{within}{inner.name}.")
        elif inner.name in body.arguments:
            message = f"{within}{inner.name} is an argument of {self.schema.name}, not a block"
            yield self.document.finding(catalog.BLOCK_OR_ARGUMENT, inner.span, message, f"write {inner.name} = {{ … }}")
        else:
            yield self.unknown(body, inner.name, within, inner.span)

    def repeated(self, body: Body, blocks: Sequence[Inner], within: str) -> Iterator[Finding]:
        seen: Counter[str] = Counter()
        for inner in blocks:
            seen[inner.name] += 1
            single = inner.name in body.blocks and body.blocks[inner.name].get("nesting") == "single"
            if single and seen[inner.name] == 2:
                message = f"{within}{inner.name} may stand once in {self.schema.name}"
                yield self.document.finding(catalog.REPEATED, inner.span, message)

    def unknown(self, body: Body, name: str, within: str, span: Any) -> Finding:
        why = self.schema.why_absent(within + name)
        near = body.near(name)
        hint = why or (f"did you mean {near}?" if near else "")
        return self.document.finding(catalog.UNKNOWN_ARGUMENT, span, f"{self.schema.name} has no {within}{name}", hint)

    def deprecated(self, path: str, span: Any, names: set[str]) -> Iterator[Finding]:
        renamed = self.schema.facts.renamed.get(path)
        if not renamed or not self.knows(renamed.having):
            return
        if renamed.since and (not self.schema.version or self.schema.version < renamed.since):
            return
        new = renamed.new.rpartition(".")[2]
        edits = (Edit(span.start, span.end, new),) if new and new not in names else ()
        instead = f"write {renamed.instead} instead" if renamed.instead != "nothing" else "leave it out"
        yield self.document.finding(catalog.DEPRECATED, span, f"{path} is deprecated", instead, edits)

    def note_age(self, path: str, span: Any) -> None:
        """Remember the youngest argument in use of each plugin, to hold it against the oldest that is admitted."""
        first = versions.parse(self.schema.tables.first.get(path, ""))
        admitted = self.setting.oldest(self.label)
        if first and admitted and admitted[1] < first:
            place = f"{self.document.file}:{self.document.place(span.start)[0]}"
            before = self.young.get(admitted[0].name)
            if before is None or before.first < first:
                self.young[admitted[0].name] = Young(path, place, first, *admitted)

    def knows(self, path: str) -> bool:
        *outer, last = path.split(".")
        body = self.schema.body
        for name in outer:
            if name not in body.blocks:
                return False
            body = body.block(name)
        return last in body.arguments or last in body.blocks

    def missing(self, block: Block, extra: frozenset[str]) -> Iterator[Finding]:
        """What the builder needs and neither the source nor a build gives."""
        needs = [need for need in self.schema.facts.needed if need.holds(self.schema.version)]
        needs += self.communicator(block)
        for need in needs:
            for where, given in self.places(block, need):
                leaves = [name.rpartition(".")[2] for name in need.names]
                if not given & {*leaves} and not extra & {*leaves}:
                    yield self.lacking(where, need)
        yield from self.combinations(block, self.given(block.body) | extra)

    def combinations(self, block: Block, given: frozenset[str]) -> Iterator[Finding]:
        """Arguments that need each other, or exclude each other."""
        facts = self.schema.facts
        for name, need in facts.requires.items():
            if name in given and need.holds(self.schema.version) and not given & {*need.names}:
                message = f"{name} of {self.schema.name} needs {' or '.join(need.names)} beside it"
                yield self.document.finding(catalog.MISSING_ARGUMENT, self.document.head(block), message)
        for names in facts.together:
            lacking = [name for name in names if name not in given]
            if lacking and len(lacking) < len(names):
                message = f"{' and '.join(names)} belong together: {', '.join(lacking)} is missing"
                yield self.document.finding(catalog.MISSING_ARGUMENT, self.document.head(block), message)
        certain = self.certain(block)
        for names in facts.exclusive:
            if len(certain & {*names}) > 1:
                message = f"{self.schema.name} takes only one of {', '.join(names)}"
                yield self.document.finding(catalog.EXCLUSIVE, self.document.head(block), message)

    def certain(self, block: Block) -> frozenset[str]:
        """What is set for sure: a variable may be null, and then Packer takes the argument for not set."""
        texts = {name: self.document.syntax.plain(value) for name, value in block.attributes.items()}
        written = {name for name, text in texts.items() if text}
        lists = {name for name, value in block.attributes.items() if isinstance(value, ArrayExpression)}
        return frozenset(written | lists | {inner.type.name for inner in block.blocks})

    def places(self, block: Block, need: Needed) -> Iterator[tuple[Any, frozenset[str]]]:
        """Where an argument may stand, and what stands there: the source, or each block of the kind that has it."""
        outer = need.names[0].rpartition(".")[0]
        if not outer:
            yield self.document.head(block), self.given(block.body)
            return
        for inner in inner_blocks(self.document, block.body, self.schema.body):
            if inner.name == outer:
                yield inner.span, self.given(inner.body)

    def given(self, stmts: Sequence[Stmt]) -> frozenset[str]:
        attributes = {stmt.key.name for stmt in stmts if isinstance(stmt, Attribute)}
        return frozenset(attributes | {inner.name for inner in inner_blocks(self.document, stmts, Body())})

    def communicator(self, block: Block) -> list[Needed]:
        """The account that the communicator logs in with."""
        if "communicator" not in self.schema.body.arguments:
            return []
        value = block.attributes.get("communicator")
        used = "ssh" if value is None else self.document.syntax.plain(value)
        needed = _COMMUNICATORS.get(used or "")
        return [Needed((needed,))] if needed else []

    def lacking(self, where: Any, need: Needed) -> Finding:
        known = [name for name in need.names if self.knows(name)] or need.names
        message = f"{self.schema.name} needs {' or '.join(known)}"
        if need.environment:
            hint = f"or the environment variable {need.environment}"
            return self.document.finding(catalog.MISSING_OR_ENVIRONMENT, where, message, hint)
        return self.document.finding(catalog.MISSING_ARGUMENT, where, message)


def inner_blocks(document: Document, stmts: Iterable[Stmt], body: Body) -> Iterator[Inner]:
    """The blocks among statements.

    Args:
        document: the file they stand in.
        stmts: attributes and blocks.
        body: tells which attributes of JSON are blocks.
    """
    for stmt in stmts:
        if isinstance(stmt, Attribute):
            if document.is_json and stmt.key.name in body.blocks:
                for one in stmt.value.values if isinstance(stmt.value, ArrayExpression) else [stmt.value]:
                    yield Inner(stmt.key.name, stmt.key.span, _fields(document, one))
        elif isinstance(stmt, Block) and stmt.type.name == "dynamic" and stmt.labels:
            content = next((inner.body for inner in stmt.blocks if inner.type.name == "content"), [])
            yield Inner(label_text(document, stmt.labels[0]), stmt.labels[0].span, content)
        elif isinstance(stmt, Block):
            yield Inner(stmt.type.name, stmt.type.span, stmt.body)


def _fields(document: Document, value: Any) -> list[Stmt]:
    """An object of JSON as the body of a block."""
    stmts: list[Stmt] = []
    for key, inner in value.fields.items() if isinstance(value, ObjectExpression) else ():
        name = document.syntax.plain(key) if isinstance(key, Literal) else None
        if name:
            stmts.append(Attribute(Identifier(name, span=key.span), inner, span=inner.span))
    return stmts
