"""Guests for a simulated platform to host: QEMU on the disk, the seed and the cards that the platform was told of."""

from __future__ import annotations

import contextlib
import json
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from simulators.lan import CARD

from skyvypack.accelerator import choose
from skyvypack.machine import find_ovmf

# Bytes at the end of a console's log that hold a panic when there was one.
_PANIC_WITHIN = 4096
Bus = Literal["virtio-scsi-pci", "pvscsi", "nvme"]


@dataclass(frozen=True)
class Hardware:
    """What a platform gives a machine.

    Args:
        mac: address of its network card.
        bus: the disk's controller.
        card: its network card.
        firmware: ``bios`` or ``uefi``.
        memory: MiB.
        system: what its firmware says of it, as QEMU's ``-smbios`` takes it.
    """

    mac: str
    bus: Bus = "virtio-scsi-pci"
    card: str = "virtio-net-pci"
    firmware: str = "bios"
    memory: int = 2048
    system: str = ""


class Guest:
    """A guest on `simulators.lan`, which runs until `stop` or until it switches itself off.

    Its own reset ends QEMU, and another one takes over the disk, the firmware's variables and the console: under TCG a
    reset within one QEMU has not come back from the firmware for twenty minutes (see ADR 3).

    Args:
        disk: qcow2, which it writes to.
        seed: an ISO in its drive, or None.
        hardware: what it finds.
        folder: for its console and sockets; made here.
    """

    def __init__(self, disk: Path, seed: Path | None, hardware: Hardware, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.resets = 0
        self._argv = [*_words(disk, hardware, folder), *_drive(seed)]
        self._stopped = False
        self._failure: Exception | None = None
        self._lock = threading.Lock()
        self._process = self._power_on()
        self._life = threading.Thread(target=self._live, daemon=True)
        _watched.append(self)
        self._life.start()

    def _power_on(self) -> subprocess.Popen[str]:
        """Start QEMU, with its monitor (QMP) on standard input and output."""
        with (self.folder / "qemu.log").open("ab") as log:
            process = subprocess.Popen(
                self._argv, cwd=self.folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True
            )
        assert process.stdin
        with contextlib.suppress(BrokenPipeError):
            process.stdin.write('{"execute": "qmp_capabilities"}\n')  # without it, QEMU tells no events
            process.stdin.flush()
        with contextlib.suppress(subprocess.TimeoutExpired):
            if process.wait(0.3):
                raise RuntimeError(f"QEMU did not start: {(self.folder / 'qemu.log').read_text()}")
        return process

    def _live(self) -> None:
        while _why_it_ended(self._process) == "guest-reset":
            with self._lock:
                if self._stopped:
                    return
                try:
                    self._process = self._power_on()
                except (OSError, RuntimeError) as error:
                    self._failure = error
                    return
                self.resets += 1
        self._forget()

    @property
    def runs(self) -> bool:
        """Whether it is switched on."""
        return self._life.is_alive()

    def stop(self) -> None:
        """Pull the plug."""
        with self._lock:
            self._stopped = True
            self._process.kill()
        self._life.join()
        self._forget()

    def _forget(self) -> None:
        with contextlib.suppress(ValueError):
            _watched.remove(self)

    def check(self) -> None:
        """Look whether it can go on.

        Raises:
            OSError, RuntimeError: it could not be switched on again after a reset, or its kernel has panicked.
        """
        if self._failure:
            raise self._failure
        console = self.folder / "console.log"
        with contextlib.suppress(FileNotFoundError), console.open("rb") as handle:
            handle.seek(max(0, console.stat().st_size - _PANIC_WITHIN))
            if b"Kernel panic - not syncing" in handle.read():
                raise RuntimeError(f"the guest's kernel panicked, as emulated ones do at times: {console}")

    def interfaces(self) -> list[dict[str, Any]] | None:
        """What the guest's own qemu-guest-agent tells of its network cards; None as long as it does not answer."""
        with contextlib.suppress(OSError, ValueError), socket.socket(socket.AF_UNIX) as channel:
            channel.settimeout(3)
            channel.connect(str(self.folder / "agent"))
            stream = channel.makefile("rwb")
            # What an earlier conversation left unread comes first; 0xff makes the agent forget a half command.
            sync = {"execute": "guest-sync", "arguments": {"id": 4711}}
            stream.write(b"\xff" + json.dumps(sync).encode() + b'\n{"execute": "guest-network-get-interfaces"}\n')
            stream.flush()
            found = [json.loads(stream.readline().lstrip(b"\xff")) for _ in range(2)]
            while found[-2].get("return") != 4711:
                found.append(json.loads(stream.readline()))
            return list(found[-1]["return"])
        return None


_watched: list[Guest] = []


def check() -> None:
    """Look whether every guest that has not ended can go on; raises as `Guest.check`."""
    for guest in list(_watched):
        guest.check()


def _why_it_ended(process: subprocess.Popen[str]) -> str:
    """Wait for QEMU's end; QMP's word for its reason, such as ``guest-shutdown``, empty where it told none."""
    reason = ""
    with process:
        for line in process.stdout or ():
            told = json.loads(line)
            if told.get("event") == "SHUTDOWN":
                reason = told["data"]["reason"]
    return reason


def _words(disk: Path, hardware: Hardware, folder: Path) -> Iterator[str]:
    accelerator = choose(None, cache=folder.parent)
    yield from ["qemu-system-x86_64", "-nodefaults", "-no-user-config", "-machine", "q35", "-display", "none"]
    yield from [*accelerator.qemu_args, "-smp", "2", "-m", str(hardware.memory), "-vga", "std"]
    if hardware.firmware == "uefi":
        code, variables = find_ovmf()
        shutil.copyfile(variables, folder / "vars.fd")
        for unit, file in enumerate((f"readonly=on,file={code}", "file=vars.fd")):
            yield from ["-drive", f"if=pflash,format=raw,unit={unit},{file}"]
    yield from ["-drive", f"if=none,id=disk,format=qcow2,cache=unsafe,discard=unmap,file={disk}"]
    if hardware.bus == "nvme":
        yield from ["-device", "nvme,drive=disk,serial=root,bootindex=0"]
    else:
        yield from ["-device", f"{hardware.bus},id=scsi", "-device", "scsi-hd,drive=disk,bus=scsi.0,bootindex=0"]
    if hardware.system:
        yield from ["-smbios", hardware.system]
    yield from ["-netdev", f"tap,id=net,ifname={CARD},script=no,downscript=no"]
    yield from ["-device", f"{hardware.card},netdev=net,mac={hardware.mac},romfile=", "-device", "virtio-rng-pci"]
    yield from ["-chardev", "file,id=console,path=console.log,append=on", "-serial", "chardev:console"]
    yield from ["-chardev", "socket,id=agent,path=agent,server=on,wait=off", "-device", "virtio-serial-pci"]
    yield from ["-device", "virtserialport,chardev=agent,name=org.qemu.guest_agent.0"]
    yield from ["-qmp", "stdio", "-no-reboot"]


def _drive(seed: Path | None) -> list[str]:
    if seed is None:
        return []
    return ["-drive", f"if=none,id=seed,format=raw,readonly=on,media=cdrom,file={seed}", "-device", "ide-cd,drive=seed"]
