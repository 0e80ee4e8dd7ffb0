"""Targets: the places templates live.

Each is a folder here and a folder of its name in `builders/`, which holds `settings.yaml`. Its package says

``DATASOURCES``
    where cloud-init of a clone looks for its data, in the order to try. A short list saves the probing of every other
    cloud, and `None` lets a clone without any data boot with fresh host keys.
``USER_DATA_LIMIT``
    how many bytes of user-data the provider takes, if that is less than a first boot may need. Elsewhere it comes on
    a disc, where nothing but its size ends it, or in the guest's settings file.

``AGENT``
    the Debian package by which the platform looks into its guests, if it has one; a setting `agent` can refuse it.

``APPLIANCE``
    the fields of `ovf.Hardware` by which an OVA for this platform differs from VMware's.

and its module `source`, which is pure:

``BUILDERS``
    the names of all Packer builders the target may use; facts about each are in `builders/<builder>/`.
``builder(spec)``
    the one it uses for a spec.
``document(spec, dialect)``
    the Packer document.
``scripts(spec)``
    paths in the bundle of the scripts that run in the guest.
``baked_here(spec)``
    (may be left out) the spec of the disk that is baked on this machine, where the spec's own builder only writes it.
``remastered(spec)``
    whether base iso starts from an installer that `installer.sh` made; a target without it has no base iso. Where it
    does not, the platform holds the installer, which is told what to do.

and its module `reverse`, for `import`, which is pure too:

``BUILDERS``
    the builders whose arguments it knows; no other target has them.
``ARGUMENTS``
    by an argument's name, below that of its block (``disks.disk_size``): an `importer.carry.Carry`.
``finish(draft)``
    what only the whole template says, such as the kind of base.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from skyvypack import assets
from skyvypack.document import parse
from skyvypack.errors import InputError, Problem, SpecError
from skyvypack.rules import Rule, check_settings_rules, nearest

if TYPE_CHECKING:
    from skyvypack.spec.model import Spec


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
    _require(target)
    return import_module(f"{__name__}.{target}.source")


def reverse(target: str) -> ModuleType:
    """The module that says what becomes of a template's arguments in a spec.

    Args:
        target: its name.

    Raises:
        InputError: no such target.
    """
    _require(target)
    return import_module(f"{__name__}.{target}.reverse")


def baked_here(spec: Spec, target: str) -> Spec:
    """The spec of the disk that is baked on this machine; another one only where the target's builder just writes it.

    Raises:
        InputError: no such target.
    """
    found: Callable[[Spec], Spec] = getattr(source(target), "baked_here", lambda spec: spec)
    return found(spec)


def datasources(target: str) -> tuple[str, ...]:
    """The datasources that clones on a target may find, in the order to try.

    Args:
        target: its name.

    Raises:
        InputError: no such target.
    """
    found: tuple[str, ...] = _package(target).DATASOURCES
    return found


def user_data_limit(target: str) -> int | None:
    """Bytes of user-data that a target takes; None when there is no limit worth a check.

    Args:
        target: its name.

    Raises:
        InputError: no such target.
    """
    limit: int | None = getattr(_package(target), "USER_DATA_LIMIT", None)
    return limit


def equipped(spec: Spec, target: str) -> Spec:
    """The spec with the target's agent among its packages, unless the target has none or it is not wanted.

    Args:
        spec: for any target; one that is equipped already stays as it is.
        target: its name.

    Raises:
        InputError: no such target.
    """
    package: str = getattr(_package(target), "AGENT", "")
    if not package or package in spec.packages or not spec.target_settings(target).get("agent", True):
        return spec
    return replace(spec, packages=(*spec.packages, package))


def appliance(target: str) -> Mapping[str, Any]:
    """The fields of `ovf.Hardware` that an OVA for a target sets.

    Args:
        target: its name.

    Raises:
        InputError: no such target.
    """
    return dict(getattr(_package(target), "APPLIANCE", {}))


def _package(target: str) -> ModuleType:
    _require(target)
    return import_module(f"{__name__}.{target}")


def _require(target: str) -> None:
    if target not in names():
        known = f"there are: {', '.join(names())}"
        raise InputError(f"there is no target `{target}`", nearest(target, names()) or known)


@cache
def settings_rules(target: str) -> Mapping[str, Rule]:
    """The rules of a target's settings, each with `default` and `doc`.

    Args:
        target: its name.

    Raises:
        InputError: no such target.
        SpecError: the target's `settings.yaml` is wrong.
    """
    _require(target)
    path = assets.builders() / target / "settings.yaml"
    try:
        document = parse(path.read_text(encoding="utf-8"), str(path))
    except (OSError, UnicodeDecodeError) as error:
        raise SpecError([Problem(str(path), 0, 0, "", f"cannot be read: {error}")]) from error
    problems = document.problems + check_settings_rules(document.value, document)
    if problems:
        raise SpecError(sorted(problems))
    rules: Mapping[str, Rule] = document.value
    return rules


def first_boot_settings(target: str, user_data: str, hostname: str) -> Mapping[str, str] | None:
    """The settings of a machine that carry its user-data, where a target's clones get it so; else None.

    Args:
        target: its name.
        user_data: for the clone's first boot.
        hostname: of the clone, which is its instance id as well.

    Raises:
        InputError: no such target, or the user-data is larger than a setting can be.
    """
    source(target)
    if not (Path(__file__).parent / target / "first_boot.py").is_file():
        return None
    made: Mapping[str, str] = import_module(f"{__name__}.{target}.first_boot").settings(
        user_data, instance=hostname, hostname=hostname
    )
    return made
