"""Reads role folders: what `role.yaml` says, checked, and which files stand beside it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from skyvypack import assets
from skyvypack.document import Document, parse
from skyvypack.errors import InputError, Problem, SpecError
from skyvypack.rules import Rule, check, check_settings_rules

ROLE_NAME = r"[a-z][a-z0-9-]{0,30}"
PACKAGE_NAME = r"[a-z0-9][a-z0-9+.-]+"
ORIGINS = ("debian", "upstream")
RELEASES = ("trixie", "bookworm")

_UNIT_NAME = r"[A-Za-z0-9@:_.\\-]+\.(service|socket|timer|target|path|mount|automount|swap|slice)"
_REASON: Rule = {"type": "string", "empty": False, "doc": "why"}
_ORIGIN: Rule = {"type": "string", "allowed": list(ORIGINS), "doc": "only with this origin of the role's packages"}
_WHEN: Rule = {"type": ["string", "boolean"], "doc": "left out if it renders to false or nothing"}
# A package or a unit: why, and the releases, the origin and the settings that have it when not all do.
_REASONED: Rule = {
    "type": "dict",
    "short": "reason",
    "schema": {
        "reason": {**_REASON, "required": True},
        "debian": {"type": "list", "minlength": 1, "schema": {"type": "string", "allowed": list(RELEASES)}},
        "origin": _ORIGIN,
        "when": _WHEN,
    },
}
_UNITS: Rule = {
    "type": "dict",
    "default": {},
    "keysrules": {"type": "string", "regex": _UNIT_NAME, "doc": "a unit with its suffix, such as ssh.service"},
    "valuesrules": _REASONED,
}
_PORT: Rule = {
    "type": "dict",
    "schema": {
        "port": {"type": ["integer", "string"], "required": True},
        "protocol": {"type": "string", "required": True},
        "reason": {**_REASON, "required": True},
    },
}
_REPOSITORY: Rule = {
    "type": "dict",
    "schema": {
        "origin": _ORIGIN,
        "uri": {"type": "string", "required": True, "doc": "the folder that holds dists/"},
        "suites": {"type": "string", "required": True, "doc": "separated by blanks"},
        "components": {"type": "string", "required": True, "doc": "separated by blanks"},
        "key": {"type": "string", "required": True, "regex": "/.+", "doc": "the file of the role that holds its key"},
        "fingerprint": {
            "type": "string",
            "required": True,
            "regex": "[0-9A-F]{40}",
            "doc": "of the key, as the vendor publishes it: 40 capital hexadecimal digits, in quotes",
        },
        "packages": {
            "type": "list",
            "required": True,
            "minlength": 1,
            "schema": {"type": "string", "regex": PACKAGE_NAME},
            "doc": "the only packages that are taken from it",
        },
    },
}
_REFUSAL: Rule = {
    "type": "dict",
    "schema": {
        "when": {"type": "string", "required": True, "doc": "refused unless it renders to false or nothing"},
        "reason": {**_REASON, "required": True},
        "hint": {"type": "string", "doc": "what to do about it"},
    },
}
_FILE: Rule = {
    "type": "dict",
    "schema": {
        "mode": {"type": "string", "doc": "octal, in quotes"},
        "owner": {"type": "string", "doc": "user:group"},
        "early": {"type": "boolean", "doc": "written before packages are installed, as for what apt needs; else after"},
        "when": _WHEN,
    },
}
ROLE_RULES: Mapping[str, Rule] = {
    "summary": {"type": "string", "required": True, "empty": False, "doc": "what the role gives, in one line"},
    "replaces": {"type": "boolean", "default": False, "doc": "true to take the place of a shipped role of this name"},
    "requires": {
        "type": "list",
        "default": [],
        "schema": {"type": "string", "regex": ROLE_NAME, "doc": "the name of a role"},
    },
    "origins": {
        "type": "list",
        "default": [],
        "schema": {"type": "string", "allowed": list(ORIGINS)},
        "doc": "where its packages can come from, the default first",
    },
    "packages": {
        "type": "dict",
        "default": {},
        "keysrules": {"type": "string", "regex": PACKAGE_NAME, "doc": "the name of a Debian package"},
        "valuesrules": _REASONED,
    },
    "repositories": {
        "type": "dict",
        "default": {},
        "keysrules": {"type": "string", "regex": ROLE_NAME, "doc": "the name of its files"},
        "valuesrules": _REPOSITORY,
        "doc": "vendors' repositories beside Debian's",
    },
    "refuse": {"type": "list", "default": [], "schema": _REFUSAL, "doc": "what cannot be, with the reason"},
    "settings": {"type": "dict", "default": {}},
    "ports": {"type": "list", "default": [], "schema": _PORT},
    "services": {
        "type": "dict",
        "default": {"enable": {}, "disable": {}, "mask": {}},
        "schema": {"enable": _UNITS, "disable": _UNITS, "mask": _UNITS},
    },
    "files": {
        "type": "dict",
        "default": {},
        "keysrules": {"type": "string", "regex": "/.+", "doc": "an absolute path of the guest"},
        "valuesrules": _FILE,
    },
    "commands": {"type": "list", "default": [], "schema": {"type": "string", "empty": False}},
}


@dataclass(frozen=True, slots=True)
class Definition:
    """What a role folder says, before a spec chose settings.

    Args:
        name: the folder's name.
        folder: where it is.
        content: `role.yaml`, checked, defaults filled in; its keys are those of `ROLE_RULES`.
        document: where each value of it stands.
    """

    name: str
    folder: Path
    content: Mapping[str, Any]
    document: Document

    @property
    def summary(self) -> str:
        """One line."""
        return str(self.content["summary"])

    @property
    def requires(self) -> tuple[str, ...]:
        """Names of roles applied before it."""
        return tuple(self.content["requires"])

    @property
    def settings(self) -> Mapping[str, Rule]:
        """Rule of each setting by name, with `default` and `doc`."""
        rules: Mapping[str, Rule] = self.content["settings"]
        return rules

    @property
    def origins(self) -> tuple[str, ...]:
        """Where its packages can come from, the default first; empty when there is no choice."""
        return tuple(self.content["origins"])

    def templates(self) -> Mapping[str, Path]:
        """Its template files by their path in the guest."""
        root = self.folder / "files"
        return {f"/{path.relative_to(root).as_posix()}": path for path in sorted(root.rglob("*")) if not path.is_dir()}


class Catalog(Mapping[str, Definition]):
    """Roles by name; each is read when it is first asked for.

    Args:
        folders: the folder of each role by name.
    """

    def __init__(self, folders: Mapping[str, Path]) -> None:
        self._folders = folders
        self._read: dict[str, Definition] = {}

    def __getitem__(self, name: str) -> Definition:
        if name not in self._read:
            self._read[name] = read(self._folders[name])
        return self._read[name]

    def __contains__(self, name: object) -> bool:
        return name in self._folders

    def __iter__(self) -> Iterator[str]:
        return iter(self._folders)

    def __len__(self) -> int:
        return len(self._folders)


def catalog(paths: Sequence[Path] = ()) -> Catalog:
    """The roles that a spec can choose: those shipped and those in the user's folders.

    Args:
        paths: folders of role folders; a role named like an earlier one takes its place if it says `replaces: true`.

    Returns:
        The roles by name, sorted; asking for one raises `SpecError` when its `role.yaml` is wrong.

    Raises:
        InputError: a path is not a folder.
        SpecError: a role has the name of another and does not say that it replaces it.
    """
    folders: dict[str, Path] = {}
    problems: list[Problem] = []
    for path in (assets.roles(), *paths):
        if not path.is_dir():
            raise InputError(f"{path} is not a folder of roles", "correct roles_path in the spec")
        for name, folder in _role_folders(path).items():
            if name in folders and not read(folder).content["replaces"]:
                message = f"the role `{name}` exists already, in {folders[name]}"
                hint = "give it another name, or write `replaces: true` in it"
                problems.append(Problem(str(folder / "role.yaml"), 1, 1, "", message, hint))
            folders[name] = folder
    if problems:
        raise SpecError(problems)
    return Catalog(dict(sorted(folders.items())))


def _role_folders(path: Path) -> dict[str, Path]:
    return {folder.name: folder for folder in path.iterdir() if (folder / "role.yaml").is_file()}


def read(folder: Path) -> Definition:
    """Read one role folder.

    Args:
        folder: holds `role.yaml`.

    Raises:
        SpecError: its name or its `role.yaml` is wrong.
    """
    path = folder / "role.yaml"
    try:
        document = parse(path.read_text(encoding="utf-8"), str(path))
    except (OSError, UnicodeDecodeError) as error:
        raise SpecError([Problem(str(path), 0, 0, "", f"cannot be read: {error}")]) from error
    content, problems = check(ROLE_RULES, document.value, document)
    problems += document.problems
    if not re.fullmatch(ROLE_NAME, folder.name):
        problems.append(document.problem((), "a role's folder is named with lower-case letters, digits and hyphens"))
    if not problems:
        problems += check_settings_rules(content["settings"], document, ("settings",))
    if problems:
        raise SpecError(sorted(problems))
    return Definition(folder.name, folder, content, document)
