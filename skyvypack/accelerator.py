"""KVM where it works, TCG where it does not: found out by booting a kernel, never by looking at /dev/kvm.

`/dev/kvm` can exist, open and start a machine whose firmware prints, and still leave every ordinary kernel without a
sign of life (seen with nested virtualization). So the probe boots a kernel for a few seconds and believes its first
console line only.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import platform
import queue
import re
import subprocess
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from skyvypack import command
from skyvypack.errors import InputError, ToolMissing

Name = Literal["kvm", "tcg"]
Wish = Literal["auto", "kvm", "tcg"]
# What a probe found: the -cpu that KVM works with, empty when it does not work, and the reason.
Answer = tuple[str, str]

QEMU = "qemu-system-x86_64"
OLDEST_QEMU = 6
_KVM = Path("/dev/kvm")
_PROBE_SECONDS = 8.0
# Measured: a Debian guest boots 5 to 10 times slower when its instructions are translated.
_TCG_SCALE = 8.0
_TCG_ARGS = ("-accel", "tcg,thread=multi", "-cpu", "max")
# Some nested hosts offer a CPU whose arch-capabilities QEMU cannot set, upon which it aborts.
_KVM_CPUS = ("host", "host,-arch-capabilities")
_KERNEL_SPEAKS = b"Linux version "


@dataclass(frozen=True, slots=True)
class Accelerator:
    """How guests run on this host.

    Args:
        name: ``kvm`` or ``tcg``, as Packer's and QEMU's accelerator is called.
        reason: why, in a user's words.
        qemu_args: what QEMU needs for it: ``-accel`` and ``-cpu``.
        scale: by how much every deadline grows; 1.0 with KVM and two CPUs.
    """

    name: Name
    reason: str
    qemu_args: tuple[str, ...]
    scale: float

    def cpus(self, wanted: int, guests: int) -> int:
        """Virtual CPUs of each of several guests that run at the same time.

        Args:
            wanted: of each guest.
            guests: how many there are.

        Returns:
            With KVM what is wanted. Translated CPUs spend it spinning when they wait for one of their own that has to
            wait for a processor (ADR 8), so without it at most each guest's share of this host's.
        """
        return wanted if self.name == "kvm" else max(1, min(wanted, (os.cpu_count() or 1) // guests))


def choose(kernel: Path | None, wish: Wish = "auto", *, cache: Path) -> Accelerator:
    """Choose the accelerator; asks the host at most once for each kernel, QEMU and boot.

    Args:
        kernel: a bzImage to probe KVM with, best the layer's own; the host's newest kernel when None.
        wish: ``auto``; ``tcg`` to take it without a probe; ``kvm`` to insist on it.
        cache: the cache folder, which keeps the answer in ``accelerator.json``.

    Raises:
        ToolMissing: QEMU is not installed, or older than 6.
        InputError: KVM was insisted on and does not work.
    """
    qemu = qemu_version()
    if wish == "tcg":
        return _tcg("asked for")
    chosen = _auto(kernel or _host_kernel(), qemu, cache / "accelerator.json")
    if wish == "kvm" and chosen.name != "kvm":
        raise InputError(f"KVM was asked for, but {chosen.reason}", "leave the accelerator to 'auto', or choose 'tcg'")
    return chosen


def qemu_version() -> str:
    """QEMU's version, such as ``7.2.22``.

    Raises:
        ToolMissing: it is not installed, or older than 6.
    """
    text = command.run([QEMU, "--version"]).stdout
    found = re.search(r"version (\d+)[.\d]*", text)
    if not found or int(found[1]) < OLDEST_QEMU:
        version = found[0].removeprefix("version ") if found else "unknown"
        raise ToolMissing(f"QEMU is too old: {version}, need {OLDEST_QEMU} or newer", "use Debian 12 or newer")
    return found[0].removeprefix("version ")


def _cpu_scale() -> float:
    return max(1.0, 2.0 / (os.cpu_count() or 1))


def _tcg(reason: str) -> Accelerator:
    return Accelerator("tcg", reason, _TCG_ARGS, _TCG_SCALE * _cpu_scale())


def _kvm(reason: str, cpu: str) -> Accelerator:
    return Accelerator("kvm", reason, ("-accel", "kvm", "-cpu", cpu), _cpu_scale())


def _auto(kernel: Path | None, qemu: str, answers: Path) -> Accelerator:
    if not _KVM.exists():
        return _tcg("this host has no /dev/kvm")
    if not os.access(_KVM, os.R_OK | os.W_OK):
        return _tcg("/dev/kvm may not be opened by this user (join the group kvm)")
    if kernel is None:
        return _tcg("/dev/kvm opens, but there is no kernel here to prove with that it works")
    key = _key(kernel, qemu)
    known = _read(answers)
    if key not in known:
        known = {old: answer for old, answer in known.items() if old.startswith(_boot_id())}
        known[key] = _probe(kernel)
        _write(answers, known)
    cpu, reason = known[key]
    return _kvm(reason, cpu) if cpu else _tcg(reason)


def _host_kernel() -> Path | None:
    kernels = [path for path in Path("/boot").glob("vmlinuz-*") if os.access(path, os.R_OK)]
    return max(kernels, key=lambda path: path.stat().st_mtime, default=None)


def _probe(kernel: Path) -> Answer:
    reason = ""
    for cpu in _KVM_CPUS:
        began = time.monotonic()
        silence = _boot(kernel, cpu)
        if not silence:
            return cpu, f"a kernel booted under KVM within {time.monotonic() - began:.1f} s"
        # The first answer names the fault; what the fallback CPU adds matters only when that one runs.
        reason = reason if reason and silence.startswith("QEMU") else silence
        if not silence.startswith("QEMU"):
            break
    return "", f"/dev/kvm opens, yet {reason}"


def _boot(kernel: Path, cpu: str) -> str:
    """Boot a kernel without a root disk; returns why it said nothing, or nothing when it spoke."""
    argv = [QEMU, "-nodefaults", "-no-user-config", "-display", "none", "-machine", "q35", "-accel", "kvm"]
    argv += ["-cpu", cpu, "-m", "512", "-no-reboot", "-serial", "stdio"]
    argv += ["-kernel", str(kernel), "-append", "console=ttyS0 panic=-1"]
    with command.start(argv, stdout=subprocess.PIPE) as process:
        seen = _wait_for_words(process, _PROBE_SECONDS)
        if _KERNEL_SPEAKS in seen:
            return ""
        if process.poll() is None:
            return f"a kernel prints nothing within {_PROBE_SECONDS:.0f} s"
        last = seen.decode(errors="replace").strip().splitlines()[-1:] or [f"exit code {process.returncode}"]
        return f"QEMU gives up: {last[0]}"


def _wait_for_words(process: subprocess.Popen[bytes], seconds: float) -> bytes:
    """Read until the kernel speaks, the program ends or the time is up; returns what was read."""
    chunks: queue.Queue[bytes] = queue.Queue()

    def read() -> None:
        assert process.stdout is not None
        with process.stdout as output:
            while chunk := os.read(output.fileno(), 4096):
                chunks.put(chunk)
        chunks.put(b"")

    threading.Thread(target=read, daemon=True).start()
    deadline = time.monotonic() + seconds
    seen = b""
    while _KERNEL_SPEAKS not in seen and (left := deadline - time.monotonic()) > 0:
        try:
            chunk = chunks.get(timeout=left)
        except queue.Empty:
            break
        if not chunk:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(1)
            break
        seen += chunk
    return seen


def _boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def _key(kernel: Path, qemu: str) -> str:
    """What the answer depends on; it begins with the host's boot, for its KVM module may change with that."""
    found = re.search(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    digest = hashlib.sha256(kernel.read_bytes()).hexdigest()
    return " / ".join([_boot_id(), platform.release(), found[1] if found else "unknown CPU", f"QEMU {qemu}", digest])


def _read(answers: Path) -> dict[str, Answer]:
    with contextlib.suppress(OSError, ValueError, TypeError, AttributeError):
        return {key: (str(cpu), str(reason)) for key, (cpu, reason) in json.loads(answers.read_text()).items()}
    return {}


def _write(answers: Path, known: dict[str, Answer]) -> None:
    answers.parent.mkdir(parents=True, exist_ok=True)
    half = answers.with_suffix(f".{os.getpid()}")
    half.write_text(json.dumps(known, indent=1))
    half.replace(answers)
