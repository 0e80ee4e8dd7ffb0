"""Finds the registrar of a target by its folder; nothing here names one."""

from __future__ import annotations

import dataclasses
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

from skyvypack import targets
from skyvypack.errors import InputError, ToolMissing
from skyvypack.spec.model import Spec


def names() -> tuple[str, ...]:
    """The targets that have a registrar, sorted."""
    folders = Path(targets.__file__).parent
    return tuple(name for name in targets.names() if (folders / name / "registrar.py").is_file())


def find(target: str) -> ModuleType:
    """The registrar module of a target: ``DISK`` and ``connect``, see `skyvypack.registrar.contract`.

    Raises:
        InputError: no such target, or it has no registrar.
    """
    targets.source(target)
    if target not in names():
        raise InputError(
            f"target {target} has no registrar: its templates are files", f"targets that have: {', '.join(names())}"
        )
    return import_module(f"skyvypack.targets.{target}.registrar")


def routed(spec: Spec, target: str, way: str) -> Spec:
    """A spec whose disk goes to the platform by another way, where the registrar's ``VIA`` names a choice.

    Args:
        spec: says a way by itself, or leaves it to the default.
        target: where.
        way: as the target's setting calls it; empty for the spec's own.

    Raises:
        InputError: no such target or way.
    """
    if not way:
        return spec
    setting = getattr(find(target), "VIA", "")
    ways = targets.settings_rules(target)[setting]["allowed"] if setting else ()
    if way not in ways:
        hint = f"there are: {', '.join(ways)}" if ways else "it has only one: name none"
        raise InputError(f"target {target} has no way {way!r} for a disk", hint)
    settings = {**spec.target_settings(target), setting: way}
    return dataclasses.replace(spec, targets={**spec.targets, target: settings})


def require(target: str, *modules: str) -> None:
    """Insist on a target's SDK.

    Args:
        target: its name, which is also that of the extra.
        modules: that are needed.

    Raises:
        ToolMissing: one is not installed.
    """
    missing = [module for module in modules if find_spec(module) is None]
    if missing:
        raise ToolMissing(f"{', '.join(missing)} is not installed", f"run: python -m pip install 'skyvypack[{target}]'")
