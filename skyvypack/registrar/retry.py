"""Calls to a platform that may fail and pass: repeated with growing, random pauses until a deadline."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from skyvypack.progress import Progress
from skyvypack.registrar.contract import RegistrarError

if TYPE_CHECKING:
    from tenacity import RetryCallState

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a call is repeated.

    Args:
        seconds: no try begins later than this after the first; give each try a timeout of its own as well.
        first: the longest first pause, in seconds. It doubles with each try; a pause is a random part of it, so that
            several callers do not come back at the same moment.
        longest: pause, in seconds.
    """

    seconds: float = 60.0
    first: float = 0.5
    longest: float = 8.0


def call(
    act: Callable[[], T],
    *,
    transient: Callable[[BaseException], bool],
    patience: Patience,
    progress: Progress,
    what: str,
) -> T:
    """Do something, again while it fails with an error that is known to pass.

    Args:
        act: safe to repeat: a create must first look whether an earlier try was carried out although its answer
            was lost.
        transient: names the errors that pass; any other is raised at once.
        patience: how long to go on; then the last error is raised.
        progress: told of each failure.
        what: for the note, such as ``create VM 100``.
    """
    import tenacity

    def note(state: RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        progress.note("retry", f"{what}: {error}; trying again in {state.upcoming_sleep:.1f} s")

    return tenacity.Retrying(
        retry=tenacity.retry_if_exception(transient),
        stop=tenacity.stop_before_delay(patience.seconds),
        wait=tenacity.wait_random_exponential(multiplier=patience.first, max=patience.longest),
        before_sleep=note,
        reraise=True,
    )(act)


def pauses(longest: float) -> Iterator[float]:
    """Seconds to wait before each further look: what is quick is seen soon, what takes long is not asked after often.

    Args:
        longest: what they grow to.
    """
    pause = longest / 128
    while True:
        yield pause
        pause = min(pause * 1.5, longest)


def until(look: Callable[[], T | None], *, seconds: float, pause: float, what: str) -> T:
    """Look again and again until there is something to see.

    Args:
        look: returns None for "not yet".
        seconds: until we give up.
        pause: seconds between two looks; the first ones are shorter.
        what: is waited for, as in ``the clone's address``.

    Raises:
        RegistrarError: the time is over.
    """
    deadline = time.monotonic() + seconds
    for wait in pauses(pause):
        if (seen := look()) is not None:
            return seen
        if time.monotonic() + wait > deadline:
            break
        time.sleep(wait)
    raise RegistrarError(f"no end after {seconds:.0f} s of waiting for {what}")
