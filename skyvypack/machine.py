"""A QEMU guest on a copy-on-write overlay of a disk that is never written.

Long waits come in two forms: ``connecting()``, ``settling()``, ``rebooting()`` are generators that yield after each
short look, so that one thread can watch several guests; `wait` runs one of them to its end.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Literal, Self, TypeVar

from skyvypack import command
from skyvypack.accelerator import QEMU, Accelerator
from skyvypack.command import Done
from skyvypack.console import Console
from skyvypack.errors import ContractFailed, InputError, ToolMissing
from skyvypack.link import Access, Link, Waiting, last_line
from skyvypack.qmp import NETWORK, SOCKET, Monitor

Firmware = Literal["bios", "uefi"]
Bus = Literal["virtio-blk", "virtio-scsi", "nvme", "sata", "pvscsi"]
Card = Literal["virtio-net-pci", "vmxnet3"]
T = TypeVar("T")

GIB = 1024**3
_OVMF = ("OVMF_CODE_4M.fd", "OVMF_VARS_4M.fd")
_OVMF_FOLDERS = (Path("/usr/share/OVMF"), Path("/usr/share/edk2/ovmf"), Path("/usr/share/edk2/x64"))
_DISK_DEVICES: dict[Bus, tuple[str, ...]] = {
    "virtio-blk": ("virtio-blk-pci,drive=disk,bootindex=0",),
    "virtio-scsi": ("virtio-scsi-pci,id=scsi", "scsi-hd,drive=disk,bootindex=0,bus=scsi.0"),
    "nvme": ("nvme,drive=disk,serial=skyvypack,bootindex=0",),
    "sata": ("ide-hd,drive=disk,bootindex=0,bus=ide.0",),  # q35 has an AHCI controller of its own
    "pvscsi": ("pvscsi,id=scsi", "scsi-hd,drive=disk,bootindex=0,bus=scsi.0"),
}
_PAUSE = 0.5


@dataclass(frozen=True, slots=True)
class Hardware:
    """The machine a guest finds.

    Args:
        firmware: ``bios`` (SeaBIOS) or ``uefi`` (OVMF).
        bus: what the disk hangs on.
        cpus: virtual CPUs.
        memory: MiB.
        room: GiB by which the guest's disk is bigger than the file it is an overlay of.
        card: its network card.
    """

    firmware: Firmware = "bios"
    bus: Bus = "virtio-blk"
    cpus: int = 2
    memory: int = 2048
    room: int = 0
    card: Card = "virtio-net-pci"


class Machine:
    """A guest that runs for as long as the block is open; it and its overlay never outlive it.

    Start it from the main thread (see `command.start`).

    Args:
        name: short, for messages and as the name of the SSH host.
        disk: a qcow2 file; it is opened for reading only.
        folder: an empty folder of its own for everything the guest needs; removing it is the caller's.
        accelerator: how the guest runs, and by how much the deadlines grow.
        access: how to get in.
        seed: NoCloud ISO; None for no seed.
        hardware: what the guest finds.
    """

    def __init__(
        self,
        name: str,
        disk: Path,
        folder: Path,
        *,
        accelerator: Accelerator,
        access: Access,
        seed: Path | None = None,
        hardware: Hardware = Hardware(),
    ) -> None:
        self.name = name
        self.disk = disk
        self.folder = folder
        self.accelerator = accelerator
        self.access = access
        self.seed = seed
        self.hardware = hardware
        self.console = Console(folder / "console.log", accelerator.scale)
        self._console_log = folder / "console.log"
        self._overlay = folder / "overlay.qcow2"
        self._firmware: list[str] = []
        self.link = Link(name, folder, access, accelerator.scale, self._check)
        self.monitor = Monitor(folder)
        self._life = ExitStack()
        self._qemu: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        """Make the overlay and start the guest.

        Raises:
            InputError: the disk is missing or is no qcow2 file.
            ToolMissing: QEMU or the UEFI firmware is not installed.
            ContractFailed: QEMU refused to start.
        """
        size = check_disk(self.disk) + self.hardware.room * GIB
        ovmf = find_ovmf() if self.hardware.firmware == "uefi" else None
        self.folder.mkdir(parents=True, exist_ok=True)
        if ovmf:
            code, variables = ovmf
            self._firmware = [f"readonly=on,file={_escaped(code)}", "file=vars.fd"]
            shutil.copyfile(variables, self.folder / "vars.fd")
        create: list[str | Path] = ["qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", self.disk.resolve()]
        command.run([*create, self._overlay, str(size)])
        self._power_on()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._life.close()

    def _power_on(self) -> None:
        printed = self._console_log.stat().st_size if self._console_log.exists() else 0
        self.console = Console(self._console_log, self.accelerator.scale, begin=printed)
        (self.folder / SOCKET).unlink(missing_ok=True)
        with ExitStack() as stack:
            errors = stack.enter_context((self.folder / "qemu.log").open("wb"))
            argv = [QEMU, *self._arguments()]
            self._qemu = stack.enter_context(command.start(argv, cwd=self.folder, stdout=errors))
            stack.callback(self.monitor.quit)
            stack.callback(self.link.close)
            self._wait_for_monitor()
            self.link.aim("127.0.0.1", self.monitor.forward(self.access.port))
            self._life = stack.pop_all()

    def _arguments(self) -> list[str]:
        hardware = self.hardware
        words = ["-nodefaults", "-no-user-config", "-name", self.name, "-machine", "q35", "-display", "none"]
        words += [*self.accelerator.qemu_args, "-smp", str(hardware.cpus), "-m", str(hardware.memory)]
        for unit, file in enumerate(self._firmware):
            words += ["-drive", f"if=pflash,format=raw,unit={unit},{file}"]
        # The overlay is thrown away, so nothing needs to reach the platter.
        words += ["-drive", "if=none,id=disk,format=qcow2,cache=unsafe,discard=unmap,file=overlay.qcow2"]
        for device in _DISK_DEVICES[hardware.bus]:
            words += ["-device", device]
        if self.seed:
            words += ["-drive", f"if=none,id=seed,format=raw,readonly=on,file={_escaped(self.seed.resolve())}"]
            words += ["-device", "virtio-blk-pci,drive=seed"]
        words += ["-netdev", f"user,id={NETWORK},ipv4=on,ipv6=on"]
        words += ["-device", f"{hardware.card},netdev={NETWORK},romfile=", "-device", "virtio-rng-pci"]
        # A small screen: under UEFI the kernel draws each line that it prints, for which an emulated one takes seconds.
        words += ["-device", "VGA,xres=640,yres=480"]
        words += ["-chardev", "file,id=console,path=console.log,append=on", "-serial", "chardev:console"]
        # Relative, because a socket's path has at most 107 bytes; QEMU runs in the folder.
        words += ["-qmp", f"unix:{SOCKET},server=on,wait=off"]
        return [*words, "-no-reboot"]  # see `rebooting`

    def _wait_for_monitor(self, seconds: float = 30.0) -> None:
        deadline = time.monotonic() + seconds
        while not self.monitor.answers():
            self._check_alive()
            if time.monotonic() > deadline:
                raise ContractFailed(f"clone {self.name}: QEMU did not open its monitor within {seconds:.0f} s")
            time.sleep(0.05)

    def ssh(self, *options: str) -> list[str]:
        """The command line of an SSH client for this guest, up to the remote command; to be run in `folder`."""
        return self.link.ssh(*options)

    def run(self, script: str, *, timeout: float = 30.0, check: bool = True) -> Done:
        """Run a shell command in the guest; see `Link.run`."""
        return self.link.run(script, timeout=timeout, check=check)

    def connecting(self, seconds: float) -> Waiting[None]:
        """Wait until SSH lets us in, and keep that connection for all that follows.

        Args:
            seconds: until we give up, before they are scaled to the accelerator.

        Raises:
            ContractFailed: the guest panicked, ended or did not answer in time; says what its console showed last.
        """
        return self.link.connecting(self._deadline(seconds))

    def settling(self, seconds: float) -> Waiting[str]:
        """Wait until nothing is left to start; returns systemd's word for the outcome, such as ``running``."""
        return self.link.settling(self._deadline(seconds))

    def rebooting(self, seconds: float, room: int = 0) -> Waiting[str]:
        """Reboot from inside, and wait for the new boot to settle; returns as `settling`.

        The guest's own reset ends QEMU, and another one takes over the disk and the firmware's variables. A reset
        within one QEMU has been seen to spend more than a minute in the firmware and the boot loader under TCG.

        Args:
            seconds: until we give up, before they are scaled to the accelerator.
            room: GiB by which the disk is bigger afterwards, as when an administrator enlarges it.
        """
        deadline = self._deadline(seconds)
        self.run("sudo systemctl reboot", check=False)
        yield from self._ending(deadline, "does not go down for a reboot")
        self._life.close()
        command.run(["qemu-img", "resize", "-q", self._overlay, f"+{room}G"])
        self._power_on()
        yield from self.link.connecting(deadline)
        return (yield from self.link.settling(deadline))

    def powering_off(self, seconds: float) -> Waiting[None]:
        """Press the power button, and wait for the guest to switch itself off."""
        deadline = self._deadline(seconds)
        self.link.close()
        self.monitor.execute("system_powerdown")
        yield from self._ending(deadline, "does not switch itself off when its power button is pressed")

    def _ending(self, deadline: float, complaint: str) -> Waiting[None]:
        assert self._qemu is not None
        while self._qemu.poll() is None:
            if time.monotonic() > deadline:
                raise self._failed(complaint)
            yield

    def _deadline(self, seconds: float) -> float:
        return time.monotonic() + seconds * self.accelerator.scale

    def _check(self, deadline: float, complaint: str) -> None:
        self._check_alive()
        if time.monotonic() > deadline:
            raise self._failed(complaint)

    def _check_alive(self) -> None:
        if self._qemu is not None and self._qemu.poll() is not None:
            last = last_line(self.folder / "qemu.log") or f"exit code {self._qemu.returncode}"
            raise ContractFailed(f"clone {self.name}: QEMU has ended: {last}")
        self.console.poll()
        if self.console.fatal():
            raise self._failed("cannot go on")

    def _failed(self, complaint: str) -> ContractFailed:
        self.console.poll()
        diagnosis = self.console.diagnose()
        return ContractFailed(f"clone {self.name} {complaint}: {diagnosis}", diagnosis.hint)


