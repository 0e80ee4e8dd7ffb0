"""What a Packer version accepts.

The facts are tables in `builders/<builder>/`: `arguments-<version>.json` names the arguments and nested blocks of the
builder as bundled with Packer 1.6.6 or at a plugin's version, `since.json` the plugin version each one came with.
A further builder is a further folder; nothing here names one.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeAlias

from skyvypack import assets
from skyvypack.errors import InputError, ToolMissing
from skyvypack.hcl import Attribute, Block, Expression, Value

Version: TypeAlias = tuple[int, int, int]

OLDEST: Version = (1, 6, 6)
NEWEST: Version = (1, 16, 0)

# Packer's changelog; each was tried against 1.6.6, which has none of them.
FEATURES: Mapping[str, Version] = {
    "required_plugins": (1, 7, 0),
    "init": (1, 7, 0),
    "local": (1, 7, 0),
    "data": (1, 7, 0),
    "error-cleanup-provisioner": (1, 7, 0),
    "regex": (1, 7, 0),
    "templatefile": (1, 7, 1),
    "hcp_packer_registry": (1, 7, 5),
    "shell-env": (1, 8, 0),
    "no-warn-undeclared-var": (1, 8, 5),
}
_PRINTED = re.compile(r"Packer v(\d+)\.(\d+)\.(\d+)")
_NAME = re.compile(r"(\d+)\.(\d+)\.(\d+)")


@dataclass(frozen=True, slots=True)
class Dialect:
    """One Packer version and the plugins it is used with.

    Args:
        version: Packer's, such as ``(1, 6, 6)``.
    """

    version: Version

    @property
    def name(self) -> str:
        """The version as text, such as ``1.6.6``."""
        return _text(self.version)

    def has(self, feature: str) -> bool:
        """Whether this Packer has one of `FEATURES`."""
        return self.version >= FEATURES[feature]

    def accepts(self, builder: str, name: str) -> bool:
        """Whether a builder has an argument or block.

        Args:
            builder: such as ``qemu``.
            name: of the argument or block; within a block with a dot, as in ``boot_iso.iso_file``.
        """
        return _find(self._facts(builder), name) is not None

    def require(self, builder: str, name: str) -> None:
        """Refuse what `accepts` denies.

        Raises:
            InputError: naming the version that has it, or the nearest name when none has.
        """
        if self.accepts(builder, name):
            return
        facts, since = self._facts(builder), _since(builder)
        message = f"builder {builder} of Packer {self.name} has no {name}"
        if first := since["first_version_of"].get(name):
            packer = _text(FEATURES["required_plugins"])
            raise InputError(message, f"plugin {since['plugin']} {first} has it, with Packer {packer} or newer")
        if last := since["removed_in"].get(name):
            raise InputError(message, f"plugin {since['plugin']} {last} removed it")
        near = difflib.get_close_matches(name, [*facts["arguments"], *facts["blocks"]], 1)
        raise InputError(message, f"did you mean {near[0]}?" if near else "")

    def check(self, block: Block) -> None:
        """Check every argument of a ``source`` block, and of the blocks in it, against the builder's table.

        Args:
            block: its first label is the builder.

        Raises:
            InputError: an argument is unknown here, or its value is of the wrong type.
        """
        self._check(block.labels[0], self._facts(block.labels[0]), block, "")

    def _check(self, builder: str, facts: Mapping[str, Any], block: Block, within: str) -> None:
        for attribute in block.attributes:
            self.require(builder, within + attribute.name)
            _check_type(builder, within, attribute, facts)
        for inner in block.blocks:
            self.require(builder, within + inner.type)
            if inner.type not in facts["blocks"]:
                raise InputError(f"{within}{inner.type} of builder {builder} is an argument, not a block")
            self._check(builder, facts["blocks"][inner.type], inner, f"{within}{inner.type}.")

    def plugin(self, builder: str) -> str:
        """The plugin that has the builder, such as ``github.com/hashicorp/qemu``; empty when Packer itself has it."""
        return str(self._facts(builder)["plugin"])

    def packer_block(self, builder: str) -> Block:
        """The ``packer`` block: the Packer version and, from 1.7 on, the plugin that a document needs."""
        facts = self._facts(builder)
        if not facts["plugin"]:
            return Block("packer", body=[Attribute("required_version", f">= {_text(OLDEST)}")])
        following = int(facts["version"].partition(".")[0]) + 1
        plugin = {"source": facts["plugin"], "version": f">= {facts['version']}, < {following}.0.0"}
        needed = Block("required_plugins", body=[Attribute(facts["plugin"].rpartition("/")[2], plugin)])
        first = _text(FEATURES["required_plugins"])
        return Block("packer", body=[Attribute("required_version", f">= {first}"), needed])

    def _facts(self, builder: str) -> Mapping[str, Any]:
        return _facts(builder, bundled=not self.has("required_plugins"))


LATEST = Dialect(NEWEST)


def parse(printed: str) -> Dialect:
    """The dialect of an installed Packer.

    Args:
        printed: what ``packer version`` printed, such as ``Packer v1.6.6``.

    Raises:
        ToolMissing: it is older than any we know, or no Packer's output.
    """
    match = _PRINTED.search(printed)
    if not match:
        raise ToolMissing(f"not Packer's version: {printed.strip()[:80]!r}", "is another program called packer?")
    version = _version(match)
    if version < OLDEST:
        raise ToolMissing(f"Packer {_text(version)} is too old", f"{_text(OLDEST)} or newer is needed")
    return Dialect(version)


def named(name: str) -> Dialect:
    """The dialect of a version such as ``1.6.6``, or ``latest``, the newest known.

    Raises:
        InputError: it is no version, or older than any we know.
    """
    if name == "latest":
        return LATEST
    match = _NAME.fullmatch(name)
    if not match or _version(match) < OLDEST:
        raise InputError(f"no Packer version {name!r}", f"give {_text(OLDEST)}, a newer one, or latest")
    return Dialect(_version(match))


@dataclass(frozen=True, slots=True)
class Tables:
    """All that is known of a builder.

    Args:
        bundled: its table as bundled with Packer 1.6.6; nothing when it was not.
        newest: its table at the newest plugin known; nothing when it has none.
        plugin: the plugin's address, such as ``github.com/hashicorp/qemu``.
        first: the plugin version that brought an argument, by dotted name; what is not in it is as old as the plugin.
        removed: the plugin version that took one away.
        type_changed: arguments whose type is not the same in every version.
    """

    bundled: Mapping[str, Any] | None
    newest: Mapping[str, Any] | None
    plugin: str
    first: Mapping[str, str]
    removed: Mapping[str, str]
    type_changed: frozenset[str]


@cache
def tables(builder: str) -> Tables | None:
    """The tables of a builder, such as ``qemu``; nothing when there are none."""
    folder = assets.builders() / builder
    if not builder.replace("-", "").isalnum() or not (folder / "since.json").is_file():
        return None
    since = _since(builder)
    return Tables(
        _newest(builder, bundled=True),
        _newest(builder, bundled=False),
        since["plugin"],
        since["first_version_of"],
        since["removed_in"],
        frozenset(since["type_changed_in"]),
    )


def _version(match: re.Match[str]) -> Version:
    major, minor, patch = map(int, match.groups())
    return major, minor, patch


def _text(version: Version) -> str:
    return ".".join(map(str, version))


@cache
def _facts(builder: str, *, bundled: bool) -> Mapping[str, Any]:
    """The builder's table: the one of Packer 1.6.6, or that of the newest plugin."""
    table = _newest(builder, bundled=bundled)
    if table is None:
        raise InputError(f"no facts about the builder {builder}", f"looked in {assets.builders() / builder}")
    return table


