"""The life of one clone: first boot, contract, maybe a reboot and contract again, power-off; and how clones differ."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from skyvypack import seed
from skyvypack.accelerator import Accelerator
from skyvypack.cloudinit import first_boot_user_data
from skyvypack.link import Access, Waiting
from skyvypack.machine import Bus, Firmware, Hardware, Machine
from skyvypack.progress import Progress
from skyvypack.spec.model import Spec, User
from skyvypack.verify.contract import Contract, Phase
from skyvypack.verify.identity import read_identity, require_cloud_init, require_same
from skyvypack.verify.judge import Broken, Judge
from skyvypack.verify.outside import Clone
from skyvypack.verify.report import Check, Outcome

PHASES: tuple[Phase, ...] = ("first boot", "after reboot")
USER = "skyvy-verify"
# Seconds, before they are scaled to the accelerator.
BOOT_SECONDS = 60.0
POWER_OFF_SECONDS = 20.0
# Seconds between two looks at the clones; nothing to scale.
_PAUSE = 0.3

# Between them they show that the template finds its root on more than one kind of disk.
_BUSES: dict[Firmware, Bus] = {"bios": "virtio-blk", "uefi": "nvme"}


@dataclass(slots=True)
class Life:
    """One clone, from its first boot to its power-off.

    Args:
        spec: of the template.
        disk: the finished disk.
        firmware: the clone's; it gives the clone its name.
        folder: a folder of its own.
        accelerator: how it runs.
        progress: told of each stage.
        claims: where this and the other clones say who shows what one of them is enough for.
        cpus: its virtual CPUs; None for the spec's.
        reboots: whether it is rebooted and judged again; it comes to those tests later. Who comes first takes them from
            their end: the longest are those of what a spec names last, and nobody should be left with them.
        powers_off: whether its power button is pressed in the end; otherwise the plug is pulled.
    """

    spec: Spec
    disk: Path
    firmware: Firmware
    folder: Path
    accelerator: Accelerator
    progress: Progress
    claims: Path | None = None
    cpus: int | None = None
    reboots: bool = True
    powers_off: bool = True
    judge: Judge = field(init=False)
    identity: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.judge = Judge(self.firmware)

    def living(self) -> Waiting[None]:
        """Live; what goes wrong with the clone becomes a failed check, and ends it."""
        try:
            with ExitStack() as stack:
                machine = self._machine()
                yield from self._first_boot(machine, stack)
                *_, last = phases = PHASES if self.reboots else PHASES[:1]
                for phase in phases:
                    if phase == "after reboot":
                        yield from self._reboot(machine)
                    yield from self._contract(machine, phase, last=phase == last)
                if self.powers_off:
                    with self.judge.judged("powers off when its power button is pressed", last):
                        yield from machine.powering_off(POWER_OFF_SECONDS)
        except Broken:
            pass

    def keep_logs(self, folder: Path) -> None:
        """Copy what a reader of the report may want to see: the console and pytest's own output."""
        logs = {"console.log": self.folder / "machine" / "console.log"}
        logs |= {f"{_slug(phase)}.log": self.folder / _slug(phase) / "pytest.log" for phase in PHASES}
        for name, log in logs.items():
            if log.is_file():
                shutil.copyfile(log, folder / f"{self.firmware}-{name}")

    def _machine(self) -> Machine:
        key, public = seed.keypair(self.folder)
        users = (*self.spec.users, User(USER, (public,), sudo=True))
        hostname = f"{self.spec.name}-{self.firmware}"
        user_data = first_boot_user_data(self.spec, hostname=hostname, users=users)
        meta_data = {"instance-id": f"{hostname}-{self.folder.parent.name}", "local-hostname": hostname}
        wish = self.spec.machine
        return Machine(
            self.firmware,
            self.disk,
            self.folder / "machine",
            accelerator=self.accelerator,
            access=Access(USER, key, ssh_port(self.spec)),
            seed=seed.make(self.folder, user_data, yaml.safe_dump(meta_data)),
            hardware=Hardware(self.firmware, _BUSES[self.firmware], self.cpus or wish.cpus, wish.memory, room=1),
        )

    def _first_boot(self, machine: Machine, stack: ExitStack) -> Waiting[None]:
        phase: Phase = "first boot"
        test = f"boots by {self.firmware} from {machine.hardware.bus}"
        with self.judge.judged(test, phase, "BAS-6"), self._stage("boot"), self.judge.timed(phase):
            stack.enter_context(machine)
            yield from machine.connecting(BOOT_SECONDS)
            yield from machine.settling(BOOT_SECONDS)
        with self.judge.judged("cloud-init applied the first-boot user-data", phase, "NET-1", fatal=False):
            require_cloud_init(machine, "qemu")
        with self.judge.judged("has an identity of its own", phase, "BAS-7"):
            self.identity = read_identity(machine)

    def _reboot(self, machine: Machine) -> Waiting[None]:
        phase: Phase = "after reboot"
        test = f"boots again by {self.firmware} from {machine.hardware.bus}"
        with self.judge.judged(test, phase, "BAS-6"), self._stage("reboot"), self.judge.timed(phase):
            yield from machine.rebooting(BOOT_SECONDS, room=1)
        with self.judge.judged("keeps its identity", phase, "BAS-7", fatal=False):
            require_same(self.identity, read_identity(machine))

    def _contract(self, machine: Machine, phase: Phase, *, last: bool) -> Waiting[None]:
        contract = Contract(
            self.spec,
            Clone(machine.name, self.firmware, USER, machine.folder),
            phase,
            self.folder / _slug(phase),
            root_shell=machine.link.root_shell,
            cwd=machine.folder,
            scale=self.accelerator.scale,
            last=last,
            claims=self.claims,
            backwards=not self.reboots,
        )
        with self._stage(f"contract, {phase}"):
            self.judge.checks += yield from contract.running()

    @contextmanager
    def _stage(self, title: str) -> Iterator[None]:
        with self.progress.stage(f"verify {self.firmware}: {title}", f"clone {self.firmware}: {title}"):
            yield


def side_by_side(lives: Sequence[Life]) -> None:
    """Run several clones' lives in this thread; leaving early, by whatever error, stops every clone."""
    running = [life.living() for life in lives]
    with ExitStack() as stack:
        for one in running:
            stack.callback(one.close)
        while running:
            for one in list(running):
                try:
                    next(one)
                except StopIteration:
                    running.remove(one)
            time.sleep(_PAUSE)


def compare(lives: Sequence[Life]) -> list[Check]:
    """Check that no two clones share an identity; nothing when there are not two to compare."""
    known = [life for life in lives if life.identity]
    checks = []
    for number, first in enumerate(known):
        for second in known[number + 1 :]:
            shared = [name for name, value in first.identity.items() if second.identity.get(name) == value]
            outcome: Outcome = "failed" if shared else "passed"
            message = f"{first.firmware} and {second.firmware} have the same {', '.join(shared)}" if shared else ""
            test = f"differs from {second.firmware} in every identity"
            checks.append(Check(("BAS-7",), "clone", test, first.firmware, "comparison", outcome, message))
    return checks


def _slug(phase: Phase) -> str:
    return phase.replace(" ", "-")


def ssh_port(spec: Spec) -> int:
    """Where the template's SSH server listens."""
    return next((int(role.settings.get("port", 22)) for role in spec.roles if role.name == "ssh"), 22)
