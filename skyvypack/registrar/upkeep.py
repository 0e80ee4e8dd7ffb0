"""What is done with templates that stand: looking at them, retiring old ones, removing what killed runs left."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from skyvypack.errors import InputError
from skyvypack.progress import Progress, Reporter, silent
from skyvypack.registrar.contract import Registrar, RegistrarError, Template
from skyvypack.registrar.find import find
from skyvypack.registrar.journal import Entry, Journal, dead, paths
from skyvypack.spec.model import Spec


@dataclass(frozen=True, slots=True)
class Refusal:
    """A template that was not retired.

    Args:
        template: it stands.
        reasons: why, such as ``linked clone 105 (web1)``.
    """

    template: Template
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Retirement:
    """What came of retiring older templates.

    Args:
        retired: they are gone.
        refused: they stand, and why.
    """

    retired: tuple[Template, ...] = ()
    refused: tuple[Refusal, ...] = ()


@dataclass(frozen=True, slots=True)
class Reaped:
    """One thing that a killed run left.

    Args:
        entry: of its journal.
        about: what the run was for, such as ``web-1.0.0``.
        began: when, ISO 8601 in UTC.
        error: why it could not be removed; empty when it is gone.
    """

    entry: Entry
    about: str
    began: str
    error: str = ""


def describe(spec: Spec, target: str, *, report: Reporter = silent) -> tuple[Template, ...]:
    """The registered templates of a spec's name, the newest first.

    Args:
        spec: gives the name and the target's settings.
        target: where to look.
        report: called with each `Event`, such as a call that is repeated.

    Raises:
        InputError: the target has no registrar.
        RegistrarError: the platform could not be read.
    """
    with find(target).connect(spec.target_settings(target), Progress(report)) as registrar:
        return tuple(registrar.describe(spec.name))


def candidates(templates: Sequence[Template], new: Template | None, keep: int, channel: str = "") -> list[Template]:
    """The templates that are too many: all but the newest ones, and none that is new or in a channel.

    Args:
        templates: of one name, the newest first.
        new: counts among those to keep although it may not stand yet; None when there is none.
        keep: how many.
        channel: is going to move to `new`, so it protects no other.
    """
    others = [one for one in templates if new is None or one.id != new.id]
    rest = others[max(keep - (new is not None), 0) :]
    return [one for one in rest if not set(one.channels) - {channel}]


def retire_all(
    registrar: Registrar,
    journal: Journal,
    settings: Mapping[str, Any],
    templates: Sequence[Template],
    progress: Progress,
    *,
    dry_run: bool = False,
) -> Retirement:
    """Retire templates that nothing uses; one that is in use, or whose removal fails, is refused with the reason.

    With `dry_run` none goes: what is told as retired would be.
    """
    retired, refused = [], []
    for template in templates:
        try:
            with progress.stage("retire", f"{'Look at' if dry_run else 'Retire'} {template.title} ({template.id})"):
                if reasons := tuple(registrar.in_use(template)):
                    refused.append(Refusal(template, reasons))
                    continue
                if not dry_run:
                    with journal.run(settings, f"retire {template.title}", registrar.undo, progress) as run:
                        registrar.retire(template, run)
                retired.append(template)
        except RegistrarError as error:
            refused.append(Refusal(template, (str(error),)))
    return Retirement(tuple(retired), tuple(refused))


def retire(spec: Spec, target: str, *, keep: int, dry_run: bool = False, report: Reporter = silent) -> Retirement:
    """Retire the older templates of a spec's name.

    Args:
        spec: gives the name and the target's settings.
        target: where.
        keep: how many of the newest stay; those in a channel stay besides.
        dry_run: only tell which would go, and which not and why.
        report: called with each `Event`.

    Raises:
        InputError: the target has no registrar, or `keep` is below one.
        RegistrarError: the platform could not be read.
    """
    if keep < 1:
        raise InputError(f"cannot keep {keep} templates", "give --keep 1 or more")
    settings = spec.target_settings(target)
    progress = Progress(report)
    with find(target).connect(settings, progress) as registrar:
        old = candidates(registrar.describe(spec.name), None, keep)
        return retire_all(registrar, Journal(target), settings, old, progress, dry_run=dry_run)


def reap(target: str, *, dry_run: bool = False, report: Reporter = silent) -> tuple[Reaped, ...]:
    """Remove what killed runs left on a platform: exactly the open entries of their journals.

    Each run's journal says how to reach the platform, so no spec is needed; credentials come from the environment.

    Args:
        target: where.
        dry_run: only tell.
        report: called with each `Event`.

    Returns:
        Everything that was left, in the order it is removed.

    Raises:
        InputError: the target has no registrar.
    """
    connect = find(target).connect
    progress = Progress(report)
    found: list[Reaped] = []
    for path in paths(Journal(target).folder):
        with dead(path, _never, progress) as left:
            if left is None:
                continue
            run, head = left
            with connect(head["settings"], progress) as registrar:
                for entry in reversed(run.open_entries()):
                    error = "" if dry_run else _remove(registrar, entry)
                    if not dry_run and not error:
                        run.void(entry)
                    found.append(Reaped(entry, head["about"], head["began"], error))
    return tuple(found)


def _never(entry: Entry) -> None:
    raise AssertionError(f"a dead run undoes nothing by itself: {entry}")


def _remove(registrar: Registrar, entry: Entry) -> str:
    try:
        registrar.undo(entry)
    except RegistrarError as error:
        return str(error)
    return ""
