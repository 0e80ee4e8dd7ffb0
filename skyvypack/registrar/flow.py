"""Registers a template: what is done on any platform, in which order, and what holds when a step fails.

look → preflight → register → boot a clone and prove it → *finished* → confirm → jobs → channel → retire

Until the template is finished, whatever goes wrong undoes everything; from then on nothing takes it away again. An
earlier template is touched only when the new one is finished, verified and pointed to.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from skyvypack import runs
from skyvypack.artifact import Artifact, load
from skyvypack.errors import InputError
from skyvypack.progress import Progress, Reporter, silent
from skyvypack.registrar.contract import (
    Guest,
    Order,
    Plan,
    PreflightFailed,
    Registrar,
    RegistrarError,
    Step,
    Template,
)
from skyvypack.registrar.find import find
from skyvypack.registrar.journal import Entry, Journal, Run
from skyvypack.registrar.survey import survey
from skyvypack.registrar.upkeep import Retirement, candidates, retire_all
from skyvypack.spec.model import Spec

if TYPE_CHECKING:
    from skyvypack.verify import Report


@dataclass(frozen=True, slots=True)
class JobResult:
    """What came of one job.

    Args:
        name: as in ``copy to eu-west-1``.
        stands: what stands now; empty when it failed.
        error: why it failed; empty when it did not.
    """

    name: str
    stands: str = ""
    error: str = ""


@dataclass(frozen=True, slots=True)
class Registration:
    """What a registration came to.

    Args:
        template: it stands, whatever else failed.
        unchanged: True when this very disk was registered already.
        report: what a clone proved on the platform; None when that was not wanted, or had been proven before.
        jobs: what came of each.
        channel: that points to it now; empty for none.
        retirement: older ones that went, and those that did not and why; None when not asked for.
        left: what only helped and could not be removed: `reap` will.
        timings: seconds of each stage, and ``total``.
    """

    template: Template
    unchanged: bool = False
    report: Report | None = None
    jobs: tuple[JobResult, ...] = ()
    channel: str = ""
    retirement: Retirement | None = None
    left: tuple[Entry, ...] = ()
    timings: Mapping[str, float] = field(default_factory=dict)

    @property
    def complete(self) -> bool:
        """True when no job failed and nothing was left behind."""
        return not self.left and not any(job.error for job in self.jobs)


@dataclass(frozen=True, slots=True)
class Wishes:
    """How a registration is to be done.

    Args:
        channel: to move to the new template once it is verified; empty for none.
        keep: how many templates of this name to keep, the new one among them; None to retire none.
        verify: boot a clone on the platform and run the contract on it.
        manifest: URL of the manifest, for the template's description.
        patience: by how much the deadlines of the verification grow, where the platform's guests are slow.
    """

    channel: str = ""
    keep: int | None = None
    verify: bool = True
    manifest: str = ""
    patience: float = 1.0

    def check(self) -> None:
        """Refuse what makes no sense.

        Raises:
            InputError: a channel or a number to keep without verification, a channel with an odd name, or a number to
                keep or a patience below one.
        """
        if self.channel and not re.fullmatch(r"[a-z0-9][a-z0-9_.-]{0,31}", self.channel):
            raise InputError(f"{self.channel!r} is no name for a channel", "lower-case letters, digits, - _ .: stable")
        if self.channel and not self.verify:
            raise InputError("a channel moves only to a verified template", "leave out --no-verify, or --channel")
        if self.keep is not None and self.keep < 1:
            raise InputError(f"cannot keep {self.keep} templates: the new one is the first", "give --keep 1 or more")
        if self.keep is not None and not self.verify:
            raise InputError("older templates go only for a verified one", "leave out --no-verify, or --keep")
        if not self.patience >= 1:
            raise InputError(f"deadlines cannot grow by {self.patience:g}", "give --patience 1 or more")


class Prover(Protocol):
    """Runs the contract on a booted clone; `skyvypack.verify.remote` has the one that is used."""

    @property
    def user_data(self) -> str:
        """What the clone must boot with."""
        ...

    def prove(self, guest: Guest, template: Template, progress: Progress) -> Report:
        """Run the contract, reboot, run it again."""
        ...


class Remote(Protocol):
    """A bake on the platform itself; `skyvypack.registrar.deliver` has the one that runs Packer."""

    @property
    def digest(self) -> str:
        """``bundle:…``: what the template is a function of."""
        ...

    def build(self, progress: Progress) -> str:
        """Bake; returns the platform's id of what was made. A failure leaves nothing there."""
        ...


