"""Notes, for one clone, what held and what did not."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from skyvypack.errors import CommandFailed, ContractFailed
from skyvypack.verify.contract import Phase
from skyvypack.verify.report import Check, Outcome


class Broken(Exception):
    """A clone is given up; the check that says why has been noted."""


@dataclass(slots=True)
class Judge:
    """The checks of one clone.

    Args:
        clone: its name.
    """

    clone: str
    checks: list[Check] = field(default_factory=list)
    boots: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def judged(self, test: str, phase: Phase, *requirements: str, fatal: bool = True) -> Iterator[None]:
        """Note whether the block held; with `fatal`, a clone for which it did not is given up.

        Raises:
            Broken: it did not hold.
        """
        began = time.monotonic()

        def note(outcome: Outcome, message: str = "") -> None:
            seconds = round(time.monotonic() - began, 3)
            self.checks.append(Check(requirements, "clone", test, self.clone, phase, outcome, message, seconds))

        try:
            yield
        except (ContractFailed, CommandFailed) as error:
            note("failed", str(error))
            if fatal:
                raise Broken from error
        else:
            note("passed")

    @contextmanager
    def timed(self, phase: Phase) -> Iterator[None]:
        """Note how long a boot took."""
        began = time.monotonic()
        yield
        self.boots[f"{self.clone}, {phase}"] = round(time.monotonic() - began, 1)
