"""The journal: what a run makes on a platform, written to disk before it is made.

One file of JSON lines for each run, in the state folder; each line is on the disk itself (fsync) before the platform
is asked. The first line says how to reach the platform; the others tell of entries: ``intend`` before the call,
``made`` with the id after it, and ``undone`` or ``kept``. A file without open entries is removed.

A run holds `flock` on its file for as long as it lives; the kernel drops it with the process, also on ``kill -9``. So
a file whose lock is free is a dead run's, and its open entries are exactly what that run left.
"""

from __future__ import annotations

import dataclasses
import fcntl
import json
import os
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Literal, Self

from skyvypack.errors import InputError, SkyvypackError
from skyvypack.progress import Progress

State = Literal["intended", "made", "undone", "kept"]
_WORDS: Mapping[str, State] = {"intend": "intended", "made": "made", "undone": "undone", "kept": "kept"}


@dataclass(frozen=True, slots=True)
class Entry:
    """One object on a platform.

    Args:
        run: id of the run that makes it.
        number: its place in the run.
        kind: the registrar's word for it, such as ``upload`` or ``vm``.
        mark: by what it can be found before its id is known: names, tokens, places.
        id: the platform's own; empty until the call that makes it has answered.
        state: where it is in its life.
    """

    run: str
    number: int
    kind: str
    mark: Mapping[str, str] = field(default_factory=dict)
    id: str = ""
    state: State = "intended"

    @property
    def open(self) -> bool:
        """True while it is neither undone nor kept."""
        return self.state in ("intended", "made")

    def __str__(self) -> str:
        marks = ", ".join(f"{key} {value}" for key, value in self.mark.items())
        return f"{self.kind} {self.id or '(perhaps)'}" + (f" ({marks})" if marks else "")


Undo = Callable[[Entry], None]


def state_folder() -> Path:
    """The folder of what cannot be made again: `$SKYVYPACK_STATE`, else skyvypack in the XDG state folder."""
    given = os.environ.get("SKYVYPACK_STATE")
    xdg = Path(os.environ.get("XDG_STATE_HOME") or "~/.local/state").expanduser()
    return Path(given) if given else xdg / "skyvypack"


class Run:
    """One run's journal. As a context manager it undoes, in reverse, all that is open when the block is left.

    Args:
        path: of the journal's file, which is locked.
        handle: the file, open for appending.
        undo: removes what an entry stands for, see `Registrar.undo`.
        progress: told of what is undone, and of what could not be.
    """

    def __init__(self, path: Path, handle: IO[str], undo: Undo, progress: Progress) -> None:
        self.path = path
        self.id = path.stem
        self.progress = progress
        self.entries: list[Entry] = []
        self.left: list[Entry] = []
        self._handle = handle
        self._undo = undo
        self._stack = ExitStack()

    def intend(self, kind: str, **mark: str) -> Entry:
        """Write down that something is going to be made; call it before the platform is asked.

        Args:
            kind: the registrar's word for it.
            mark: by what `Registrar.undo` can find it although its id never became known.
        """
        return self._add(Entry(self.id, len(self.entries), kind, mark))

    def inherit(self, kind: str, **mark: str) -> Entry | None:
        """Take over what a killed run left, to go on with it: it is this run's from now on.

        Args:
            kind: of the entry.
            mark: what its mark must hold.

        Returns:
            The entry, whose ``run`` is still that of the run which made it; None when no dead run left such a thing.
        """
        for path in paths(self.path.parent):
            with dead(path, self._undo, self.progress) as found:
                for entry in found[0].open_entries() if found else ():
                    if entry.kind == kind and entry.id and mark.items() <= entry.mark.items():
                        ours = self._add(dataclasses.replace(entry, number=len(self.entries)))
                        assert found is not None
                        found[0].void(entry)
                        return ours
        return None

    def _add(self, entry: Entry) -> Entry:
        self.entries.append(entry)
        # First, so that an interruption while the line is written leaves no gap.
        self._stack.callback(self._undo_quietly, entry.number)
        facts = {"run": entry.run, "kind": entry.kind, "mark": entry.mark}
        self._write("intend", entry.number, **facts)
        if entry.id:
            self._write("made", entry.number, id=entry.id)
        return entry

    def made(self, entry: Entry, id: str) -> Entry:
        """Write down the id of what has been made."""
        return self._change(entry, "made", id=id)

    def void(self, entry: Entry) -> None:
        """Write down that the platform refused: nothing was made."""
        self._change(entry, "undone")

    def undo(self, entry: Entry) -> None:
        """Remove what only helped, now."""
        entry = self.entries[entry.number]
        if entry.open:
            self._undo(entry)
            self._change(entry, "undone")

    @contextmanager
    def temporary(self) -> Iterator[None]:
        """Undo, in reverse, what is made within the block when it is left, however that is.

        What cannot be undone stays in the journal for `reap`, and in `left`; it does not fail the run.
        """
        first = len(self.entries)
        with ExitStack() as stack:
            stack.callback(self._undo_from, first)
            yield

    def finish(self) -> None:
        """Write down that the work is done: what is open now stays, whatever happens later."""
        for entry in self.open_entries():
            if entry not in self.left:
                self._change(entry, "kept")

    def open_entries(self) -> tuple[Entry, ...]:
        """What would be undone now, in the order it was made."""
        return tuple(entry for entry in self.entries if entry.open)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._stack.close()
        finally:
            self._end(error)

    def _end(self, error: BaseException | None) -> None:
        if not self.open_entries():
            self.path.unlink(missing_ok=True)
        elif isinstance(error, SkyvypackError):
            what = "; ".join(map(str, self.open_entries()))
            reap = f"left behind: {what}; remove it: python -m skyvypack reap --target {self.path.parent.name}"
            error.hint = f"{error.hint}; {reap}" if error.hint else reap

    def _undo_from(self, first: int) -> None:
        with ExitStack() as stack:
            for entry in self.entries[first:]:
                stack.callback(self._undo_quietly, entry.number)

    def _undo_quietly(self, number: int) -> None:
        """Undo one; a failure is told and noted, so that the others are undone all the same."""
        entry = self.entries[number]
        if not entry.open or entry in self.left:
            return
        self.progress.note("undo", f"undoing {entry}")
        try:
            self.undo(entry)
        except Exception as error:
            self.left.append(entry)
            self.progress.note("undo", f"left behind: {entry}: {error}")

    def _change(self, entry: Entry, word: str, id: str = "") -> Entry:
        known = self.entries[entry.number]
        changed = dataclasses.replace(known, state=_WORDS[word], id=id or known.id)
        self.entries[entry.number] = changed
        self._write(word, entry.number, **({"id": id} if id else {}))
        return changed

    def _write(self, word: str, number: int, **facts: Any) -> None:
        _append(self._handle, {"do": word, "number": number, **facts})


