"""Reads the facts that `packer_facts.py` makes tables of from the sources of Packer 1.6.6 and of the pinned plugins.

    python tools/packer_sources.py FACTS [--history]
    python tools/packer_facts.py FACTS

Go downloads the sources, by the versions that `newest_packer/go.mod` pins; what a builder takes stands in their
`*.hcl2spec.go`, which Packer's own generator writes. `--history` also reads every tag that `since.json` lists, and says
which the module proxy does not have; without it, what is new at the pinned version is added to what is known.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import newest_packer
from packer_facts import BUILDERS, BUNDLED

from skyvypack import command
from skyvypack.errors import CommandFailed

_PACKER = ("github.com/hashicorp/packer", "v1.6.6")
_FUNCTION = re.compile(r"func \(\*?(Flat\w+)\) HCL2Spec\(\) map\[string\]hcldec\.Spec \{\n(.*?)\n\}", re.DOTALL)
_STRUCT = re.compile(r"type (Flat\w+) struct \{\n(.*?)\n\}", re.DOTALL)
_SPEC = re.compile(r'^\s*"([^"]+)":\s+&hcldec\.(\w+)\{(.*)\},$', re.MULTILINE)
_TAG = re.compile(r"`(.*)`")
_NESTED = re.compile(r"\(\(\*(?:(\w+)\.)?(Flat\w+)\)\(nil\)\.HCL2Spec\(\)\)")
_TYPE = re.compile(r"Type: (cty\..+), Required: ")
_IMPORT = re.compile(r'^\s+(?:(\w+) )?"([^"]+)"$', re.MULTILINE)
_REQUIRED = re.compile(r"^(?:require)?\s+(\S+/\S+) (v\S+)", re.MULTILINE)
_INTERNAL = "packer_"  # what Packer itself hands to a builder
_NESTING = {"BlockSpec": "single", "BlockListSpec": "list"}

Facts = Mapping[str, Any]


class Unavailable(Exception):
    """The module proxy does not have a version."""


@dataclass
class Module:
    """A Go module on this machine.

    Args:
        go: the program.
        path: of the module.
        version: as Go names it.
    """

    go: str
    path: str
    version: str
    folder: Path = field(init=False)

    def __post_init__(self) -> None:
        argv = [self.go, "mod", "download", "-json", f"{self.path}@{self.version}"]
        try:
            done = command.run(argv, env={**os.environ, "GOFLAGS": "-mod=mod"}, cwd="/", timeout=600)
        except CommandFailed as error:
            raise Unavailable(f"{self.path} {self.version}") from error
        self.folder = Path(json.loads(done.stdout)["Dir"])

    @property
    def name(self) -> str:
        """The version as people name it: the tag's, also where Go has only the tag's commit."""
        text = "".join(path.read_text(encoding="utf-8") for path in self.folder.glob("version/version.go"))
        said = re.search(r'\bVersion\s+(?:string)?\s*= "([0-9.]+)"', text)
        tagged = re.fullmatch(r"v([0-9]+\.[0-9]+\.[0-9]+)(?:\+incompatible)?", self.version)
        return tagged[1] if tagged else said[1] if said else self.version

    def required(self, package: str) -> Module:
        """The module that a package of another module is in."""
        wanted = {path: version for path, version in _REQUIRED.findall(self._text("go.mod"))}
        fitting = [path for path in wanted if package == path or package.startswith(f"{path}/")]
        path = max(fitting, key=len)
        return Module(self.go, path, wanted[path])

    def _text(self, name: str) -> str:
        return (self.folder / name).read_text(encoding="utf-8")

    def builder(self, name: str) -> str:
        """The folder of a builder: its path below `builder/` is its name, with or without the plugin's."""
        for path in sorted(self.folder.glob("builder/**/*.hcl2spec.go")):
            words = "-".join(path.parent.relative_to(self.folder / "builder").parts)
            if name == words or (
                name.endswith(f"-{words}") and f"packer-plugin-{name.removesuffix(f'-{words}')}" in self.path
            ):
                return path.parent.relative_to(self.folder).as_posix()
        raise Unavailable(f"{self.path} {self.version} has no builder {name}")

    def body(self, folder: str, kind: str = "FlatConfig") -> dict[str, Any]:
        """Arguments and blocks of a type in a package of this module."""
        for path in sorted((self.folder / folder).glob("*.hcl2spec.go")):
            text = path.read_text(encoding="utf-8")
            functions, structs = dict(_FUNCTION.findall(text)), dict(_STRUCT.findall(text))
            if kind in functions:
                return self._body(folder, text, functions[kind], _tags(structs[kind]))
        raise Unavailable(f"{self.path} {self.version} has no {kind} in {folder}")

    def _body(self, folder: str, text: str, function: str, tags: Mapping[str, str]) -> dict[str, Any]:
        imports = {alias or path.rpartition("/")[2]: path for alias, path in _IMPORT.findall(text)}
        found: dict[str, Any] = {"arguments": {}, "blocks": {}}
        for name, kind, rest in _SPEC.findall(function):
            required = 'required:"true"' in tags.get(name, "")
            if name.startswith(_INTERNAL):
                continue
            if kind == "AttrSpec":
                (typed,) = _TYPE.findall(rest)
                fact = {"type": _type(typed), "required": required}
                hidden = {"undocumented": True} if 'undocumented:"true"' in tags.get(name, "") else {}
                found["arguments"][name] = fact | hidden
            else:
                ((alias, nested),) = _NESTED.findall(rest)
                inner = self._nested(folder, imports.get(alias, ""), nested)
                found["blocks"][name] = {"nesting": _NESTING[kind], "required": required, **inner}
        return found

    def _nested(self, folder: str, package: str, kind: str) -> dict[str, Any]:
        if not package:
            return self.body(folder, kind)
        if package.startswith(f"{self.path}/"):
            return self.body(package.removeprefix(f"{self.path}/"), kind)
        other = self.required(package)
        return other.body(package.removeprefix(f"{other.path}/"), kind)


