"""Targets: the places templates live. Each is a folder here with `source.py`, and a builder in `builders/`."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib import import_module
from pathlib import Path
from types import ModuleType

from skyvypack import assets
from skyvypack.document import parse
from skyvypack.errors import InputError, Problem, SpecError
from skyvypack.rules import Rule, check_settings_rules, nearest


@cache
def names() -> tuple[str, ...]:
    """The names of all targets, sorted."""
    return tuple(sorted(source.parent.name for source in Path(__file__).parent.glob("*/source.py")))


def source(target: str) -> ModuleType:
    """The module that turns a spec into Packer blocks for a target.

    Args:
        target: its name.

    Raises:
        InputError: no such target.
    """
    if target not in names():
        known = f"there are: {', '.join(names())}"
        raise InputError(f"there is no target `{target}`", nearest(target, names()) or known)
    return import_module(f"{__name__}.{target}.source")


@cache
def settings_rules(target: str) -> Mapping[str, Rule]:
    """The rules of a target's settings, each with `default` and `doc`.

    Args:
        target: its name.

    Raises:
        InputError: no such target.
        SpecError: the builder's `settings.yaml` is wrong.
    """
    path = assets.builders() / source(target).BUILDER / "settings.yaml"
    try:
        document = parse(path.read_text(encoding="utf-8"), str(path))
    except (OSError, UnicodeDecodeError) as error:
        raise SpecError([Problem(str(path), 0, 0, "", f"cannot be read: {error}")]) from error
    problems = document.problems + check_settings_rules(document.value, document)
    if problems:
        raise SpecError(sorted(problems))
    rules: Mapping[str, Rule] = document.value
    return rules