Source = Artifact | Path | Remote


def order_of(spec: Spec, target: str, source: Source, wishes: Wishes = Wishes()) -> Order:
    """What is to be registered.

    Args:
        spec: what was baked.
        target: where it shall live.
        source: the artifact or its folder; or a bake on the platform.
        wishes: for the manifest's URL.

    Raises:
        InputError: the artifact is of another spec, for another target, or lacks the disk format.
    """
    registrar = find(target)
    if isinstance(source, Path):
        if not source.exists():
            raise InputError(f"there is no artifact {source}", f"bake it: python -m skyvypack bake --target {target}")
        source = load(source)
    if not isinstance(source, Artifact):
        return Order(spec, target, source.digest, None, "", wishes.manifest, wishes.verify)
    if (source.name, source.version) != (spec.name, spec.version):
        raise InputError(
            f"{source.folder} holds {source.name} {source.version}, the spec is {spec.name} {spec.version}",
            "give the spec that it was baked from",
        )
    if source.target != target:
        raise InputError(
            f"{source.folder} was baked for {source.target}: its clones would look for their data where {target} "
            "has none",
            f"bake it for {target}: python -m skyvypack bake --target {target}",
        )
    disk = source.file(registrar.DISK)
    return Order(spec, target, f"sha256:{disk.sha256}", disk, "", wishes.manifest, wishes.verify)


def plan(spec: Spec, target: str, source: Source, *, wishes: Wishes = Wishes(), report: Reporter = silent) -> Plan:
    """What `register` would do. Only reads, here and on the platform.

    Args:
        spec: what was baked.
        target: where it shall live.
        source: the artifact or its folder; or a bake on the platform.
        wishes: as for `register`.
        report: called with each `Event`, such as a call that is repeated.

    Raises:
        InputError: the target has no registrar, or the source does not fit.
        RegistrarError: the platform could not be read although nothing stands in the way.
    """
    wishes.check()
    order = order_of(spec, target, source, wishes)
    with find(target).connect(order.settings, Progress(report)) as registrar:
        standing, obstacles = survey(registrar, order, Journal(target), wishes.channel)
        if obstacles:
            return Plan(target, "", (), tuple(obstacles))
        return Plan(target, registrar.where(), tuple(_steps(registrar, order, standing, wishes)))


def _steps(registrar: Registrar, order: Order, standing: Template | None, wishes: Wishes) -> Iterator[Step]:
    if standing is None:
        yield from registrar.plan(order)
    if wishes.verify and not (standing and standing.verified):
        yield Step("verify", f"boot a clone of {order.title}, run the contract on it, destroy it")
    new = standing or Template(order.target, "", order.spec.name, order.spec.version, order.digest, "", "")
    for job in registrar.jobs(order, new):
        yield Step("job", job.name)
    if wishes.channel and wishes.channel not in new.channels:
        yield Step("channel", f"move {wishes.channel} to {order.title}")
    if wishes.keep is not None:
        for old in candidates(registrar.describe(order.spec.name), new, wishes.keep, wishes.channel):
            yield Step("retire", f"retire {old.title} ({old.id}) unless something uses it")


def register(
    spec: Spec,
    target: str,
    source: Source,
    *,
    wishes: Wishes = Wishes(),
    prover: Prover | None = None,
    logs: Path | None = None,
    report: Reporter = silent,
) -> Registration:
    """Register a template on a platform, prove it there, and point a channel to it.

    Done again with the same disk, it takes up where it stopped: what is registered is not registered twice.

    Args:
        spec: what was baked.
        target: where it shall live.
        source: the artifact or its folder; or a bake on the platform.
        wishes: channel, how many to keep, whether to verify.
        prover: how a clone is proven; `skyvypack.verify.remote.RemoteProver` by default.
        logs: folder for the verification's report; None to keep none.
        report: called with each `Event`.

    Raises:
        InputError: the target has no registrar, the source does not fit, or the wishes contradict each other.
        PreflightFailed: the platform is not ready; every obstacle at once, and nothing was made.
        RegistrarError: the platform refused or could not be reached; what was begun is undone.
        ContractFailed: the clone broke the contract; the template is gone, earlier ones are as they were.
    """
    wishes.check()
    order = order_of(spec, target, source, wishes)
    progress = Progress(report)
    journal = Journal(target)
    with ExitStack() as stack:
        _own(journal, order, progress, stack)
        registrar = stack.enter_context(find(target).connect(order.settings, progress))
        with progress.stage("preflight", f"See whether {target} is ready"):
            standing, obstacles = survey(registrar, order, journal, wishes.channel)
            if obstacles:
                raise PreflightFailed(obstacles)
        remote = None if isinstance(source, (Artifact, Path)) else source
        job = _Job(order, wishes, registrar, journal, progress, prover, logs, remote)
        return job.do(standing)


