"""Real processes, struck at every request of a registration: kill -9 and then reap; Ctrl-C; SIGTERM."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from test_registrars import changes, journals, making

from skyvypack.registrar import Entry, Journal, describe, reap
from skyvypack.registrar.journal import dead, paths

pytestmark = pytest.mark.tool

CHILD = Path(__file__).with_name("child.py")
Strike = Callable[..., int]


@pytest.fixture
def strike(adapter: Any, tmp_path: Path) -> Iterator[Strike]:
    """Registers in a child that gets a signal at one request; returns how it ended."""
    artifact = adapter.artifact(tmp_path / "output", adapter.spec())
    argv = [sys.executable, str(CHILD), type(adapter).__module__]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as mother:
        assert mother.stdin is not None
        assert mother.stdout is not None
        ours = {"target": adapter.target, "settings": adapter.settings(), "artifact": str(artifact.folder)}

        def struck(signal: str, number: int, *, lost: bool) -> int:
            case = ours | {"signal": signal, "number": number, "lost": lost, "version": "1.0.0"}
            print(json.dumps(case), file=mother.stdin, flush=True)
            return int(mother.stdout.readline())

        yield struck
        mother.stdin.close()


@pytest.mark.parametrize("lost", [False, True], ids=["not carried out", "answer lost"])
def test_killed_at_any_request_reap_finds_exactly_what_is_left(adapter, do, strike, lost):
    """After kill -9 at each request, reap brings the platform back to what it was, and then finds no more."""
    before = adapter.objects()
    for number in range(making(adapter, do)):
        assert strike("SIGKILL", number, lost=lost) == -9
        assert len(journals(adapter.target)) == 1
        reaped = reap(adapter.target)
        assert [one.error for one in reaped if one.error] == []
        assert (number, adapter.objects()) == (number, before)
        assert journals(adapter.target) == []
        assert reap(adapter.target) == ()


@pytest.mark.parametrize(("signal", "lost"), [("SIGINT", False), ("SIGTERM", True)])
def test_stopped_at_any_request_nothing_is_left(adapter, do, strike, signal, lost):
    """Ctrl-C and SIGTERM at each request end with exit code 130, everything undone."""
    before = adapter.objects()
    for number in range(making(adapter, do)):
        assert strike(signal, number, lost=lost) == 130
        assert (number, adapter.objects()) == (number, before)
        assert journals(adapter.target) == []


def test_killed_when_it_was_finished_the_template_stands(adapter, do, strike):
    """From the moment it is finished nothing takes the template away: reap finds nothing, and a second run goes on."""
    seen = changes(adapter, lambda: do("0.9.0", content=b"first", channel="stable"))
    assert strike("SIGKILL", len(seen) - 1, lost=False) == -9
    standing = next(one for one in describe(adapter.spec(), adapter.target) if one.version == "1.0.0")
    assert reap(adapter.target) == ()
    done = do("1.0.0", channel="stable")
    assert done.unchanged
    assert done.template.id == standing.id
    assert "stable" in describe(adapter.spec(), adapter.target)[0].channels


def open_entries(target: str) -> list[Entry]:
    """What dead runs have left open."""
    found: list[Entry] = []
    for path in paths(Journal(target).folder):
        with dead(path, lambda entry: None, None) as left:  # type: ignore[arg-type]
            found += left[0].open_entries() if left else ()
    return found


def test_reap_leaves_what_somebody_else_made_in_the_same_place(adapter, do, strike):
    """When a name or a number was taken by somebody else after the kill, his object stays."""
    met = 0
    for number in range(making(adapter, do)):
        assert strike("SIGKILL", number, lost=False) == -9
        waiting = [entry for entry in open_entries(adapter.target) if not entry.id]
        if waiting and adapter.impostor(waiting[-1].mark):
            met += 1
            theirs = adapter.objects()
            assert reap(adapter.target)
            left = adapter.objects()
            assert left.items() <= theirs.items()
            assert adapter.is_impostor_there(waiting[-1].mark)
            break
        reap(adapter.target)
    if not met:
        pytest.skip("the platform gives ids itself: nobody else can have one of ours")