def wait(waiting: Waiting[T]) -> T:
    """Run one wait of a `Machine` to its end and return what it returns."""
    while True:
        try:
            next(waiting)
        except StopIteration as end:
            value: T = end.value
            return value
        time.sleep(_PAUSE)


def check_disk(disk: Path) -> int:
    """The virtual size of a qcow2 file in bytes.

    Raises:
        InputError: it is missing, or no qcow2 file.
    """
    if not disk.is_file():
        raise InputError(f"there is no disk {disk}")
    done = command.run(["qemu-img", "info", "-U", "--output=json", disk], check=False)
    facts = json.loads(done.stdout) if not done.returncode else {}
    if facts.get("format") != "qcow2":
        raise InputError(f"{disk} is no qcow2 disk", "give the .qcow2 file of a bake")
    return int(facts["virtual-size"])


def find_ovmf() -> tuple[Path, Path]:
    """The UEFI firmware's code and its pristine variables.

    Raises:
        ToolMissing: OVMF is not installed.
    """
    for folder in _OVMF_FOLDERS:
        code, variables = (folder / name for name in _OVMF)
        if code.is_file() and variables.is_file():
            return code, variables
    raise ToolMissing("OVMF, QEMU's UEFI firmware, is not installed", "run: python -m skyvypack doctor --fix")


def _escaped(path: Path) -> str:
    """A path as a value in QEMU's comma-separated options."""
    return str(path).replace(",", ",,")