def _own(journal: Journal, order: Order, progress: Progress, stack: ExitStack) -> None:
    """One registration at a time of each name from this machine."""
    path = journal.folder / f"{order.spec.name}.lock"
    if not stack.enter_context(runs.lock(path, wait=False)):
        progress.note("preflight", f"another registration of {order.spec.name} is at work: waiting for it")
        stack.enter_context(runs.lock(path))


@dataclass(frozen=True, slots=True)
class _Job:
    order: Order
    wishes: Wishes
    registrar: Registrar
    journal: Journal
    progress: Progress
    prover: Prover | None
    logs: Path | None
    remote: Remote | None

    def do(self, standing: Template | None) -> Registration:
        template, report, left = self._make(standing)
        if report is not None:
            template = self.registrar.confirm(template)
        jobs, stuck = self._jobs(template), self._point(template)
        # As long as the channel may point to an older one, none goes.
        retirement = None if stuck else self._retire(template)
        channel = "" if stuck else self.wishes.channel
        times = self.progress.times()
        return Registration(template, standing is not None, report, (*jobs, *stuck), channel, retirement, left, times)

    @contextmanager
    def _run(self) -> Iterator[Run]:
        settings, undo = self.order.settings, self.registrar.undo
        with self.journal.run(settings, self.order.title, undo, self.progress) as run:
            yield run

    def _make(self, standing: Template | None) -> tuple[Template, Report | None, tuple[Entry, ...]]:
        """The finished template. Leaving `_run` by an error undoes it; `finish` is the moment after which it stays."""
        with self._run() as run:
            if standing is None:
                order = self._baked(run)
                with self.progress.stage("register", f"Register {order.title}"):
                    template = self.registrar.register(order, run)
            else:
                template = standing
            report = self._verify(template, run)
            run.finish()
            return template, report, tuple(run.left)

    def _baked(self, run: Run) -> Order:
        """The order; for a bake on the platform, with the id of what it made."""
        if self.remote is None:
            return self.order
        entry = self.registrar.expect(self.order, run)
        made = self.remote.build(self.progress)
        run.made(entry, made)
        return dataclasses.replace(self.order, source=made)

    def _verify(self, template: Template, run: Run) -> Report | None:
        if not self.wishes.verify or template.verified:
            return None
        with ExitStack() as stack:
            prover = self.prover or self._prover(stack)
            stack.enter_context(run.temporary())
            with self.progress.stage("clone", f"Boot a clone of {template.title}"):
                guest = self.registrar.boot(template, prover.user_data, run)
            report = prover.prove(guest, template, self.progress)
        report.require()
        return report

    def _prover(self, stack: ExitStack) -> Prover:
        from skyvypack.verify.remote import RemoteProver

        return stack.enter_context(RemoteProver.of(self.order.spec, self.order.target, self.logs, self.wishes.patience))

    def _jobs(self, template: Template) -> tuple[JobResult, ...]:
        done = []
        for job in self.registrar.jobs(self.order, template):
            try:
                with self.progress.stage(job.name, job.name.capitalize()), self._run() as run:
                    stands = job.do(run)
                    run.finish()
                done.append(JobResult(job.name, stands))
            except RegistrarError as error:
                done.append(JobResult(job.name, error=str(error)))
        return tuple(done)

    def _point(self, template: Template) -> list[JobResult]:
        """Why the channel could not be moved; nothing when it could. What else stands is to be told all the same."""
        channel = self.wishes.channel
        try:
            if channel:
                with self.progress.stage("channel", f"Move {channel} to {template.title}"):
                    self.registrar.point(template, channel)
        except RegistrarError as error:
            return [JobResult(f"channel {channel}", error=str(error))]
        return []

    def _retire(self, template: Template) -> Retirement | None:
        if self.wishes.keep is None:
            return None
        templates: Sequence[Template] = self.registrar.describe(template.name)
        old = candidates(templates, template, self.wishes.keep, self.wishes.channel)
        return retire_all(self.registrar, self.journal, self.order.settings, old, self.progress)
