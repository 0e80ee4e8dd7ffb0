"""The journal of a registrar by itself: what it writes, what it undoes, and which runs it leaves alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from skyvypack.errors import InputError
from skyvypack.progress import Progress
from skyvypack.registrar import Entry, Journal, RegistrarError
from skyvypack.registrar.journal import dead, paths


class Undone:
    """Notes what is undone, and fails for some kinds."""

    def __init__(self, *failing: str) -> None:
        self.seen: list[str] = []
        self._failing = failing

    def __call__(self, entry: Entry) -> None:
        if entry.kind in self._failing:
            raise RegistrarError(f"no {entry.kind}")
        self.seen.append(entry.kind)


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_entries_are_undone_in_reverse_and_the_file_goes() -> None:
    """An error undoes all that is open, the newest first; what was voided or undone before is not."""
    undone = Undone()
    with pytest.raises(ValueError, match="x"), Journal("t").run({}, "web-1", undone, Progress()) as run:  # noqa: PT012
        run.made(run.intend("a", name="n"), "1")
        run.intend("b")
        run.void(run.intend("c"))
        run.undo(run.intend("d"))
        raise ValueError("x")
    assert undone.seen == ["d", "b", "a"]
    assert list(Journal("t").folder.iterdir()) == []


def test_an_entry_is_on_disk_before_anything_else_happens() -> None:
    """Intent with its mark first, id afterwards; the first line has the settings."""
    with Journal("t").run({"url": "u"}, "web-1", Undone(), Progress()) as run:
        entry = run.intend("vm", vmid="100")
        head, intent = lines(run.path)
        assert (head["settings"], head["about"]) == ({"url": "u"}, "web-1")
        assert intent == {"do": "intend", "number": 0, "run": run.id, "kind": "vm", "mark": {"vmid": "100"}}
        run.made(entry, "100")
        assert lines(run.path)[-1] == {"do": "made", "number": 0, "id": "100"}
        run.finish()
    assert not run.path.exists()


def test_what_cannot_be_undone_does_not_keep_the_rest(tmp_path: Path) -> None:
    """The others are undone, the error's hint names what is left, and the journal holds it for reap."""
    undone = Undone("b")
    with (  # noqa: PT012
        pytest.raises(RegistrarError, match="boom") as raised,
        Journal("t").run({}, "web-1", undone, Progress()) as run,
    ):
        for kind in "abc":
            run.intend(kind)
        raise RegistrarError("boom", "first hint")
    assert undone.seen == ["c", "a"]
    assert raised.value.hint.startswith("first hint; left behind: b")
    with dead(run.path, Undone(), Progress()) as left:
        assert left is not None
        assert [entry.kind for entry in left[0].open_entries()] == ["b"]


def test_a_line_that_was_cut_off_is_dropped() -> None:
    """A crash in the middle of a write: nothing was asked of the platform yet, so nothing is there."""
    journal = Journal("t")
    journal.folder.mkdir(parents=True)
    path = journal.folder / "0123.jsonl"
    whole = {"do": "intend", "number": 0, "run": "0123", "kind": "vm", "mark": {}}
    path.write_text(f'{{"settings": {{}}, "about": "a", "began": "b"}}\n{json.dumps(whole)}\n{{"do": "inte')
    with dead(path, Undone(), Progress()) as left:
        assert left is not None
        assert [entry.kind for entry in left[0].open_entries()] == ["vm"]
    assert path.read_text().endswith("\n")


def test_a_living_run_is_left_alone() -> None:
    """The lock tells: neither reap nor another run touches what a process is still at work on."""
    journal = Journal("t")
    with journal.run({}, "web-1", Undone(), Progress()) as run:
        run.intend("vm")
        assert journal.unfinished() == {run.id: True}
        with dead(run.path, Undone(), Progress()) as left:
            assert left is None
        run.finish()


def test_a_later_run_goes_on_with_what_a_killed_one_left() -> None:
    """`inherit` moves an entry, with the id of the run that made it, and only one that fits."""
    journal = Journal("t")
    kept = Undone("snapshot")
    with pytest.raises(KeyboardInterrupt), journal.run({}, "web-1", kept, Progress()) as first:  # noqa: PT012
        first.made(first.intend("snapshot", digest="d1"), "snap-1")
        raise KeyboardInterrupt
    undone = Undone()
    with journal.run({}, "web-1", undone, Progress()) as second:
        assert second.inherit("snapshot", digest="d2") is None
        entry = second.inherit("snapshot", digest="d1")
        assert entry is not None
        assert (entry.id, entry.run) == ("snap-1", first.id)
        assert not first.path.exists()
        second.finish()
    assert undone.seen == []
    assert paths(journal.folder) == []


def test_a_state_folder_that_cannot_be_written_is_an_input_error(tmp_path: Path) -> None:
    """Nothing is begun when nothing can be written down."""
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(InputError, match="cannot write"),
        Journal("t", tmp_path / "file").run({}, "web-1", Undone(), Progress()),
    ):
        pytest.fail("unreachable")