def _tags(struct: str) -> dict[str, str]:
    found = {}
    for line in struct.splitlines():
        if tag := _TAG.search(line):
            found |= {name: tag[1] for name in re.findall(r'hcl:"([^",]+)', tag[1])}
    return found


def _type(text: str) -> str:
    """``cty.Map(cty.String)`` as HCL writes it."""
    return re.sub(r"cty\.(\w+)", lambda match: match[1].lower(), text)


def _names(facts: Facts, within: str = "") -> Iterator[tuple[str, str]]:
    for name, fact in facts["arguments"].items():
        yield within + name, fact["type"]
    for name, fact in facts["blocks"].items():
        yield within + name, "block"
        yield from _names(fact, f"{within}{name}.")


def history(builder: str, known: Facts, before: Mapping[str, str], tags: Mapping[str, Facts]) -> dict[str, Any]:
    """What came and went with a builder's plugin.

    Args:
        builder: its name.
        known: its `since.json`, which stays true of versions that are not read.
        before: type by name of what was there before the first of `tags`.
        tags: its facts by version, oldest first.
    """
    added, removed = dict(known["first_version_of"]), dict(known["removed_in"])
    changed = dict(known["type_changed_in"])
    unread: list[str] = []
    for version in known["tags"]:
        if version not in tags:
            unread.append(version)
            continue
        now = dict(_names(tags[version]))
        for name in now.keys() - before.keys():
            _differs(builder, "added", added, name, [version, *unread])
        for name in before.keys() - now.keys():
            _differs(builder, "removed", removed, name, [version, *unread])
        changed |= {name: [before[name], now[name]] for name in now.keys() & before.keys() if now[name] != before[name]}
        before, unread = now, []
    return {
        "plugin": known["plugin"],
        "tags": known["tags"],
        "added": added,
        "removed": removed,
        "type_changed": changed,
    }


def _differs(builder: str, what: str, known: dict[str, str], name: str, versions: list[str]) -> None:
    """Note a change that was first seen in the first of some versions; the others, before it, could not be read."""
    if known.setdefault(name, versions[0]) not in versions:
        sys.stderr.write(f"{builder}: {name} is {what} by {versions[0]}, not {known[name]} as since.json says\n")


def _pinned(go: str, plugin: str) -> Module:
    """The module of a plugin, at the version that is built for tests."""
    ending = f"/packer-plugin-{plugin.rpartition('/')[2]}"
    for file in sorted(newest_packer.SOURCES.rglob("go.mod")):
        for path, version in _REQUIRED.findall(file.read_text(encoding="utf-8")):
            if path.endswith(ending):
                return Module(go, path, version)
    raise Unavailable(f"{plugin} is pinned nowhere")


def _read(go: str, builder: str, known: Facts, all_tags: bool) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    plugin = known["plugin"]
    packer, newest = Module(go, *_PACKER), _pinned(go, plugin)
    old = {"builder": builder, "plugin": BUNDLED, "version": packer.name, **packer.body(packer.builder(builder))}
    new = {"builder": builder, "plugin": plugin, "version": newest.name, **newest.body(newest.builder(builder))}
    tags = {}
    for tag in known["tags"] if all_tags else ():
        try:
            module = newest if tag == newest.name else Module(go, newest.path, f"v{tag}")
            tags[tag] = module.body(module.builder(builder))
        except Unavailable as error:
            sys.stderr.write(f"{builder}: not read: {error}\n")
    if not all_tags:
        known = {**known, "tags": list(dict.fromkeys([*known["tags"], newest.name]))}
        tags = {newest.name: new}
    return old, new, history(builder, known, _last(known, old, new) if not all_tags else dict(_names(old)), tags)


def _last(known: Facts, old: Facts, new: Facts) -> dict[str, str]:
    """What is known of the last version, so that only what is newer counts as new; types as now, or once."""
    types = dict(_names(old))
    names = types.keys() | known["first_version_of"].keys()
    here = dict(_names(new))
    return {name: types.get(name, here.get(name, "")) for name in names - known["removed_in"].keys()}


def main() -> int:
    """Write the folder of facts."""
    parser = argparse.ArgumentParser(description="Read what builders take from the sources of Packer and its plugins.")
    parser.add_argument("facts", type=Path, help="folder to write")
    parser.add_argument("--history", action="store_true", help="read every tag that since.json lists")
    given = parser.parse_args()
    try:
        go = newest_packer.go()
    except newest_packer.NoGoError as error:
        sys.stderr.write(f"{error}\n")
        return 3
    try:
        _write(go, given.facts, given.history)
    except Unavailable as error:
        sys.stderr.write(f"the module proxy does not have it: {error}\n")
        return 1
    return 0


def _write(go: str, folder_of_facts: Path, all_tags: bool) -> None:
    changes = {}
    for path in sorted(BUILDERS.glob("*/since.json")):
        builder = path.parent.name
        old, new, changes[builder] = _read(go, builder, json.loads(path.read_text(encoding="utf-8")), all_tags)
        for folder, fact in (("1.6.6", old), ("latest", new)):
            (folder_of_facts / folder).mkdir(parents=True, exist_ok=True)
            (folder_of_facts / folder / f"{builder}.json").write_text(json.dumps(fact, indent=1), encoding="utf-8")
    (folder_of_facts / "schema_diff.json").write_text(json.dumps(changes, indent=1), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
