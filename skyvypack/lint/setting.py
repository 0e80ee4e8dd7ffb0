"""What a module is judged by: a Packer version, and of each builder the plugin version that the module will get."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from pyhcl2.nodes import Attribute, Identifier, Node, ObjectExpression

from skyvypack import dialect
from skyvypack.dialect import Dialect
from skyvypack.lint import schema, versions
from skyvypack.lint.module import Document, Module
from skyvypack.lint.schema import Schema
from skyvypack.lint.versions import Constraint, Version


@dataclass(frozen=True, slots=True)
class Required:
    """A plugin that `required_plugins` names.

    Args:
        document: the file it stands in.
        span: of its version, or of its name where it has none.
        name: its name here.
        source: its address; empty when none is given.
        constraint: the versions admitted; nothing when none or an unreadable one is given.
    """

    document: Document
    span: Any
    name: str
    source: str
    constraint: Constraint | None


@dataclass(slots=True)
class Setting:
    """Args:
    dialect: the Packer version.
    module: what is judged.
    plugins: plugin versions that the caller chose, by address or its last word.
    """

    dialect: Dialect
    module: Module
    plugins: Mapping[str, Version] = field(default_factory=dict)
    required: list[Required] = field(init=False)

    def __post_init__(self) -> None:
        self.required = list(_required(self.module))

    @property
    def bundled(self) -> bool:
        """Whether Packer brings the builders itself."""
        return not self.dialect.has("required_plugins")

    def requirement(self, builder: str) -> Required | None:
        """The entry of `required_plugins` that a builder comes from, by the plugin's name in it."""
        fitting = [one for one in self.required if builder == one.name or builder.startswith(f"{one.name}-")]
        return max(fitting, key=lambda one: len(one.name), default=None)

    def schema(self, builder: str) -> Schema | None:
        """What a builder takes here; nothing when there are no facts about it, or another plugin provides it."""
        name = schema.builders().get(builder)
        tables = dialect.tables(name) if name else None
        if not name or not tables:
            return None
        if self.bundled:
            return schema.schema(name, None)
        version = self._version(builder, name, tables.plugin)
        return schema.schema(name, version) if version else None

    def _version(self, builder: str, name: str, plugin: str) -> Version | None:
        known = list(schema.known(name))
        for chosen in (plugin, plugin.rpartition("/")[2]):
            if chosen in self.plugins:
                return self.plugins[chosen]
        required = self.requirement(builder)
        if not required:
            return max(known, default=None)
        known = self._offered(required, name, plugin, known)
        if not required.constraint:
            return max(known, default=None)
        return required.constraint.newest(known)

    def oldest(self, builder: str) -> tuple[Required, Version] | None:
        """The oldest plugin that `required_plugins` admits for a builder, and the entry that does."""
        name = schema.builders().get(builder)
        tables = dialect.tables(name) if name else None
        required = self.requirement(builder)
        if not name or not tables or not required or not required.constraint or self.bundled:
            return None
        known = self._offered(required, name, tables.plugin, list(schema.known(name)))
        version = required.constraint.oldest(known)
        return (required, version) if version else None

    @staticmethod
    def _offered(required: Required, name: str, plugin: str, known: list[Version]) -> list[Version]:
        """The versions that the plugin's address has: none when it is another's, fewer when it is an earlier one."""
        earlier = schema.facts(name).earlier_plugin
        if required.source.lower() == plugin or not required.source:
            return known
        if earlier and required.source.lower() == earlier[0]:
            return [version for version in known if version < earlier[1]]
        return []


def _required(module: Module) -> Iterator[Required]:
    for document, block in module.blocks("packer", reported=False):
        for inner in block.blocks:
            if inner.type.name == "required_plugins":
                for stmt in inner.body:
                    if isinstance(stmt, Attribute):
                        yield _entry(document, stmt)


def _entry(document: Document, stmt: Attribute) -> Required:
    version, source = "", ""
    span: Node = stmt.key
    fields = stmt.value.fields if isinstance(stmt.value, ObjectExpression) else {}
    for key, value in fields.items():
        word = key.name if isinstance(key, Identifier) else document.syntax.plain(key)
        plain = document.syntax.plain(value) or ""
        if word == "version":
            version, span = plain, value
        elif word == "source":
            source = plain
    return Required(document, span.span, stmt.key.name, source, versions.constraint(version) if version else None)
