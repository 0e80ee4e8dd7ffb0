"""The reference registrar, of a platform that is one JSON file: proves the suite, and shows how one is written."""

from __future__ import annotations

import fcntl
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import adapters

from skyvypack.progress import Progress
from skyvypack.registrar import (
    Entry,
    Guest,
    Job,
    Obstacle,
    Order,
    RegistrarError,
    Run,
    Step,
    Template,
)
from skyvypack.registrar.credentials import secret
from skyvypack.registrar.retry import Patience, call

TARGET = "memory"
DISK = "qcow2"
Thing = dict[str, Any]


class Lost(Exception):
    """The platform's answer was lost."""


class Refused(Exception):
    """The platform says no."""


class Platform:
    """Things in a file, by id. `hooks` are called around each change."""

    before: adapters.Hook = staticmethod(adapters.ignore)
    after: adapters.Hook = staticmethod(adapters.ignore)

    def __init__(self, path: Path) -> None:
        self.path = path

    @contextmanager
    def _open(self) -> Iterator[dict[str, Thing]]:
        with self.path.open("r+") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            things = json.load(file)
            yield things
            file.seek(0)
            file.truncate()
            json.dump(things, file)

    def things(self) -> dict[str, Thing]:
        """Everything, a copy."""
        with self._open() as things:
            return dict(things)

    def create(self, kind: str, **facts: Any) -> str:
        """Make a thing; each call makes one."""
        type(self).before(f"create {kind}")
        with self._open() as things:
            id = str(max(map(int, things), default=99) + 1)
            things[id] = {"kind": kind, **facts}
        type(self).after(f"create {kind}")
        return id

    def change(self, id: str, **facts: Any) -> None:
        """Change a thing."""
        type(self).before(f"change {id}")
        with self._open() as things:
            things[id] |= facts
        type(self).after(f"change {id}")

    def delete(self, id: str) -> None:
        """Remove a thing."""
        type(self).before(f"delete {id}")
        with self._open() as things:
            if id not in things:
                raise Refused(f"no {id}")
            del things[id]
        type(self).after(f"delete {id}")


