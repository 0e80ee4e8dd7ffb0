"""Proves a clone that runs somewhere else: first boot, contract, reboot, contract, all over its address, or by
what the platform executes on it.

How the clone came to be, and how it goes, is its registrar's.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from skyvypack import runs, seed, targets
from skyvypack.cloudinit import first_boot_user_data
from skyvypack.errors import ContractFailed
from skyvypack.link import Access, Link, Waiting
from skyvypack.machine import wait
from skyvypack.progress import Progress
from skyvypack.registrar.contract import Guest, Template
from skyvypack.spec.model import Spec, User
from skyvypack.verify.clones import BOOT_SECONDS, USER, ssh_port
from skyvypack.verify.contract import Contract, Phase
from skyvypack.verify.identity import read_identity, require_cloud_init, require_same
from skyvypack.verify.judge import Broken, Judge
from skyvypack.verify.outside import Clone
from skyvypack.verify.relay import Relay
from skyvypack.verify.report import Report

_PLATFORM_SECONDS = 4 * BOOT_SECONDS


@dataclass(slots=True)
class RemoteProver:
    """Proves one clone of a registered template; made by `of`, which ends it.

    Args:
        spec: what was baked.
        target: where the clone lives; gives it its name.
        folder: of its own, for keys and logs.
        scale: of the deadlines, where guests are emulated.
    """

    spec: Spec
    target: str
    folder: Path
    scale: float = 1.0
    judge: Judge = field(init=False)
    _access: Access = field(init=False)
    _public: str = field(init=False)

    def __post_init__(self) -> None:
        self.judge = Judge(self.target)
        key, self._public = seed.keypair(self.folder)
        self._access = Access(USER, key, ssh_port(self.spec))

    @classmethod
    @contextmanager
    def of(cls, spec: Spec, target: str, logs: Path | None, scale: float = 1.0) -> Iterator[RemoteProver]:
        """A prover with a key of its own, gone with the block; its report and logs are copied to `logs`."""
        with runs.run_folder() as run:
            prover = cls(targets.equipped(spec, target), target, run / "clone", scale)
            try:
                yield prover
            finally:
                if logs:
                    prover.keep_logs(logs)

    @property
    def user_data(self) -> str:
        """First-boot user-data as a user would give, with an account of ours besides."""
        users = (*self.spec.users, User(USER, (self._public,), sudo=True))
        return first_boot_user_data(self.spec, hostname=f"{self.spec.name}-verify", users=users, target=self.target)

    def prove(self, guest: Guest, template: Template, progress: Progress) -> Report:
        """Run the contract on a booted clone, reboot it, and run it again.

        Args:
            guest: booted with `user_data`.
            template: it is a clone of.
            progress: told of each stage.
        """
        link = self._link(guest)
        link.aim(guest.address, guest.port)
        try:
            wait(self._living(link, guest, progress))
        except Broken:
            pass
        finally:
            link.close()
        report = Report(
            template=template.title,
            disk=template.id,
            clones=(self.target,),
            checks=tuple(self.judge.checks),
            digest_before=template.digest,
            digest_after=template.digest,
            boots=dict(self.judge.boots),
            accelerator=guest.address,
        )
        report.write_junit(self.folder / "contract.xml")
        return report

    def _link(self, guest: Guest) -> Link:
        if guest.execute:
            return Relay(self.target, self.folder, guest.execute, self.scale, self._check)
        return Link(self.target, self.folder, self._access, self.scale, self._check)

    def keep_logs(self, folder: Path) -> None:
        """Copy the report, and what pytest printed."""
        folder.mkdir(parents=True, exist_ok=True)
        for log in (self.folder / "contract.xml", *self.folder.glob("*/pytest.log")):
            if log.is_file():
                name = log.name if log.parent == self.folder else f"{log.parent.name}.log"
                (folder / f"{self.target}-{name}").write_bytes(log.read_bytes())

    def _living(self, link: Link, guest: Guest, progress: Progress) -> Waiting[None]:
        with self.judge.judged(f"boots on {self.target}", "first boot", "BAS-6"), self._boot("first boot", progress):
            yield from link.connecting(self._deadline())
            yield from link.settling(self._deadline())
        with self.judge.judged("cloud-init applied the first-boot user-data", "first boot", "NET-1", fatal=False):
            require_cloud_init(link, self.target)
        with self.judge.judged("has an identity of its own", "first boot", "BAS-7"):
            identity = read_identity(link)
        yield from self._contract(link, guest, "first boot", progress, last=False)
        test = f"boots again on {self.target}"
        with self.judge.judged(test, "after reboot", "BAS-6"), self._boot("after reboot", progress):
            yield from self._rebooting(link)
        with self.judge.judged("keeps its identity", "after reboot", "BAS-7", fatal=False):
            require_same(identity, read_identity(link))
        yield from self._contract(link, guest, "after reboot", progress, last=True)

    def _rebooting(self, link: Link) -> Waiting[None]:
        boot = "cat /proc/sys/kernel/random/boot_id"
        before = link.run(boot).stdout
        link.reboot()
        deadline = self._deadline()
        while True:
            yield from link.connecting(deadline)
            if link.run(boot, check=False).stdout not in ("", before):
                break
            # The old system still answered.
            self._check(deadline, "does not go down for a reboot")
            yield
        yield from link.settling(deadline)

    def _contract(self, link: Link, guest: Guest, phase: Phase, progress: Progress, *, last: bool) -> Waiting[None]:
        contract = Contract(
            self.spec,
            Clone(self.target, self.spec.machine.firmware, USER, self.folder, guest.address, bool(guest.execute)),
            phase,
            self.folder / phase.replace(" ", "-"),
            root_shell=link.root_shell,
            cwd=self.folder,
            scale=self.scale,
            last=last,
        )
        with progress.stage(f"verify: contract, {phase}", f"clone on {self.target}: contract, {phase}"):
            self.judge.checks += yield from contract.running()

    @contextmanager
    def _boot(self, phase: Phase, progress: Progress) -> Iterator[None]:
        with progress.stage(f"verify: {phase}", f"clone on {self.target}: {phase}"), self.judge.timed(phase):
            yield

    def _deadline(self) -> float:
        return time.monotonic() + _PLATFORM_SECONDS * self.scale

    def _check(self, deadline: float, complaint: str) -> None:
        if time.monotonic() > deadline:
            raise ContractFailed(f"clone on {self.target} {complaint}", "look at its console on the platform")