def _append(handle: IO[str], line: Mapping[str, Any]) -> None:
    handle.write(json.dumps(line, ensure_ascii=False) + "\n")
    handle.flush()
    os.fsync(handle.fileno())


@dataclass(frozen=True, slots=True)
class Journal:
    """The journals of one target.

    Args:
        target: its name.
        state: the state folder; `state_folder()` by default.
    """

    target: str
    state: Path | None = None

    @property
    def folder(self) -> Path:
        """Where this target's runs are."""
        return (self.state or state_folder()) / "journal" / self.target

    @contextmanager
    def run(self, settings: Mapping[str, Any], about: str, undo: Undo, progress: Progress) -> Iterator[Run]:
        """A new run, which undoes what is open when the block is left.

        Args:
            settings: the target's settings, by which `reap` will reach the platform; they hold no secret.
            about: what the run is for, such as ``web-1.0.0``.
            undo: see `Registrar.undo`.
            progress: told of what is undone.

        Raises:
            InputError: the state folder cannot be written.
        """
        id = uuid.uuid4().hex[:16]
        head = {"settings": settings, "about": about, "began": datetime.now(UTC).isoformat(timespec="seconds")}
        try:
            handle = _create(self.folder / f"{id}.jsonl", head)
        except OSError as error:
            raise InputError(
                f"cannot write to {self.folder}: {error.strerror}", "choose another folder by SKYVYPACK_STATE"
            ) from error
        with handle, Run(self.folder / f"{id}.jsonl", handle, undo, progress) as run:
            yield run

    def unfinished(self) -> dict[str, bool]:
        """The runs that have an open journal, by id: True for one that lives."""
        found = {}
        for path in paths(self.folder):
            with _locked(path) as handle:
                found[path.stem] = handle is None
        return found


def paths(folder: Path) -> list[Path]:
    """The file of every run in a journal's folder, the oldest first."""
    return sorted(folder.glob("*.jsonl"), key=lambda path: (path.stat().st_mtime_ns, path.name))


@contextmanager
def dead(path: Path, undo: Undo, progress: Progress) -> Iterator[tuple[Run, Mapping[str, Any]] | None]:
    """A dead run, as it was left, and its first line; None when it lives or is gone.

    What is open is *not* undone by leaving the block; a file with nothing open is removed.
    """
    with _locked(path) as handle:
        if handle is None:
            yield None
            return
        head, entries = _read(handle)
        run = Run(path, handle, undo, progress)
        run.entries += entries
        yield run, head
        run._end(None)


def _create(path: Path, head: Mapping[str, Any]) -> IO[str]:
    """A new file under its name only when it is locked and has its first line: nobody takes it for a dead run's."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    new = path.with_suffix(".new")
    handle = new.open("x", encoding="utf-8")
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        _append(handle, head)
        new.rename(path)
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        os.fsync(folder)
        os.close(folder)
    except BaseException:
        handle.close()
        new.unlink(missing_ok=True)
        raise
    return handle


@contextmanager
def _locked(path: Path) -> Iterator[IO[str] | None]:
    """A run's file, locked; None when it is gone or its run lives."""
    try:
        handle = path.open("r+", encoding="utf-8")
    except FileNotFoundError:
        yield None
        return
    with handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield None
        else:
            yield handle if path.exists() else None


def _read(handle: IO[str]) -> tuple[Mapping[str, Any], list[Entry]]:
    """The first line and the entries; a last line that was cut off was never acted upon, and is dropped."""
    text = handle.read()
    whole = text[: text.rfind("\n") + 1]
    handle.truncate(len(whole.encode()))
    handle.seek(0, os.SEEK_END)
    head, *lines = map(json.loads, whole.splitlines())
    entries: list[Entry] = []
    for line in lines:
        number, word = line["number"], line["do"]
        if word == "intend":
            entries.append(Entry(line["run"], number, line["kind"], line["mark"]))
        else:
            id = line.get("id", entries[number].id)
            entries[number] = dataclasses.replace(entries[number], state=_WORDS[word], id=id)
    return head, entries