class MemoryRegistrar:
    """See `skyvypack.registrar.contract.Registrar`."""

    def __init__(self, settings: Mapping[str, Any], progress: Progress) -> None:
        self._settings = settings
        self._platform = Platform(Path(settings["file"]))
        self._progress = progress
        # What a test plans: names of jobs, those that fail, obstacles.
        self._jobs: Mapping[str, bool] = settings.get("jobs", {})

    def where(self) -> str:
        return f"somebody at {self._settings['file']}"

    def preflight(self, order: Order) -> Sequence[Obstacle]:
        found = [Obstacle("test", text, "mend it") for text in self._settings.get("obstacles", ())]
        if not self._platform.path.exists():
            return [Obstacle("reach", "there is no platform")]
        if not secret("MEMORY_PASSWORD"):
            found.append(Obstacle("credentials", "MEMORY_PASSWORD is not set"))
        return found

    def plan(self, order: Order) -> Sequence[Step]:
        return [Step("upload", "upload the disk"), Step("vm", f"make {order.title}")]

    def expect(self, order: Order, run: Run) -> Entry:
        return run.intend("packer", token=order.title)

    def register(self, order: Order, run: Run) -> Template:
        marks = order.marks(run.id)
        if order.source:
            facts = {"marks": marks, "run": run.id, "template": True, "channels": []}
            self._change(order.source, **facts, created=len(self._platform.things()))
            return next(one for one in self.describe(order.spec.name) if one.id == order.source)
        upload = self._create(run, "upload", f"{order.title}-{run.id}")
        vm = self._create(run, "vm", f"{order.title}-{run.id}", marks=marks, source=upload.id)
        self._change(vm.id, template=True, created=len(self._platform.things()), channels=[])
        run.undo(upload)
        return next(one for one in self.describe(order.spec.name) if one.id == vm.id)

    def _create(self, run: Run, kind: str, token: str, **facts: Any) -> Entry:
        entry = run.intend(kind, token=token)

        def once() -> str:
            found = self._find(kind, token)
            return found or self._platform.create(kind, token=token, run=run.id, **facts)

        return run.made(entry, self._retried(once, f"create {kind}"))

    def _find(self, kind: str, token: str) -> str:
        things = self._platform.things()
        return next((id for id, thing in things.items() if (thing["kind"], thing.get("token")) == (kind, token)), "")

    def _change(self, id: str, **facts: Any) -> None:
        self._retried(lambda: self._platform.change(id, **facts), f"change {id}")

    def _retried(self, act: Any, what: str) -> Any:
        patience = Patience(5, first=0.001, longest=0.01)
        try:
            return call(
                act, transient=lambda e: isinstance(e, Lost), patience=patience, progress=self._progress, what=what
            )
        except (Refused, Lost) as error:
            raise RegistrarError(f"{what}: {error}") from error

    def describe(self, name: str) -> Sequence[Template]:
        try:
            things = self._platform.things()
        except OSError as error:
            raise RegistrarError(str(error)) from error
        found = [id for id, thing in things.items() if thing.get("template") and thing["marks"]["name"] == name]
        return [self._template(id, things[id]) for id in sorted(found, key=int, reverse=True)]

    def _template(self, id: str, thing: Thing) -> Template:
        marks = thing["marks"]
        return Template(
            TARGET,
            id,
            marks["name"],
            marks["version"],
            marks["digest"],
            str(thing["created"]),
            marks["run"],
            thing.get("verified", False),
            tuple(thing["channels"]),
        )

    def boot(self, template: Template, user_data: str, run: Run) -> Guest:
        clone = self._create(run, "clone", f"clone-{run.id}", of=template.id)
        return Guest(clone.id, "127.0.0.1")

    def confirm(self, template: Template) -> Template:
        self._change(template.id, verified=True)
        return self._template(template.id, self._platform.things()[template.id])

    def jobs(self, order: Order, template: Template) -> Sequence[Job]:
        return [Job(name, self._job(name, fails)) for name, fails in self._jobs.items()]

    def _job(self, name: str, fails: bool) -> Any:
        def do(run: Run) -> str:
            copy = self._create(run, "copy", name)
            if fails:
                raise RegistrarError(f"{name} is closed")
            return copy.id

        return do

    def point(self, template: Template, channel: str) -> None:
        others = [(id, thing) for id, thing in self._platform.things().items() if channel in thing.get("channels", ())]
        if not any(id == template.id for id, _ in others):
            self._change(template.id, channels=sorted({*template.channels, channel}))
        for id, thing in others:
            if id != template.id:
                self._change(id, channels=[one for one in thing["channels"] if one != channel])

    def in_use(self, template: Template) -> Sequence[str]:
        things = self._platform.things()
        return [f"linked clone {id}" for id, thing in things.items() if thing.get("of") == template.id]

    def retire(self, template: Template, run: Run) -> None:
        self._delete(template.id)

    def undo(self, entry: Entry) -> None:
        id = entry.id or self._find(entry.kind, entry.mark["token"])
        thing = self._platform.things().get(id)
        if thing and thing.get("run", entry.run) == entry.run:
            self._delete(id)

    def _delete(self, id: str) -> None:
        def once() -> None:
            if id in self._platform.things():
                self._platform.delete(id)

        self._retried(once, f"delete {id}")


@contextmanager
def connect(settings: Mapping[str, Any], progress: Progress) -> Iterator[MemoryRegistrar]:
    """The registrar of one file."""
    yield MemoryRegistrar(settings, progress)


class Adapter(adapters.Adapter):
    """See `adapters.Adapter`."""

    target = TARGET

    def __init__(self, path: Path) -> None:
        self._path = path
        self.more: dict[str, Any] = {}

    def settings(self) -> dict[str, Any]:
        return {"file": str(self._path), **self.more}

    def environment(self) -> dict[str, str]:
        return {"MEMORY_PASSWORD": "hunter2"}

    def objects(self) -> Mapping[str, str]:
        return {id: json.dumps(thing, sort_keys=True) for id, thing in Platform(self._path).things().items()}

    def use(self, template: Template) -> str:
        Platform(self._path).create("clone", of=template.id)
        return "linked clone"

    @staticmethod
    @contextmanager
    def hooked(before: adapters.Hook, after: adapters.Hook = adapters.ignore) -> Iterator[None]:
        Platform.before, Platform.after = staticmethod(before), staticmethod(after)
        try:
            yield
        finally:
            Platform.before = Platform.after = staticmethod(adapters.ignore)

    @staticmethod
    def transient() -> Exception:
        return Lost("connection reset")

    @staticmethod
    def permanent() -> Exception:
        return Refused("permission denied")

    def impostor(self, mark: Mapping[str, str]) -> bool:
        Platform(self._path).create("vm", token=mark["token"], run="somebody else's")
        return True

    def is_impostor_there(self, mark: Mapping[str, str]) -> bool:
        return any(one.get("run") == "somebody else's" for one in Platform(self._path).things().values())


@contextmanager
def running(folder: Path) -> Iterator[Adapter]:
    """An empty platform."""
    path = folder / "platform.json"
    path.write_text("{}")
    yield Adapter(path)
