"""Results as people read them: aligned columns, and one JSON document for programs."""

from __future__ import annotations

import dataclasses
import json
import shutil
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

_NARROWEST = 20


def document(value: Any) -> None:
    """Print the one JSON document of a verb that was given ``--json``."""
    click.echo(json.dumps(value, ensure_ascii=False, indent=2, default=plain))


def plain(value: Any) -> Any:
    """What JSON can hold, for the library's own types."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return dict(value)
    return str(value) if isinstance(value, Path) else list(value)


def table(rows: Sequence[Sequence[str]], headers: Sequence[str]) -> None:
    """Print columns as wide as their longest cell; the last one takes what is left of the line and wraps."""
    widths = [max(len(row[i]) for row in [headers, *rows]) for i in range(len(headers) - 1)]
    indent = sum(widths) + 2 * len(widths)
    width = max(shutil.get_terminal_size((120, 24)).columns - indent, _NARROWEST)
    for number, row in enumerate([headers, *rows]):
        # Paths and digests are copied from here: they stay whole.
        first, *more = textwrap.wrap(row[-1], width, break_long_words=False, break_on_hyphens=False) or [""]
        line = "  ".join([*(cell.ljust(size) for cell, size in zip(row, widths, strict=False)), first]).rstrip()
        click.echo(click.style(line, bold=True) if number == 0 else line)
        for rest in more:
            click.echo(" " * indent + rest)


def size(count: int) -> str:
    """Bytes in the unit that suits, as in ``631 MB``."""
    amount = float(count)
    for unit in ("B", "kB", "MB"):
        if amount < 1000:
            return f"{amount:.0f} {unit}"
        amount /= 1000
    return f"{amount:.2f} GB"


def clock(seconds: float) -> str:
    """Minutes and seconds, as in ``2:07``."""
    return f"{int(seconds) // 60}:{int(seconds) % 60:02}"
