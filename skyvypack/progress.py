"""What a long step tells its caller while it runs.

The library never prints: it sends `Event`s to a `Reporter`, any callable. The CLI turns them into a live display,
plain lines or JSON lines.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal

Kind = Literal["begin", "line", "note", "advance", "end", "fail"]


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened.

    Args:
        kind: ``begin``/``end``/``fail`` of a stage, ``line`` of a program's output, ``note`` for the user,
            ``advance`` when a stage got further.
        stage: a stage's short name, such as ``layer`` or ``packer``.
        text: what to show; for ``begin`` the stage's title.
        seconds: how long it took (``end``, ``fail``) or is expected to take (``begin``); None when unknown.
        fraction: 0…1 for ``advance``.
    """

    kind: Kind
    stage: str
    text: str = ""
    seconds: float | None = None
    fraction: float | None = None


Reporter = Callable[[Event], None]


def silent(event: Event) -> None:
    """A reporter that drops everything; the library's default."""


@dataclass(slots=True)
class Progress:
    """Sends events and keeps how long each stage took.

    Args:
        report: where events go.
        expected: seconds each stage took in earlier runs, by stage name.
    """

    report: Reporter = silent
    expected: Mapping[str, float] = field(default_factory=dict)
    timings: dict[str, float] = field(default_factory=dict)
    _began: float = field(default_factory=time.monotonic)

    def times(self) -> dict[str, float]:
        """Seconds of each stage, and as ``total`` the seconds since the first: stages can overlap or hold others."""
        return {**self.timings, "total": round(time.monotonic() - self._began, 2)}

    @contextmanager
    def stage(self, name: str, title: str) -> Iterator[Callable[[str], None]]:
        """Time a stage; yields a callable that passes on one line of output."""
        self.report(Event("begin", name, title, seconds=self.expected.get(name)))
        began = time.monotonic()
        try:
            yield lambda line: self.report(Event("line", name, line))
        except BaseException as error:
            self.report(Event("fail", name, type(error).__name__, seconds=time.monotonic() - began))
            raise
        self.timings[name] = round(time.monotonic() - began, 2)
        self.report(Event("end", name, title, seconds=self.timings[name]))

    def note(self, stage: str, text: str) -> None:
        """Tell the user one fact."""
        self.report(Event("note", stage, text))
