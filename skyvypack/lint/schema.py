"""What a builder takes at a chosen version: `dialect`'s tables cut to it, and the linter's own facts beside them."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import yaml

from skyvypack import assets, dialect
from skyvypack.dialect import Tables
from skyvypack.lint import versions
from skyvypack.lint.versions import Version

FACTS = "lint.yaml"


@dataclass(frozen=True, slots=True)
class Needed:
    """Arguments of which one must be set.

    Args:
        names: each alone is enough; nested ones with a dot, checked where their block stands.
        environment: the variable that may stand in for them; empty when none does.
        since: the plugin version from which it holds; nothing when always.
        until: the plugin version from which it holds no more; nothing when it still does.
    """

    names: tuple[str, ...]
    environment: str = ""
    since: Version | None = None
    until: Version | None = None

    def holds(self, version: Version | None) -> bool:
        """Whether it holds for a plugin version, or (none) for the builder bundled with Packer 1.6.6."""
        at = version or (0, 0, 0)
        return (self.since is None or at >= self.since) and (self.until is None or at < self.until)


@dataclass(frozen=True, slots=True)
class Renamed:
    """An argument with a newer name.

    Args:
        new: dotted name of one that takes the same value; empty when more than the name changes.
        instead: what to write, in words.
        having: the argument or block that a version must have for this to be true of it.
        since: the plugin version from which it is true; nothing when always.
    """

    new: str
    instead: str
    having: str
    since: Version | None = None


@dataclass(frozen=True, slots=True)
class Facts:
    """What `lint.yaml` beside a builder's tables says; see that of proxmox-iso for its form.

    Args:
        needed: arguments that must be set.
        requires: arguments that need another beside them, with the other.
        together: arguments that are set all or none.
        exclusive: arguments of which one at most is set.
        refused: what a table has and the builder cannot take all the same, with the reason, until a plugin version.
        renamed: arguments with a newer name, by the old one.
        formerly: the name that the builder had; empty when it had none.
        earlier_plugin: another address that the plugin had, and the version from which it has it no more.
    """

    needed: tuple[Needed, ...] = ()
    requires: Mapping[str, Needed] = field(default_factory=dict)
    together: tuple[tuple[str, ...], ...] = ()
    exclusive: tuple[tuple[str, ...], ...] = ()
    refused: Mapping[str, tuple[str, Version | None]] = field(default_factory=dict)
    renamed: Mapping[str, Renamed] = field(default_factory=dict)
    formerly: str = ""
    earlier_plugin: tuple[str, Version] | None = None


@dataclass(frozen=True, slots=True)
class Body:
    """Arguments and blocks that may stand together: a fact of each by name."""

    arguments: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    blocks: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def block(self, name: str) -> Body:
        """What may stand in one of its blocks."""
        return Body(self.blocks[name]["arguments"], self.blocks[name]["blocks"])

    def near(self, name: str) -> str:
        """The name that was probably meant, or nothing."""
        return next(iter(difflib.get_close_matches(name, [*self.arguments, *self.blocks], 1)), "")


@dataclass(frozen=True, slots=True)
class Schema:
    """A builder at one version.

    Args:
        builder: such as ``qemu``.
        version: of its plugin; nothing for the one bundled with Packer 1.6.6.
        body: what its source block takes.
    """

    builder: str
    version: Version | None
    body: Body

    @property
    def tables(self) -> Tables:
        """The tables it was cut from."""
        found = dialect.tables(self.builder)
        assert found
        return found

    @property
    def facts(self) -> Facts:
        """The linter's own facts about the builder."""
        return facts(self.builder)

    @property
    def name(self) -> str:
        """Builder and version in words."""
        if self.version:
            return f"builder {self.builder} of plugin {versions.text(self.version)}"
        return f"builder {self.builder} of Packer {versions.text(dialect.OLDEST)}"

    def why_absent(self, path: str) -> str:
        """Since or until when the builder has an argument that this version lacks; empty when none had it."""
        plugin = self.tables.plugin
        removed = self.tables.removed.get(path)
        if removed and (not self.version or self.version >= (versions.parse(removed) or self.version)):
            return f"plugin {plugin} {removed} removed it"
        if first := self.tables.first.get(path):
            return f"plugin {plugin} {first} has it" + ("" if self.version else ", with Packer 1.7.0 or newer")
        return ""


