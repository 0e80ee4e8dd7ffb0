"""Reads a spec: YAML text to `Spec`, or every problem at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

from skyvypack import targets
from skyvypack.document import Document, dotted, parse
from skyvypack.errors import InputError, Problem, SpecError
from skyvypack.profiles import DEFAULT, profiles
from skyvypack.role_folders import Catalog, catalog
from skyvypack.roles import Choice, Context, RoleFile, Selected, render_roles, select
from skyvypack.rules import check, nearest, shown
from skyvypack.spec.checks import cross_check
from skyvypack.spec.fields import RULES
from skyvypack.spec.model import Base, Installer, Machine, Mirror, Network, Spec, User

DEFAULT_FILE = "skyvypack.yaml"

_INIT_HINT = "python -m skyvypack init writes one to start from"
_HINT = "python -m skyvypack init writes a commented spec; python -m skyvypack roles lists roles and their settings"


def load(path: Path | str = DEFAULT_FILE) -> Spec:
    """Read a spec from its file.

    Args:
        path: the file.

    Returns:
        The spec, checked, with every default filled in.

    Raises:
        InputError: there is no such file, or it cannot be read as text.
        SpecError: it has problems; all of them, in the order of the file.
    """
    path = Path(path)
    try:
        if path.is_char_device():
            raise InputError(f"{path} is a device, not a spec", _INIT_HINT)
        text = path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        raise InputError(f"there is no spec {path}", _INIT_HINT) from None
    except IsADirectoryError:
        raise InputError(
            f"{path} is a folder, not a spec", f"name the file in it, such as {path / DEFAULT_FILE}"
        ) from None
    except UnicodeDecodeError:
        raise InputError(f"{path} is not text in UTF-8", _INIT_HINT) from None
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read the spec {path}: {getattr(error, 'strerror', None) or error}") from None
    return loads(text, path.parent, str(path))


def loads(text: str, folder: Path = Path(), file: str = "") -> Spec:
    """Read a spec from text.

    Args:
        text: YAML.
        folder: what `roles_path` is relative to.
        file: where the text came from, for messages.

    Returns:
        The spec, checked, with every default filled in.

    Raises:
        SpecError: it has problems; all of them, in the order of the file.
    """
    return _Reader(parse(text, file), folder).spec()


def init_text(name: str = "skyvyos-server") -> str:
    """A commented spec to start from.

    Args:
        name: of the template.
    """
    return (Path(__file__).parent / "init.yaml").read_text(encoding="utf-8").replace("@NAME@", name)


class _Reader:
    """The steps of reading; each adds what it finds to `problems`, and goes on with what is sound."""

    def __init__(self, document: Document, folder: Path) -> None:
        self.document = document
        self.folder = folder
        self.problems: list[Problem] = list(document.problems)

    def spec(self) -> Spec:
        content = self._content()
        roles = self._catalog(content)
        choices = self._choices(content, roles)
        selected, problems = select(choices, roles)
        self.problems += problems
        self._origins(content, roles, selected)
        settings = self._targets(content)
        files = self._files(content)
        self.problems += cross_check({name: content[name] for name in content if self._sound(name)}, self.document)
        if self.problems:
            self._fail(self.problems)
        spec = _spec(content, settings, self.document.file)
        spec = replace(spec, files=files, origins=_all_origins(selected, spec.origins))
        try:
            spec = replace(spec, roles=render_roles(selected, Context(spec.facts, spec.origins)))
        except SpecError as error:
            self._fail(error.problems)
        self._check_whole(spec)
        return spec

    def _files(self, content: Mapping[str, Any]) -> tuple[RoleFile, ...]:
        """The spec's own files; the text of one is in the spec or in a file beside it."""
        found: list[RoleFile] = []
        for number, entry in enumerate(content["files"] if self._sound("files") else ()):
            place = ("files", number)
            text = entry.get("content")
            if (text is None) == ("source" not in entry):
                self.problems.append(self.document.problem(place, "give either `content` or `source`"))
            elif text is None:
                text = self._source((*place, "source"), self.folder / entry["source"])
            if entry["path"] in [file.path for file in found]:
                self.problems.append(self.document.problem((*place, "path"), f"{entry['path']} stands here twice"))
            found.append(RoleFile(entry["path"], text or "", entry["mode"], entry["owner"]))
        return tuple(found)

    def _source(self, place: tuple[str | int, ...], path: Path) -> str:
        try:
            return path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "it is not text in UTF-8"
            self.problems.append(self.document.problem(place, f"cannot read {path}: {reason}"))
            return ""

    def _check_whole(self, spec: Spec) -> None:
        """What only shows with roles rendered: whose a file is, and that an installer can get at every package.

        A file of a role is changed by the role's settings, or by a role that replaces it.
        """
        owners = {file.path: role.name for role in spec.roles for file in role.files}
        for number, file in enumerate(spec.files):
            if file.path in owners:
                message = f"the role `{owners[file.path]}` writes {file.path}"
                self.problems.append(self.document.problem(("files", number, "path"), message))
        vendors = [role.name for role in spec.roles if role.repositories]
        if vendors and spec.base.kind == "iso":
            message = f"Debian's installer knows no vendor's repository, which {', '.join(vendors)} would need"
            self.problems.append(self.document.problem(("origins",), message, "write origin debian"))
        if self.problems:
            self._fail(self.problems)

    def _fail(self, problems: Sequence[Problem]) -> NoReturn:
        """The spec's own problems first, then those of roles, each in the order of its file."""
        own = self.document.file
        ordered = sorted(set(problems), key=lambda problem: (problem.file != own, problem))
        raise SpecError(ordered, _HINT) from None

    def _sound(self, *path: str | int) -> bool:
        """Whether nothing is wrong with the shape of a value so far."""
        whole = dotted(path)
        below = (f"{whole}.", f"{whole}[")
        return not any(problem.path == whole or problem.path.startswith(below) for problem in self.problems)

    def _content(self) -> dict[str, Any]:
        value = self.document.value
        if value is None:
            raise SpecError([self.document.problem((), "the spec is empty")], _HINT)
        if not isinstance(value, dict):
            raise SpecError([self.document.problem((), f"a spec is a mapping of fields, not {shown(value)}")], _HINT)
        content, problems = check(RULES, value, self.document)
        self.problems += problems
        return dict(content)

    def _catalog(self, content: Mapping[str, Any]) -> Catalog:
        folders = []
        for number, name in enumerate(content["roles_path"] if self._sound("roles_path") else ()):
            folder = self.folder / name
            if folder.is_dir():
                folders.append(folder)
            else:
                self.problems.append(self.document.problem(("roles_path", number), f"there is no folder {folder}"))
        try:
            return catalog(folders)
        except SpecError as error:
            self.problems += error.problems
            return catalog()

    def _choices(self, content: Mapping[str, Any], roles: Catalog) -> list[Choice]:
        """The profile's roles, with the settings that the spec gives some of them, and then its further roles."""
        named = content.get("roles")
        choices = []
        for number, item in enumerate(named if isinstance(named, list) else ()):
            if self._sound("roles", number):
                ((name, settings),) = item.items()
                choices.append(Choice(name, settings, self.document, ("roles", number, name)))
        given = {choice.name: choice for choice in choices}
        profile = [name for name in self._profile(content) if name in roles]
        first = [given.get(name, Choice(name, {}, self.document, ("profile",))) for name in profile]
        return first + [choice for choice in choices if choice not in first]

    def _profile(self, content: Mapping[str, Any]) -> tuple[str, ...]:
        """The roles of the profile: the spec's, or the default one of a spec that names neither profile nor roles."""
        name = content.get("profile", "" if "roles" in content else DEFAULT)
        if not name or not self._sound("profile"):
            return ()
        known = profiles()
        if name not in known:
            hint = nearest(name, known) or f"there are: {', '.join(known)}"
            self.problems.append(self.document.problem(("profile",), f"there is no profile {shown(name)}", hint))
            return ()
        return known[name].roles

    def _origins(self, content: Mapping[str, Any], roles: Catalog, selected: Sequence[Selected]) -> None:
        chosen = {item.definition.name: item.definition for item in selected}
        for name, origin in content["origins"].items() if self._sound("origins") else ():
            place = ("origins", name)
            if name not in roles:
                message = f"there is no role {shown(name)}"
                self.problems.append(self.document.problem(place, message, nearest(name, roles), at_key=True))
            elif name not in chosen:
                if self._sound("roles"):
                    message = f"the role `{name}` is not in this template"
                    self.problems.append(self.document.problem(place, message, at_key=True))
            elif origin not in chosen[name].origins:
                message = f"the role `{name}` does not offer the origin {origin}"
                self.problems.append(self.document.problem(place, message))

    def _targets(self, content: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
        complete: dict[str, Mapping[str, Any]] = {}
        named = content.get("targets")
        for name, settings in named.items() if isinstance(named, dict) else ():
            place = ("targets", name)
            if name not in targets.names():
                hint = nearest(name, targets.names()) or f"there are: {', '.join(targets.names())}"
                message = f"there is no target {shown(name)}"
                self.problems.append(self.document.problem(place, message, hint, at_key=True))
            elif self._sound(*place):
                complete[name], problems = check(targets.settings_rules(name), settings, self.document, place)
                self.problems += problems
        return complete


def _all_origins(selected: Sequence[Selected], given: Mapping[str, str]) -> dict[str, str]:
    offering = (item.definition for item in selected if item.definition.origins)
    return {role.name: given.get(role.name, role.origins[0]) for role in offering}


def _spec(content: Mapping[str, Any], settings: Mapping[str, Mapping[str, Any]], file: str) -> Spec:
    return Spec(
        name=content["name"],
        version=content["version"],
        debian=content["debian"],
        roles=(),
        origins=content["origins"],
        mirror=Mirror(**content["mirror"], snapshot=content.get("snapshot", "")),
        base=Base(**content["base"]),
        machine=Machine(**content["machine"]),
        installer=_installer(content["installer"]),
        users=tuple(_user(entry) for entry in content["users"]),
        packages=tuple(content["packages"]),
        commands=tuple(content["commands"]),
        targets=settings,
        file=Path(file) if file else None,
    )


def _installer(entry: Mapping[str, Any]) -> Installer:
    network = entry.get("network", {})
    network = {**network, "nameservers": tuple(network.get("nameservers", ()))}
    return Installer(**{**entry, "disks": tuple(entry.get("disks", ())), "network": Network(**network)})


def _user(entry: Mapping[str, Any]) -> User:
    lists = {name: tuple(entry.get(name, ())) for name in ("ssh_authorized_keys", "groups")}
    return User(**{**entry, **lists})
