"""Signals become a stop in order, and whoever stops reading is not shouted at."""

from __future__ import annotations

import contextlib
import io
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from skyvypack.cli.display import JsonLines, Lines, _Board, live, reporter
from skyvypack.cli.outcome import guard
from skyvypack.errors import SkyvypackError
from skyvypack.progress import Event, Progress


def test_a_result_that_is_no_number_is_success() -> None:
    """Verbs return nothing; a number is an exit code."""
    assert guard(lambda: None, as_json=False, debug=False) == 0
    assert guard(lambda: 3, as_json=False, debug=False) == 3


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_interrupts_and_cleanup_runs(number: signal.Signals) -> None:
    """The first signal raises where the work is, so that `finally` runs; the exit code is 130."""
    undone = []

    def act() -> None:
        try:
            os.kill(os.getpid(), number)
            signal.pause()
        finally:
            undone.append(True)

    before = signal.getsignal(number)
    assert guard(act, as_json=False, debug=False) == 130
    assert undone == [True]
    assert signal.getsignal(number) is before


def test_a_second_signal_does_not_cut_cleanup_short(capfd: pytest.CaptureFixture[str]) -> None:
    """While what was begun is undone, a further Ctrl-C is answered with a note."""
    undone = []

    def act() -> None:
        try:
            os.kill(os.getpid(), signal.SIGINT)
            signal.pause()
        finally:
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGTERM)
            undone.append(True)

    assert guard(act, as_json=False, debug=False) == 130
    assert undone == [True]
    assert capfd.readouterr().err.count("already stopping") == 2


def test_an_ignored_signal_stays_ignored() -> None:
    """A run under nohup goes on when its terminal closes."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        assert guard(lambda: os.kill(os.getpid(), signal.SIGHUP), as_json=False, debug=False) == 0
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_reader_that_goes_away_is_no_error() -> None:
    """`skyvypack schema | head -1` prints nothing but the one line."""
    process = subprocess.Popen(
        [sys.executable, "-m", "skyvypack", "schema"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    with process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        complaint = process.stderr.read()
    assert complaint == b""
    assert process.returncode == 1


def test_the_module_runs_as_a_program(tmp_path: Path) -> None:
    """`python -m skyvypack` exits with the code of its verb."""
    done = subprocess.run([sys.executable, "-m", "skyvypack", "validate"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith("error: there is no spec skyvypack.yaml\n")


def feed(report: object) -> None:
    """A stage that ends, one that fails, and a note."""
    assert callable(report)
    progress = Progress(report, {"layer": 125.0})
    with progress.stage("layer", "Make the layer") as line:
        line("unpacking systemd")
    progress.note("layer", "from the cache")
    with contextlib.suppress(SkyvypackError), progress.stage("packer", "Run Packer"):
        raise SkyvypackError("no")


def test_lines_tell_stages_notes_and_no_chatter(capsys: pytest.CaptureFixture[str]) -> None:
    """A log has elapsed time, stages, predictions and notes, and not every line of every program."""
    feed(Lines())
    assert capsys.readouterr().err.splitlines() == [
        "[  0:00] layer: Make the layer (about 2:05)",
        "[  0:00] layer: done in 0.0 s",
        "[  0:00] layer: from the cache",
        "[  0:00] packer: Run Packer",
        "[  0:00] packer: failed after 0.0 s",
    ]


def test_lines_tell_how_far_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    """A long upload tells now and then how far it is."""
    lines = Lines()
    for part in range(100):
        lines.shown -= 60 * (part in (20, 70))
        lines(Event("advance", "upload", fraction=part / 100))
    assert [line.split()[-1] for line in capsys.readouterr().err.splitlines()] == ["20%", "70%"]


def test_lines_give_a_sign_of_life(capsys: pytest.CaptureFixture[str]) -> None:
    """After a long silence the next line of a program is shown, once."""
    lines = Lines()
    lines.shown -= 60
    lines(Event("line", "packer", "still here"))
    lines(Event("line", "packer", "and here"))
    assert "still here" in (shown := capsys.readouterr().err)
    assert "and here" not in shown


def test_a_terminal_gets_every_stage_with_its_state() -> None:
    """The live display shows ended, failed and running stages, the prediction and the last line."""
    from rich.console import Console

    board = _Board()
    feed(board.take)
    board.take(Event("begin", "verify", "Boot clones", seconds=90))
    board.take(Event("advance", "verify", fraction=0.5))
    board.take(Event("line", "verify", "waiting for ssh"))
    console = Console(file=io.StringIO(), width=100)
    console.print(board)
    assert isinstance(console.file, io.StringIO)
    shown = console.file.getvalue()
    assert "✓ Make the layer" in shown
    assert "✗ Run Packer" in shown
    assert "50% 0:00 of about 1:30" in shown
    assert "waiting for ssh" in shown


def test_the_live_display_lets_errors_through() -> None:
    """Leaving the display on an error gives the terminal back."""

    def fail() -> None:
        with live() as show:
            show(Event("note", "x", "[not markup]"))
            raise SkyvypackError("no")

    with pytest.raises(SkyvypackError):
        fail()


def test_no_terminal_gets_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nobody looks there is no live display; JSON is only for those who ask."""
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    with reporter(False) as plain, reporter(True) as structured:
        assert isinstance(plain, Lines)
        assert isinstance(structured, JsonLines)
