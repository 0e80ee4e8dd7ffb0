"""The verbs about what is kept between bakes."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from skyvypack.cli import show
from skyvypack.cli.options import Verbs, cache_option, example, json_option

if TYPE_CHECKING:
    from skyvypack.cache import Entry

_MIB = 1 << 20


@click.group(cls=Verbs, epilog=example("skyvypack cache list\nskyvypack cache prune --limit 5G"))
def cache() -> None:
    """Show and trim what is kept between bakes."""


@cache.command("list", epilog=example("skyvypack cache list"))
@cache_option
@json_option
def list_entries(cache: Path | None, as_json: bool) -> None:
    """List layers, packages and images, least recently used first."""
    from skyvypack.cache import entries
    from skyvypack.runs import cache_folder

    folder = cache or cache_folder()
    found = entries(folder)
    if as_json:
        show.document({"folder": folder, "size": sum(entry.size for entry in found), "entries": _facts(found)})
        return
    _print_entries(found)
    click.echo(f"{show.size(sum(entry.size for entry in found))} in {folder}")


@cache.command(epilog=example("skyvypack cache prune --limit 5G\nskyvypack cache prune --all"))
@click.option("--limit", metavar="SIZE", default="20G", show_default=True, help="What may stay, such as 500M or 5G.")
@click.option("--all", "everything", is_flag=True, help="Nothing may stay but what is in use.")
@cache_option
@json_option
def prune(limit: str, everything: bool, cache: Path | None, as_json: bool) -> None:
    """Remove what was used least recently; what a bake is using stays."""
    from skyvypack.cache import prune as prune_cache
    from skyvypack.runs import cache_folder

    removed = prune_cache(cache or cache_folder(), 0 if everything else _bytes(limit))
    freed = sum(entry.size for entry in removed)
    if as_json:
        show.document({"freed": freed, "removed": _facts(removed)})
    else:
        click.echo(f"{show.size(freed)} freed, {len(removed)} removed")


def _bytes(text: str) -> int:
    from skyvypack.spec.fields import size

    try:
        return int(size("MiB")(text)) * _MIB
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--limit") from error


def _facts(entries: list[Entry]) -> list[dict[str, Any]]:
    return [
        {"kind": entry.kind, "path": entry.path, "size": entry.size, "used": _time(entry.used)} for entry in entries
    ]


def _print_entries(entries: list[Entry]) -> None:
    rows = [(entry.kind, show.size(entry.size), _time(entry.used), str(entry.path)) for entry in entries]
    if rows:
        show.table(rows, ("kind", "size", "last used", "path"))


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds).astimezone().isoformat(timespec="seconds")