@cache
def facts(builder: str) -> Facts:
    """The linter's facts about a builder, read once."""
    path = assets.builders() / builder / FACTS
    read: Mapping[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8")) if path.is_file() else {}
    needed = tuple(_needed(one) for one in read.get("needed", ()))
    requires = {name: _needed(one) for name, one in read.get("requires", {}).items()}
    refused = {name: (one["why"], _version(one, "until")) for name, one in read.get("refused", {}).items()}
    renamed = {
        old: Renamed(to := new.get("to", ""), new.get("instead", to), new.get("having", to), _version(new, "since"))
        for old, new in read.get("renamed", {}).items()
    }
    together, exclusive = (tuple(map(tuple, read.get(name, ()))) for name in ("together", "exclusive"))
    earlier = read.get("earlier_plugin")
    until = versions.parse(earlier["until"]) if earlier else None
    plugin = (earlier["source"], until) if earlier and until else None
    return Facts(needed, requires, together, exclusive, refused, renamed, read.get("formerly", ""), plugin)


def _needed(one: Mapping[str, Any]) -> Needed:
    return Needed(tuple(one["one_of"]), one.get("environment", ""), _version(one, "since"), _version(one, "until"))


def _version(fact: Mapping[str, str], name: str) -> Version | None:
    return versions.parse(fact.get(name, ""))


@cache
def builders() -> Mapping[str, str]:
    """The builders there are tables of, by the names that sources may have: today's, and the one before it."""
    names = sorted(path.parent.name for path in assets.builders().glob("*/since.json"))
    return {name: name for name in names} | {facts(name).formerly: name for name in names if facts(name).formerly}


@cache
def schema(builder: str, version: Version | None) -> Schema | None:
    """A builder at a version; nothing when there are no tables for it.

    Args:
        builder: such as ``qemu``.
        version: of its plugin; nothing for the one bundled with Packer 1.6.6.
    """
    found = dialect.tables(builder)
    if not found:
        return None
    table = found.newest if version else found.bundled
    if table is None:
        return None
    if version is None:
        return Schema(builder, None, Body(table["arguments"], table["blocks"]))
    return Schema(builder, version, _cut(found, version, table, found.bundled or {}, ""))


def _cut(found: Tables, version: Version, newest: Mapping[str, Any], bundled: Mapping[str, Any], within: str) -> Body:
    """The newest table without what came later, and with what was taken away only later."""
    parts: dict[str, dict[str, Any]] = {}
    for part in ("arguments", "blocks"):
        kept = {name: fact for name, fact in newest.get(part, {}).items() if _has(found, version, within + name)}
        old = bundled.get(part, {})
        kept |= {name: old[name] for name in old if name not in kept and _still(found, version, within + name)}
        parts[part] = kept
    blocks = {}
    for name, fact in parts["blocks"].items():
        inner = _cut(found, version, fact, bundled.get("blocks", {}).get(name, {}), f"{within}{name}.")
        blocks[name] = {**fact, "arguments": inner.arguments, "blocks": inner.blocks}
    return Body(parts["arguments"], blocks)


def _has(found: Tables, version: Version, path: str) -> bool:
    first = versions.parse(found.first.get(path, ""))
    return first is None or version >= first


def _still(found: Tables, version: Version, path: str) -> bool:
    removed = versions.parse(found.removed.get(path, ""))
    return removed is not None and version < removed


def known(builder: str) -> Iterator[Version]:
    """The plugin versions at which something of a builder changed, and the newest."""
    found = dialect.tables(builder)
    if found and found.newest:
        for text in {*found.first.values(), *found.removed.values(), found.newest["version"]}:
            version = versions.parse(text)
            if version:
                yield version
