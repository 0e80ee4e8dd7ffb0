"""Machines that start from an installer's disc: their hardware, somebody at the console, and the way in by SSH."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from skyvypack import command
from skyvypack.accelerator import QEMU, Accelerator
from skyvypack.link import Access, Link
from skyvypack.machine import find_ovmf

BIOS_BOOT = "21686148-6449-6E6F-744E-656564454649"
EFI_SYSTEM = "C12A7328-F81F-11D2-BA4B-00A0C93EC93B"


def free_port() -> int:
    """A TCP port of loopback on which nothing listens."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
    return port


@dataclass
class Console:
    """A machine's serial line, and somebody at it who answers what it asks: each question once, in this order.

    Args:
        log: what the machine has said, and one before it that had the same log.
        answers: a question's words, and what is typed then.
        keyboard: a socket to make, for somebody who types at the machine's keyboard and not at the serial line.
    """

    log: Path
    answers: Sequence[tuple[str, str]] = ()
    keyboard: Path | None = None
    port: int = field(default_factory=free_port)
    _seen: int = field(init=False)

    def __post_init__(self) -> None:
        self._seen = self.log.stat().st_size if self.log.exists() else 0

    def options(self) -> list[str]:
        """QEMU's, for this line."""
        where = f"host=127.0.0.1,port={self.port},server=on,wait=off,logfile={self.log},logappend=on"
        keyboard = ["-monitor", f"unix:{self.keyboard},server=on,wait=off"] if self.keyboard else []
        return ["-chardev", f"socket,id=console,{where}", "-serial", "chardev:console", *keyboard]

    def read(self) -> str:
        """What was said so far; types what is asked for."""
        said = self.log.read_bytes() if self.log.exists() else b""
        if self.answers:
            question, answer = self.answers[0]
            found = said.find(question.encode(), self._seen)
            if found >= 0:
                self._seen, self.answers = found + len(question), self.answers[1:]
                self._type(answer)
        return said.decode(errors="replace")

    def _type(self, text: str) -> None:
        if not self.keyboard:
            with socket.create_connection(("127.0.0.1", self.port)) as line:
                line.sendall(text.encode() + b"\r")
            return
        with socket.socket(socket.AF_UNIX) as monitor, monitor.makefile("rw", newline="\r\n") as lines:
            monitor.connect(str(self.keyboard))
            for key in [*("spc" if letter == " " else letter for letter in text), "ret"]:
                lines.write(f"sendkey {key}\n")
            lines.write("info version\n")
            lines.flush()
            # What was sent before is done when this is answered.
            while "info version" not in lines.readline():
                pass


@dataclass(frozen=True)
class Hardware:
    """A machine that can be switched on.

    Args:
        folder: of its console's log, its firmware's variables, and its user's key.
        accelerator: of its processors.
        disks: raw images.
        image: what is in its drive.
        uefi: it boots by UEFI.
        screen: somebody sits before its screen, and not at its serial line.
    """

    folder: Path
    accelerator: Accelerator
    disks: Sequence[Path]
    image: Path | None = None
    uefi: bool = False
    screen: bool = False

    def command(self, console: Console, network: str = "") -> list[str]:
        """QEMU's; `network` is an option of its user network."""
        argv = [QEMU, "-machine", "q35", *self.accelerator.qemu_args, "-smp", "2", "-m", "2048", "-display", "none"]
        argv += console.options()
        argv += ["-cdrom", str(self.image)] if self.image else []
        for path in self.disks:
            argv += ["-drive", f"file={path},format=raw,if=virtio,cache=unsafe"]
        if self.uefi:
            code, variables = find_ovmf()
            own = self.folder / "variables.fd"
            own.write_bytes(variables.read_bytes())
            argv += ["-drive", f"if=pflash,format=raw,readonly=on,file={code}"]
            argv += ["-drive", f"if=pflash,format=raw,file={own}"]
        return [*argv, "-nic", f"user,model=virtio-net-pci{network}"]

    @contextmanager
    def on(self, *answers: tuple[str, str], online: bool = True) -> Iterator[Link]:
        """The machine for as long as the block is open.

        Args:
            answers: what is typed at its console, as in `Console`.
            online: it reaches what is outside.

        Raises:
            AssertionError: in a wait of the link, when the machine ended, installed nothing, or took too long.
        """
        keyboard = self.folder / "keyboard" if self.screen else None
        console, ssh = Console(self.folder / "console.log", answers, keyboard), free_port()
        network = f",hostfwd=tcp:127.0.0.1:{ssh}-:22{'' if online else ',restrict=on'}"
        with subprocess.Popen(self.command(console, network)) as qemu:

            def check(deadline: float, complaint: str) -> None:
                time.sleep(1)
                said = console.read()
                assert qemu.poll() is None, f"the machine is off: {said[-2000:]}"
                assert "skyvypack: error" not in said, said[-4000:]
                assert time.monotonic() < deadline, f"{complaint}: {said[-2000:]}"

            access = Access("admin", self.folder / "id_ed25519")
            link = Link("web", self.folder, access, self.accelerator.scale, check)
            try:
                link.aim("127.0.0.1", ssh)
                yield link
                link.run("sync")
            finally:
                link.close()
                qemu.send_signal(signal.SIGTERM)

    def asks(self, question: str, timeout: float, *answers: tuple[str, str]) -> None:
        """Have it on until its console shows a question, after the answers to those before."""
        console, deadline = Console(self.folder / "console.log", answers), time.monotonic() + timeout
        with subprocess.Popen(self.command(console)) as qemu:
            try:
                while question not in (said := console.read()):
                    assert qemu.poll() is None, f"the machine is off: {said[-2000:]}"
                    assert time.monotonic() < deadline, f"{question} is not asked: {said[-2000:]}"
                    time.sleep(1)
            finally:
                qemu.send_signal(signal.SIGTERM)

    def disc_first(self, timeout: float) -> str:
        """What the console says when the firmware prefers the disc, until the machine switches itself off."""
        console = Console(self.folder / "console.log")
        subprocess.run([*self.command(console), "-boot", "order=d"], check=True, timeout=timeout)
        return console.read()


def empty(folder: Path, **sizes: str) -> list[Path]:
    """New disks by name, with nothing on them."""
    for name, size in sizes.items():
        command.run(["qemu-img", "create", "-q", "-f", "raw", folder / f"{name}.raw", size])
    return [folder / f"{name}.raw" for name in sizes]


def content(disk: Path) -> list[tuple[str, str]]:
    """Each partition's type, and what blkid finds in it."""
    table = json.loads(command.run(["sfdisk", "--json", disk]).stdout)["partitiontable"]
    found = []
    for one in table["partitions"]:
        argv = ["blkid", "-p", "-o", "value", "-s", "TYPE", "-O", str(one["start"] * table["sectorsize"])]
        argv += ["-S", str(one["size"] * table["sectorsize"]), str(disk)]
        found.append((one["type"], command.run(argv, check=False).stdout.strip()))
    return found
