"""Roles: one capability of SkyvyOS each, a folder with `role.yaml`, `files/` and `test_contract.py`."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from skyvypack.document import Document
from skyvypack.document import Path as Place
from skyvypack.errors import Problem, SpecError
from skyvypack.repositories import Repository, fingerprint
from skyvypack.role_folders import Definition, catalog
from skyvypack.rules import check, nearest, shown
from skyvypack.template import TemplateError, render

__all__ = [
    "Choice",
    "Context",
    "Definition",
    "Port",
    "Role",
    "RoleFile",
    "Selected",
    "Services",
    "catalog",
    "render_roles",
    "resolve",
    "select",
]

# What `when:` may render to for a file that is left out; Jinja2 writes Python's False and None.
_NO = ("", "false", "none")
_PORT_NUMBER = r"[1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5]"


@dataclass(frozen=True, slots=True)
class Port:
    """A TCP or UDP port that a role answers on from outside."""

    port: int
    protocol: str
    role: str
    reason: str


@dataclass(frozen=True, slots=True)
class RoleFile:
    """A configuration file, rendered.

    Args:
        path: absolute, in the guest.
        text: its content.
        mode: octal, such as ``0644``.
        owner: ``user:group``.
        early: written before packages are installed, not after.
    """

    path: str
    text: str
    mode: str = "0644"
    owner: str = "root:root"
    early: bool = False


@dataclass(frozen=True, slots=True)
class Services:
    """Units by name, each with the reason."""

    enable: Mapping[str, str] = field(default_factory=dict)
    disable: Mapping[str, str] = field(default_factory=dict)
    mask: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Role:
    """A role as a spec uses it: settings complete, templates rendered.

    Args:
        name: its folder's name.
        summary: one line.
        folder: where it was read from.
        requires: names of roles applied before it.
        packages: Debian packages with the reason for each.
        settings: complete, checked.
        ports: what it answers on from outside.
        services: what runs at boot.
        files: its configuration files.
        commands: shell lines run at bake.
        repositories: of vendors, beside Debian's, that its packages come from.
    """

    name: str
    summary: str
    folder: Path
    requires: tuple[str, ...] = ()
    packages: Mapping[str, str] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    ports: tuple[Port, ...] = ()
    services: Services = field(default_factory=Services)
    files: tuple[RoleFile, ...] = ()
    commands: tuple[str, ...] = ()
    repositories: tuple[Repository, ...] = ()


@dataclass(frozen=True, slots=True)
class Choice:
    """A role that a spec names.

    Args:
        name: the role's.
        settings: those the spec gives, unchecked.
        document: where it stands.
        path: where in the document.
    """

    name: str
    settings: Any = field(default_factory=dict)
    document: Document = field(default_factory=Document)
    path: Place = ()


@dataclass(frozen=True, slots=True)
class Context:
    """What the templates of roles know of the spec beside settings.

    Args:
        spec: name, version, title, debian, release_number and machine, as `Spec.facts`.
        origins: ``debian`` or ``upstream`` by role name, where it is not the role's default.
    """

    spec: Mapping[str, Any]
    origins: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Selected:
    """A role that will be applied, with complete settings; not rendered yet."""

    definition: Definition
    settings: Mapping[str, Any]
    choice: Choice = field(default_factory=lambda: Choice(""))


def resolve(choices: Sequence[Choice], roles: Mapping[str, Definition], context: Context) -> tuple[Role, ...]:
    """Choose, order and render roles.

    Args:
        choices: the roles a spec names, in its order.
        roles: what there is to choose from; see `catalog`.
        context: what templates may use.

    Returns:
        The chosen roles and all they require, requirements first, otherwise in the order of `choices`.

    Raises:
        SpecError: with every problem of the choices, or else with every problem of the roles' templates.
    """
    selected, problems = select(choices, roles)
    if problems:
        raise SpecError(problems)
    return render_roles(selected, context)


def select(choices: Sequence[Choice], roles: Mapping[str, Definition]) -> tuple[tuple[Selected, ...], list[Problem]]:
    """Choose and order roles, and check their settings; as `resolve`, but returns the problems."""
    selection = _Selection(choices, roles)
    for number, choice in enumerate(choices):
        if choice.name in [earlier.name for earlier in choices[:number]]:
            message = f"the role `{choice.name}` is chosen twice"
            selection.problems.append(choice.document.problem(choice.path, message, at_key=True))
        elif choice.name not in roles:
            hint = nearest(choice.name, roles) or f"there are: {', '.join(roles)}"
            message = f"there is no role {shown(choice.name)}"
            selection.problems.append(choice.document.problem(choice.path, message, hint, at_key=True))
        else:
            selection.add(choice.name, ())
    return tuple(item for item in selection.done.values() if item), selection.problems


class _Selection:
    """Roles in the order to apply: a depth-first walk along their requirements."""

    def __init__(self, choices: Sequence[Choice], roles: Mapping[str, Definition]) -> None:
        self._choices = {choice.name: choice for choice in reversed(choices)}
        self._roles = roles
        # None for a role that cannot be read: its problems are told once.
        self.done: dict[str, Selected | None] = {}
        self.problems: list[Problem] = []

    def add(self, name: str, above: tuple[str, ...]) -> None:
        if name in self.done:
            return
        try:
            definition = self._roles[name]
        except SpecError as error:
            self.problems += error.problems
            self.done[name] = None
            return
        for number, required in enumerate(definition.requires):
            self._require(definition, number, required, (*above, name))
        # Another branch of a circle may have come first.
        if name not in self.done:
            choice = self._choices.get(definition.name, Choice(definition.name))
            self.done[name] = Selected(definition, self._settings(definition, choice), choice)

    def _require(self, definition: Definition, number: int, required: str, above: tuple[str, ...]) -> None:
        place = ("requires", number)
        if required in above:
            circle = " → ".join((*above[above.index(required) :], required))
            self.problems.append(definition.document.problem(place, f"roles require each other in a circle: {circle}"))
        elif required not in self._roles:
            hint = nearest(required, self._roles)
            self.problems.append(definition.document.problem(place, f"there is no role {shown(required)}", hint))
        else:
            self.add(required, above)

    def _settings(self, definition: Definition, choice: Choice) -> Mapping[str, Any]:
        settings, problems = check(definition.settings, choice.settings, choice.document, choice.path)
        self.problems += problems
        return settings if isinstance(settings, Mapping) else {}


def render_roles(selected: Sequence[Selected], context: Context) -> tuple[Role, ...]:
    """Render the templates of roles that are selected and in order.

    Raises:
        SpecError: with every problem of the templates and of what they gave.
    """
    names = {"spec": context.spec, "roles": {item.definition.name: item.settings for item in selected}}
    problems: list[Problem] = []
    makers = [_Maker(item, context, names, problems) for item in selected]
    ports = {maker.name: maker.ports() for maker in makers}
    every = tuple(port for found in ports.values() for port in found)
    roles = tuple(maker.role(ports[maker.name], every) for maker in makers)
    written: dict[str, Role] = {}
    for role in roles:
        for file in role.files:
            if file.path in written:
                message = f"the role `{written[file.path].name}` writes {file.path} too"
                problems.append(Problem(f"{role.folder}/files{file.path}", 0, 0, "", message))
            written[file.path] = role
    if problems:
        raise SpecError(problems)
    return roles


class _Maker:
    """Makes a `Role` of what is selected; adds what is wrong to `problems`."""

    def __init__(self, item: Selected, context: Context, names: Mapping[str, Any], problems: list[Problem]) -> None:
        self._definition = item.definition
        self._content = item.definition.content
        self._debian = context.spec["debian"]
        self._settings = item.settings
        self._choice = item.choice
        self._problems = problems
        self.name = item.definition.name
        default = item.definition.origins[0] if item.definition.origins else "debian"
        self._origin = context.origins.get(self.name, default)
        self._names = {**names, "settings": item.settings, "origin": self._origin}

    def _leaf(self, place: Place, value: Any) -> str:
        try:
            return render(str(value), self._names)
        except TemplateError as error:
            self._wrong(place, error.message)
            return ""

    def _fitting(self, place: Place, value: Any, pattern: str, words: str) -> str:
        before = len(self._problems)
        text = self._leaf(place, value)
        if not re.fullmatch(pattern, text) and len(self._problems) == before:
            self._wrong(place, f"{shown(text)} is not {words}")
        return text

    def _wrong(self, place: Place, message: str) -> None:
        self._problems.append(self._definition.document.problem(place, message))

    def ports(self) -> tuple[Port, ...]:
        ports = []
        for number, entry in enumerate(self._content["ports"]):
            place = ("ports", number)
            port = self._fitting((*place, "port"), entry["port"], _PORT_NUMBER, "the number of a port")
            protocol = self._fitting((*place, "protocol"), entry["protocol"], "tcp|udp", "tcp or udp")
            reason = self._leaf((*place, "reason"), entry["reason"])
            ports.append(Port(int(port) if port.isdecimal() else 0, protocol, self.name, reason))
        return tuple(ports)

    def role(self, ports: tuple[Port, ...], every_port: tuple[Port, ...]) -> Role:
        self._names["ports"] = every_port
        self._refuse()
        files = self._files()
        repositories = self._repositories(files)
        commands = [self._leaf(("commands", at), line) for at, line in enumerate(self._content["commands"])]
        return Role(
            name=self.name,
            summary=self._definition.summary,
            folder=self._definition.folder,
            requires=self._definition.requires,
            packages=self._reasons(("packages",), self._content["packages"]),
            settings=self._settings,
            ports=ports,
            services=self._services(),
            files=(*files, *(RoleFile(*file) for one in repositories for file in one.files())),
            commands=tuple(command for command in commands if command.strip()),
            repositories=repositories,
        )

    def _services(self) -> Services:
        groups = self._content["services"].items()
        return Services(**{how: self._reasons(("services", how), units) for how, units in groups})

    def _refuse(self) -> None:
        """Add what this role cannot be, at the place where the spec chose it."""
        for number, entry in enumerate(self._content["refuse"]):
            if self._is_wanted(("refuse", number), entry):
                told = [self._leaf(("refuse", number, key), entry.get(key, "")) for key in ("reason", "hint")]
                self._problems.append(self._choice.document.problem(self._choice.path, *told))

    def _here(self, entry: Mapping[str, Any]) -> bool:
        """Whether this Debian release and this origin have it."""
        return self._debian in entry.get("debian", [self._debian]) and self._origin == entry.get("origin", self._origin)

    def _is_wanted(self, place: Place, entry: Mapping[str, Any]) -> bool:
        return self._leaf((*place, "when"), entry.get("when", "true")).strip().lower() not in _NO

    def _reasons(self, place: Place, entries: Mapping[str, Any]) -> dict[str, str]:
        """What there is here, with the reason for each."""
        here = {name: entry for name, entry in entries.items() if self._here(entry)}
        return {name: entry["reason"] for name, entry in here.items() if self._is_wanted((*place, name), entry)}

    def _repositories(self, files: Sequence[RoleFile]) -> tuple[Repository, ...]:
        keys = {file.path: file.text for file in files}
        wanted = {name: entry for name, entry in self._content["repositories"].items() if self._here(entry)}
        return tuple(self._repository(name, entry, keys.get(entry["key"])) for name, entry in wanted.items())

    def _repository(self, name: str, entry: Mapping[str, Any], key: str | None) -> Repository:
        place = ("repositories", name)
        words = r"[A-Za-z0-9._/-]+( [A-Za-z0-9._/-]+)*"
        uri = self._fitting((*place, "uri"), entry["uri"], r"(https?|file)://?[^\s@]+", "the URL of a repository")
        suites, components = (
            self._fitting((*place, part), entry[part], words, "a list of names") for part in ("suites", "components")
        )
        try:
            if key is None:
                raise ValueError("is not one of the role's files")
            if (found := fingerprint(key)) != entry["fingerprint"]:
                raise ValueError(f"has the fingerprint {found}, not {entry['fingerprint']}")
        except ValueError as error:
            self._wrong((*place, "key"), f"{entry['key']} {error}")
        return Repository(name, uri, suites, components, entry["key"], key or "", tuple(entry["packages"]))

    def _files(self) -> tuple[RoleFile, ...]:
        templates = self._definition.templates()
        options = self._content["files"]
        for path in options:
            if path not in templates:
                hint = nearest(path, templates)
                message = "there is no such file in the role's files/"
                self._problems.append(self._definition.document.problem(("files", path), message, hint, at_key=True))
        files = (self._file(path, template, options.get(path, {})) for path, template in templates.items())
        return tuple(file for file in files if file)

    def _file(self, path: str, template: Path, options: Mapping[str, Any]) -> RoleFile | None:
        place = ("files", path)
        repositories = [entry for entry in self._content["repositories"].values() if entry["key"] == path]
        if repositories and not any(map(self._here, repositories)):
            return None
        if not self._is_wanted(place, options):
            return None
        mode = self._fitting((*place, "mode"), options.get("mode", "0644"), "[0-7]{3,4}", "an octal mode")
        account = r"[a-z_][a-z0-9_-]*"
        owner = options.get("owner", "root:root")
        owner = self._fitting((*place, "owner"), owner, f"{account}:{account}", "user:group")
        return RoleFile(path, self._text(template), mode, owner, options.get("early", False))

    def _text(self, template: Path) -> str:
        line = 0
        try:
            if template.is_symlink():
                raise ValueError("is a symbolic link; a role holds plain files")
            text = template.read_text(encoding="utf-8")
            if "\0" in text:
                raise ValueError("is a binary file; a role holds text")
            return render(text, self._names)
        except TemplateError as error:
            line, message = error.line, error.message
        except UnicodeDecodeError:
            message = "is a binary file; a role holds text in UTF-8"
        except (OSError, ValueError) as error:
            message = str(error)
        self._problems.append(Problem(str(template), line, 0, "", message))
        return ""
