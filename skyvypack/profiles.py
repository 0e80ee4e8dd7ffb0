"""Profiles: named sets of roles, so that a spec need not list them; data in `cloud-init/profiles.yaml`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from skyvypack import assets
from skyvypack.document import parse
from skyvypack.errors import SpecError
from skyvypack.role_folders import ROLE_NAME, catalog
from skyvypack.rules import Rule, check

DEFAULT = "server"
_ALL = "all"
_PROFILE: Rule = {
    "type": "dict",
    "schema": {
        "summary": {"type": "string", "required": True, "doc": "what the profile is for, in one line"},
        "roles": {
            "type": ["list", "string"],
            "required": True,
            "minlength": 1,
            "schema": {"type": "string", "regex": ROLE_NAME},
            "doc": "names of roles, or `all`",
        },
    },
}


@dataclass(frozen=True, slots=True)
class Profile:
    """A named set of roles.

    Args:
        name: as a spec says it.
        summary: one line.
        roles: names of shipped roles, in the order to apply; what they require is added when they are resolved.
    """

    name: str
    summary: str
    roles: tuple[str, ...]


def profiles() -> Mapping[str, Profile]:
    """Every profile by its name.

    Raises:
        SpecError: the file of profiles is wrong.
    """
    return _read(assets.roles() / "profiles.yaml")


@cache
def _read(path: Path) -> Mapping[str, Profile]:
    document = parse(path.read_text(encoding="utf-8"), str(path))
    rules = dict.fromkeys(document.value, _PROFILE)
    content, problems = check(rules, document.value, document)
    known = catalog()
    for name, facts in content.items() if not problems else ():
        unknown = [role for role in facts["roles"] if role not in known] if facts["roles"] != _ALL else []
        problems += [document.problem((name, "roles"), f"there is no role `{role}`") for role in unknown]
    if problems:
        raise SpecError(problems)
    return {name: Profile(name, facts["summary"], _roles(facts["roles"])) for name, facts in content.items()}


def _roles(wish: str | list[str]) -> tuple[str, ...]:
    return tuple(catalog()) if isinstance(wish, str) else tuple(wish)
