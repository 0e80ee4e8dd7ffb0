"""What a registrar is: the words that every platform's registrar and its callers share.

A registrar lives in `skyvypack/targets/<target>/registrar.py`, a module that imports no SDK until it is used:

``DISK``
    the disk format of an artifact that it takes, such as ``qcow2``.
``ENVIRONMENT``
    (may be left out) how variables begin by which Packer's builder for the platform finds its credentials.
``VIA``
    (may be left out) the setting that says how a disk gets to the platform, where there is a choice.
``connect(settings, progress)``
    a context manager that yields a `Registrar`, made from the target's settings in the spec. It does not talk to the
    platform yet: an unreachable one is found by `Registrar.preflight`, beside everything else that is wrong.
    Credentials come from the environment (`skyvypack.registrar.credentials`), never from settings.
``LATER``
    (may be left out) settings that jobs see to when the template stands; a bake on the platform leaves them out.

`skyvypack.registrar.flow` puts a registrar's deeds in order; the registrar itself decides nothing about order.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from skyvypack import __version__
from skyvypack.artifact import DiskFile
from skyvypack.errors import SkyvypackError
from skyvypack.progress import Progress
from skyvypack.spec.model import Spec

if TYPE_CHECKING:
    from skyvypack.registrar.journal import Entry, Run


class RegistrarError(SkyvypackError):
    """A platform could not be reached, refused, or broke off; what was begun there is undone or in the journal."""


@dataclass(frozen=True, slots=True)
class Obstacle:
    """One thing that would make a registration fail.

    Args:
        check: what was looked at, such as ``permission``, ``storage``, ``name``.
        message: what is wrong.
        hint: what mends it; where a command does, that very command.
    """

    check: str
    message: str
    hint: str = ""

    def __str__(self) -> str:
        return f"{self.check}: {self.message}" + (f"\n      {self.hint}" if self.hint else "")


class PreflightFailed(RegistrarError):
    """The platform is not ready for a registration; nothing was made.

    Args:
        obstacles: at least one; all that were found.
    """

    def __init__(self, obstacles: Sequence[Obstacle]) -> None:
        self.obstacles = tuple(obstacles)
        count = len(self.obstacles)
        lines = "\n".join(f"  {obstacle}" for obstacle in self.obstacles)
        super().__init__(f"{count} obstacle{'s' * (count != 1)} to a registration:\n{lines}", "nothing was made")


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be registered.

    Args:
        spec: gives name, version, machine and settings.
        target: where.
        digest: ``sha256:…`` of the disk, or ``bundle:…`` of what Packer makes it from on the platform.
        disk: the artifact's disk in the registrar's format; None for a remote bake.
        source: id of the machine or template that Packer made on the platform; empty for a local artifact, and as long
            as Packer has not made it.
        manifest: URL of the artifact's manifest, empty when it is published nowhere.
        verify: a clone will be booted on the platform.
        standing: the template, when it is registered already and only something remains to be done with it.
    """

    spec: Spec
    target: str
    digest: str
    disk: DiskFile | None = None
    source: str = ""
    manifest: str = ""
    verify: bool = True
    standing: Template | None = None

    @property
    def title(self) -> str:
        """Name and version, as in ``web-1.0.0``: what templates are called where the platform allows it."""
        return f"{self.spec.name}-{self.spec.version}"

    @property
    def settings(self) -> Mapping[str, Any]:
        """The target's settings, complete."""
        return self.spec.target_settings(self.target)

    def marks(self, run: str) -> dict[str, str]:
        """What every object that is made for this order says about itself, as tags, attributes or text.

        Args:
            run: the run's id, by which `Registrar.undo` knows its own.
        """
        marks = {
            "made-by": f"skyvypack {__version__}",
            "name": self.spec.name,
            "version": self.spec.version,
            "debian": self.spec.debian,
            "digest": self.digest,
            "run": run,
        }
        return marks | ({"manifest": self.manifest} if self.manifest else {})


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a plan.

    Args:
        kind: the journal's word for what is made, such as ``vm``; or ``verify``, ``job``, ``channel``, ``retire``.
        text: what will be done, for a person.
    """

    kind: str
    text: str


@dataclass(frozen=True, slots=True)
class Plan:
    """What `register` would do; making it only reads.

    Args:
        target: where.
        where: the account and the endpoint, as in ``root@pam at https://pve1:8006``.
        steps: in order.
        obstacles: what stands in the way now.
    """

    target: str
    where: str
    steps: tuple[Step, ...]
    obstacles: tuple[Obstacle, ...] = ()


@dataclass(frozen=True, slots=True)
class Template:
    """A registered template.

    Args:
        target: where it lives.
        id: the platform's own, such as a VMID.
        name: of the template, without the version.
        version: of the template.
        digest: as in `Order`.
        created: ISO 8601 in UTC.
        run: id of the run that made it.
        verified: True when a clone of it kept the contract on the platform.
        channels: that point to it, sorted.
        facts: what else the platform says, for a person; also per region or cluster.
    """

    target: str
    id: str
    name: str
    version: str
    digest: str
    created: str
    run: str
    verified: bool = False
    channels: tuple[str, ...] = ()
    facts: Mapping[str, str] = field(default_factory=dict)

    @property
    def title(self) -> str:
        """Name and version."""
        return f"{self.name}-{self.version}"


@dataclass(frozen=True, slots=True)
class Executed:
    """What came of a script that a platform ran on a guest.

    Args:
        code: its exit code.
        output: what it printed.
        errors: what it complained.
    """

    code: int
    output: bytes
    errors: bytes = b""


# Runs a shell script on a guest as root, for at most so many seconds; raises `RegistrarError`.
Execute = Callable[[str, float], Executed]


@dataclass(frozen=True, slots=True)
class Guest:
    """A booted clone of a registered template, for the time of its verification.

    Args:
        id: the platform's own.
        address: IP address or name that this machine reaches it by.
        port: of its SSH server.
        execute: the platform's own way to run a script on it, where SSH is not to be used; called from any thread.
    """

    id: str
    address: str
    port: int = 22
    execute: Execute | None = field(default=None, repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class Job:
    """Work on a finished template that may fail by itself: a copy to a region, a share, a publication.

    Args:
        name: as in ``copy to eu-west-1``.
        do: does it, or finds it done; returns what stands now. It journals what it makes in the run it is given,
            which is its own.
    """

    name: str
    do: Callable[[Run], str]


class Registrar(Protocol):
    """One platform, for the length of a `connect` block. Called from one thread.

    Every call to the platform has a deadline and is retried by `skyvypack.registrar.retry` on errors that are known
    to pass, and on no others. Every method raises `RegistrarError`, with the platform's own words, when that fails.
    """

    def where(self) -> str:
        """Account and endpoint, as in ``root@pam at https://pve1:8006``; may ask the platform who we are."""
        ...

    def preflight(self, order: Order) -> Sequence[Obstacle]:
        """All that would make a registration or a verification fail; reads only.

        Of an order that stands already, only what remains can fail: a clone to boot, marks to change.
        Reachability and TLS come first: when they fail they are the one obstacle, as nothing else can be seen.
        """
        ...

    def plan(self, order: Order) -> Sequence[Step]:
        """What `register` will make, one step for each journaled kind, in order; reads only."""
        ...

    def expect(self, order: Order, run: Run) -> Entry:
        """Journal what Packer is about to make on the platform, by what it can be found before its id is known."""
        ...

    def register(self, order: Order, run: Run) -> Template:
        """Make a template of the order's disk, or of the order's source when Packer made one on the platform.

        Each object is journaled by `run.intend` before it is made and by `run.made` after; a retried call never makes
        two. What only helped, such as an upload, is gone when this returns (`run.undo`). The template carries
        ``order.marks(run.id)`` and no channel.
        """
        ...

    def describe(self, name: str) -> Sequence[Template]:
        """Every template of this name that a registrar of ours made, the newest first; half-made ones are not."""
        ...

    def boot(self, template: Template, user_data: str, run: Run) -> Guest:
        """Clone the template, boot the clone with first-boot user-data and wait for its address.

        Everything it makes is journaled; the caller undoes it.
        """
        ...

    def confirm(self, template: Template) -> Template:
        """Mark a template as verified."""
        ...

    def jobs(self, order: Order, template: Template) -> Sequence[Job]:
        """Work on the finished template that may fail by itself; none on most platforms."""
        ...

    def point(self, template: Template, channel: str) -> None:
        """Make a channel mean this template, and then no other; done again, it changes nothing."""
        ...

    def in_use(self, template: Template) -> Sequence[str]:
        """Why a template must not be retired, such as ``linked clone 105 (web1)``; empty when nothing uses it."""
        ...

    def retire(self, template: Template, run: Run) -> None:
        """Remove a template and all that belongs to it; what is removed in several steps is journaled first."""
        ...

    def undo(self, entry: Entry) -> None:
        """Remove what an entry of the journal stands for; called in the same run, or by `reap` in a later one.

        The object may not exist, may exist although ``entry.id`` is empty, or may be gone already: all fine. Look it
        up by ``entry.mark``, and never remove an object that does not carry ``entry.run``.
        """
        ...


Connect = Callable[[Mapping[str, Any], Progress], AbstractContextManager[Registrar]]
