"""Progress for eyes, logs and programs: three renderers of `progress.Event`, all on standard error."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from threading import Lock
from typing import TYPE_CHECKING

import click

from skyvypack.cli.show import clock
from skyvypack.progress import Event, Reporter

if TYPE_CHECKING:
    from rich.table import Table

_SIGN_OF_LIFE = 20.0
_SPINNER = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"


@contextmanager
def reporter(as_json: bool) -> Iterator[Reporter]:
    """The renderer that suits where standard error goes: JSON lines when asked for, live on a terminal, else lines."""
    if as_json:
        yield JsonLines()
    elif sys.stderr.isatty() and os.environ.get("TERM") != "dumb" and not os.environ.get("CI"):
        with live() as show:
            yield show
    else:
        yield Lines()


@dataclass
class JsonLines:
    """One JSON object per event, with the seconds since the start."""

    began: float = field(default_factory=time.monotonic)

    def __call__(self, event: Event) -> None:
        """Show one event."""
        told = {key: value for key, value in asdict(event).items() if value not in ("", None)}
        elapsed = round(time.monotonic() - self.began, 2)
        click.echo(json.dumps({"elapsed": elapsed, **told}, ensure_ascii=False), err=True)


@dataclass
class Lines:
    """Plain lines for logs: stages and notes, and now and then how far it is or a program's line, as a sign of life."""

    began: float = field(default_factory=time.monotonic)
    shown: float = field(default_factory=time.monotonic)
    lock: Lock = field(default_factory=Lock)

    def __call__(self, event: Event) -> None:
        """Show one event."""
        with self.lock:
            now = time.monotonic()
            text = _line(event, now - self.shown >= _SIGN_OF_LIFE)
            if text:
                self.shown = now
                click.echo(f"[{clock(now - self.began):>6}] {event.stage}: {text}", err=True)


def _line(event: Event, quiet_for_long: bool) -> str:
    if event.kind == "begin":
        return event.text + (f" (about {clock(event.seconds)})" if event.seconds else "")
    if event.kind == "end":
        return f"done in {event.seconds or 0:.1f} s"
    if event.kind == "fail":
        return f"failed after {event.seconds or 0:.1f} s"
    if event.kind == "note":
        return event.text
    if event.kind == "advance" and quiet_for_long:
        return f"{event.fraction or 0:.0%}"
    return event.text.strip() if event.kind == "line" and quiet_for_long else ""


@dataclass
class _Stage:
    title: str
    expected: float | None
    began: float
    took: float | None = None
    failed: bool = False
    fraction: float | None = None


@dataclass
class _Board:
    """What the live display shows: every stage, and the last line of the one that runs."""

    stages: dict[str, _Stage] = field(default_factory=dict)
    last: str = ""

    def take(self, event: Event) -> None:
        if event.kind == "begin":
            self.stages[event.stage] = _Stage(event.text, event.seconds, time.monotonic())
            self.last = ""
        elif event.kind in ("line", "note"):
            self.last = event.text.strip()
        elif stage := self.stages.get(event.stage):
            if event.kind == "advance":
                stage.fraction = event.fraction
            else:
                stage.took = event.seconds or 0.0
                stage.failed = event.kind == "fail"

    def __rich__(self) -> Table:
        from rich.table import Table
        from rich.text import Text

        table = Table.grid(padding=(0, 1))
        now = time.monotonic()
        running = Text(_SPINNER[int(now * 8) % len(_SPINNER)])
        for stage in list(self.stages.values()):  # a copy: the display's thread reads while ours adds
            mark = running if stage.took is None else Text("✗", "red") if stage.failed else Text("✓", "green")
            table.add_row(mark, Text(stage.title, no_wrap=True), Text(_times(stage, now), "dim"))
        if self.last:
            table.add_row("", Text(self.last, "dim", no_wrap=True, overflow="ellipsis"), "")
        return table


def _times(stage: _Stage, now: float) -> str:
    if stage.took is not None:
        return clock(stage.took)
    done = f"{stage.fraction:.0%} " if stage.fraction is not None else ""
    return done + clock(now - stage.began) + (f" of about {clock(stage.expected)}" if stage.expected else "")


@contextmanager
def live() -> Iterator[Reporter]:
    """A display that redraws itself: stages with spinner, elapsed and predicted time, notes above it."""
    from rich.console import Console
    from rich.live import Live

    board = _Board()
    console = Console(stderr=True)
    with Live(board, console=console, refresh_per_second=8) as shown:

        def show(event: Event) -> None:
            if event.kind == "note":
                shown.console.print(event.text, markup=False, highlight=False)
            board.take(event)

        yield show
