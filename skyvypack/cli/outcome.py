"""The one place where errors become messages and exit codes, and signals become a stop in order."""

from __future__ import annotations

import json
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from types import FrameType
from typing import Any

import click

from skyvypack.errors import Interrupted, LeakFound, SkyvypackError, SpecError

_STOPPED = Interrupted.exit_code
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def guard(act: Callable[[], Any], *, as_json: bool, debug: bool) -> int:
    """Do something for the user; whatever goes wrong is told in words.

    Args:
        act: what to do; returns an exit code, or anything else for 0.
        as_json: tell errors as one JSON document on standard output.
        debug: show tracebacks of unexpected errors.

    Returns:
        the exit code of the process.
    """
    try:
        with _stopping():
            code = act()
            sys.stdout.flush()
        return code if isinstance(code, int) else 0
    except BrokenPipeError:
        _drop_stdout()
        return 1
    except (KeyboardInterrupt, click.Abort):
        return _tell({"message": "interrupted", "hint": ""}, _STOPPED, as_json)
    except SkyvypackError as error:
        return _tell(_described(error), error.exit_code, as_json)
    except click.ClickException as error:
        return _usage(error, as_json)
    except Exception as error:
        return _unexpected(error, as_json, debug)


def _described(error: SkyvypackError) -> dict[str, Any]:
    described: dict[str, Any] = {"kind": type(error).__name__, "message": error.message, "hint": error.hint}
    if isinstance(error, SpecError):
        described["problems"] = [asdict(problem) for problem in error.problems]
    if obstacles := getattr(error, "obstacles", ()):
        described["obstacles"] = [asdict(obstacle) for obstacle in obstacles]
    if isinstance(error, LeakFound):
        described["findings"] = list(error.findings)
    return described


def _usage(error: click.ClickException, as_json: bool) -> int:
    if not as_json:
        error.show()
        return 2
    context = getattr(error, "ctx", None)
    hint = f"run: {context.command_path} --help" if context else ""
    return _tell({"kind": "UsageError", "message": error.format_message(), "hint": hint}, 2, as_json)


def _unexpected(error: Exception, as_json: bool, debug: bool) -> int:
    if debug:
        traceback.print_exception(error)
    message = f"unexpected {type(error).__name__}: {error}"
    hint = "this is a bug in skyvypack: run again as `skyvypack --debug …` and report what it prints"
    return _tell({"kind": type(error).__name__, "message": message, "hint": hint}, 1, as_json)


def _tell(described: dict[str, Any], code: int, as_json: bool) -> int:
    if as_json:
        click.echo(json.dumps({"error": described}, ensure_ascii=False, indent=2))
        return code
    click.echo(f"{click.style('error:', fg='red', bold=True)} {described['message']}", err=True)
    if described["hint"]:
        click.echo(f"{click.style('hint:', bold=True)} {described['hint']}", err=True)
    return code


def _drop_stdout() -> None:
    """Whoever read us has gone; what is still buffered goes nowhere, or Python would complain at its end."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())


@contextmanager
def _stopping() -> Iterator[None]:
    """Make the first SIGINT, SIGTERM or SIGHUP a KeyboardInterrupt, and later ones a note: cleanup is not cut short."""
    asked = False

    def stop(_number: int, _frame: FrameType | None) -> None:
        nonlocal asked
        if asked:
            os.write(2, b"already stopping; what was begun is being undone\n")
            return
        asked = True
        raise KeyboardInterrupt

    # One that was ignored when we were started stays so: nohup and background jobs rely on it.
    before = {number: signal.getsignal(number) for number in _SIGNALS}
    taken = [number for number, handler in before.items() if handler is not signal.SIG_IGN]
    for number in taken:
        signal.signal(number, stop)
    try:
        yield
    finally:
        for number in taken:
            signal.signal(number, before[number])