def _newest(builder: str, *, bundled: bool) -> Mapping[str, Any] | None:
    every = [json.loads(path.read_text()) for path in (assets.builders() / builder).glob("arguments-*.json")]
    fitting = [table for table in every if bundled == (not table["plugin"])]
    return max(fitting, key=lambda table: tuple(map(int, table["version"].split("."))), default=None)


@cache
def _since(builder: str) -> Mapping[str, Any]:
    since: Mapping[str, Any] = json.loads((assets.builders() / builder / "since.json").read_text())
    return since


def _find(facts: Mapping[str, Any], name: str) -> Any:
    *outer, last = name.split(".")
    for block in outer:
        facts = facts["blocks"].get(block, {"arguments": {}, "blocks": {}})
    return facts["arguments"].get(last) or facts["blocks"].get(last)


def _check_type(builder: str, within: str, attribute: Attribute, facts: Mapping[str, Any]) -> None:
    fact = facts["arguments"].get(attribute.name)
    if fact is None:
        raise InputError(f"{within}{attribute.name} of builder {builder} is a block, not an argument")
    if not _fits(fact["type"], attribute.value):
        raise InputError(f"{within}{attribute.name} of builder {builder} takes {fact['type']}, not {attribute.value!r}")


def _fits(kind: str, value: Value) -> bool:
    outer, _, inner = kind.partition("(")
    match value:
        case Expression() | None:
            return True  # Packer works it out, or takes its default
        case bool():
            return kind == "bool"
        case int() | float():
            return kind == "number"
        case str():
            return kind == "string"
        case Mapping():
            return outer == "map" and all(_fits(inner[:-1], item) for item in value.values())
        case Sequence():
            return outer == "list" and all(_fits(inner[:-1], item) for item in value)
