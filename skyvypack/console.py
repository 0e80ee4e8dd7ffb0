"""The serial console of a guest: how far it got, what stopped it, and what to do about that.

"Waiting for SSH" is never the last word: every machine we boot writes its serial console to a file, which is followed
while it grows. A `Console` knows the stage the guest is in, how long it may be silent there, and the signs of the ways
a boot goes wrong; `diagnose` puts them into words.
"""

from __future__ import annotations

import re
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

_KEPT = 400
_SHOWN = 25


@dataclass(frozen=True, slots=True)
class Stage:
    """One step of a boot.

    Args:
        name: what the user reads.
        sign: a line that shows that the guest is at least here.
        patience: seconds without a word after which it counts as stuck, with KVM and two CPUs.
    """

    name: str
    sign: re.Pattern[str]
    patience: float


def _stage(name: str, sign: str, patience: float) -> Stage:
    return Stage(name, re.compile(sign), patience)


_CLOUD_INIT = r"Cloud-init v\. \S+ running "

# In the order in which a guest passes them. The patience of cloud-init's final stage is that of a package's
# installation, which is one long command to it.
STAGES = (
    _stage("firmware", r"SeaBIOS|iPXE|TianoCore|UEFI Interactive Shell|BdsDxe", 20),
    _stage("boot loader", r"GRUB|Loading Linux|Loading initial ramdisk|Booting from Hard Disk|BdsDxe: starting", 20),
    _stage("kernel", r"\] Linux version \d", 20),
    _stage("initramfs", r"Run /init as init process|^Loading, please wait|^Begin: ", 40),
    # It shows what it does, but for the packages it is silent while it unpacks one.
    _stage("installer", r"Starting system log daemon: |skyvypack: installing to ", 300),
    # GRUB greets, too, where the serial line is UEFI's console.
    _stage("systemd", r"systemd\[1\]: |^Welcome to (?!GRUB)|^\[  OK  \]", 60),
    _stage("cloud-init, local stage", _CLOUD_INIT + "'init-local'", 40),
    _stage("cloud-init, network stage", _CLOUD_INIT + "'init'", 60),
    _stage("cloud-init, config stage", _CLOUD_INIT + "'modules:config'", 60),
    _stage("sshd", r"Started (sshd?\.service|OpenBSD Secure Shell)", 60),
    _stage("cloud-init, final stage", _CLOUD_INIT + "'modules:final'", 300),
    _stage("settled", r"Cloud-init v\. \S+ finished at", 60),
)
SETTLED = len(STAGES) - 1
_SYSTEMD = next(rank for rank, stage in enumerate(STAGES) if stage.name == "systemd")
_LOCAL = _SYSTEMD + 1


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """Why a boot does not come to its end.

    Args:
        stage: the last stage the guest reached.
        cause: what most likely went wrong, one sentence.
        hint: what to do about it.
        tail: the last lines of the console.
    """

    stage: str
    cause: str
    hint: str
    tail: str

    def __str__(self) -> str:
        shown = "\n".join(f"  | {line}" for line in self.tail.splitlines()) or "  | (nothing)"
        return f"{self.cause}; the guest's last stage: {self.stage}\nthe console's last lines:\n{shown}"


@dataclass(frozen=True, slots=True)
class _Sign:
    """A line that tells of a fault; `{0}` in the cause is what its first group matched."""

    pattern: re.Pattern[str]
    cause: str
    hint: str
    fatal: bool


def _sign(pattern: str, cause: str, hint: str, fatal: bool = True) -> _Sign:
    return _Sign(re.compile(pattern), cause, hint, fatal)


_ROOT_HINT = "check root= on the kernel's command line, and that the initramfs holds the driver of the machine's disk"
_LOADER_HINT = "the boot loader is incomplete: bake again, and look at the output of bootloader.sh"
_MEMORY_HINT = "give the machine more memory (machine.memory in the spec)"
_DISK_HINT = "make the machine's disk larger (machine.disk in the spec)"
_HOST_HINT = "look at the host's disk: full or failing storage under the disk file shows like this"
_SEED_HINT = "the seed (label cidata, with user-data and meta-data) was not attached or not readable"

# The most telling first: of several signs on one console the first in this table names the cause.
_SIGNS = (
    _sign(r"skyvypack: error: (.*)", "a step in the guest failed: {0}", "its output is in the lines before"),
    _sign(
        r"Prompt: '\?' for help",
        "Debian's installer asks a question, and nobody is there to answer it",
        "the question is in the lines before; where it tells of a download, the mirror lacks what its index names",
    ),
    _sign(r"Unable to mount root fs on (\S+)", "the kernel cannot mount the root file system ({0})", _ROOT_HINT),
    _sign(r"Kernel panic - not syncing: ((?:Out of memory|System is deadlocked on memory).*)", "{0}", _MEMORY_HINT),
    _sign(r"Kernel panic - not syncing: (.*)", "kernel panic: {0}", "the lines above it name the fault"),
    _sign(r"ALERT! +(\S+) does not exist", "the initramfs does not find the root disk {0}", _ROOT_HINT),
    _sign(r"^\(initramfs\)", "the initramfs gave up and opened a shell", _ROOT_HINT),
    _sign(
        r"grub rescue>|Entering rescue mode",
        "GRUB does not find its files and waits at its rescue prompt",
        _LOADER_HINT,
    ),
    _sign(r"^grub> ?$", "GRUB has no configuration and waits at its prompt", _LOADER_HINT),
    _sign(
        r"No bootable (?:option or )?device|not a bootable disk|^Shell> ?$",
        "the firmware finds nothing to boot",
        _LOADER_HINT,
    ),
    _sign(
        r"You are in emergency mode|Give root password for maintenance|Cannot open access to console",
        "systemd gave up and went into emergency mode",
        "a mount in /etc/fstab or an early unit failed; the lines with [FAILED] or [DEPEND] name it",
    ),
    _sign(r"finished at .*DataSourceNone", "cloud-init found no configuration for the guest", _SEED_HINT),
    _sign(
        r"Out of memory: Killed process \d+ \((\S+?)\)",
        "the guest ran out of memory and killed {0}",
        _MEMORY_HINT,
        False,
    ),
    _sign(r"No space left on device", "the guest's disk is full", _DISK_HINT, False),
    _sign(r"I/O error, dev ((?!fd|sr)\w+)", "the guest cannot read or write its disk {0}", _HOST_HINT, False),
    _sign(
        r"Remounting filesystem read-only|: Read-only file system",
        "the guest's file system became read-only",
        _HOST_HINT,
        False,
    ),
    _sign(
        r"skyvypack: failed: (.*)", "a step of the user-data failed: {0}", "its output is in the lines before", False
    ),
    _sign(
        r"(?:Failed to run module|Running module(?=.* failed)) ([\w-]+)",
        "cloud-init's module {0} failed",
        "its error is in the lines before, and in /var/log/cloud-init-output.log of the guest",
        False,
    ),
)
_NO_NETWORK = "the guest has no network: no interface got an address"
_NETWORK_HINT = "check the machine's network device, and that systemd-networkd is enabled in the layer"

_ANSI = re.compile(
    r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\-_])|[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]"
)
_DEVICE = re.compile(r"ci-info: \|\s*(\S+)\s*\|\s*(True|False)\s*\|\s*(\S+)\s*\|")


class Console:
    """Follows a serial log while it grows.

    Args:
        path: the log; it may not exist yet.
        scale: by how much every patience grows, the accelerator's `scale`.
        clock: seconds, monotonic.
        begin: byte of the log to begin at, past what an earlier boot printed.
    """

    def __init__(
        self, path: Path, scale: float = 1.0, clock: Callable[[], float] = time.monotonic, begin: int = 0
    ) -> None:
        self._path = path
        self._scale = scale
        self._clock = clock
        self._offset = begin
        self._partial = ""
        self._lines: deque[str] = deque(maxlen=_KEPT)
        self._rank = 0
        self._found: dict[int, str] = {}
        self._addresses: dict[str, bool] = {}
        self._heard = clock()

    @property
    def stage(self) -> Stage:
        """The last stage the guest was seen in."""
        return STAGES[self._rank]

    @property
    def settled(self) -> bool:
        """True when cloud-init has finished."""
        return self._rank == SETTLED

    @property
    def silence(self) -> float:
        """Seconds since the guest last printed something."""
        return self._clock() - self._heard

    @property
    def stuck(self) -> bool:
        """True when the guest has been silent for longer than its stage explains."""
        return self.silence > self.stage.patience * self._scale

    def poll(self) -> list[str]:
        """Read what was printed since the last call; returns the new lines, without control sequences."""
        try:
            with self._path.open("rb") as file:
                file.seek(self._offset)
                data = file.read()
        except OSError:
            return []
        if not data:
            return []
        self._offset += len(data)
        self._heard = self._clock()
        # Latin-1 cannot fail on a character that is cut in two; `_clean` makes UTF-8 of whole lines.
        *whole, self._partial = re.split(r"[\r\n]+", self._partial + data.decode("latin-1"))
        lines = [line for raw in whole if (line := _clean(raw))]
        for line in lines:
            self._take(line)
        # A prompt has no end of line.
        self._look_for_signs(_clean(self._partial))
        return lines

    def fatal(self) -> Diagnosis | None:
        """What the guest cannot recover from, if that was seen; waiting on is then of no use."""
        if any(_SIGNS[number].fatal for number in self._found) or (self.settled and self._without_network()):
            return self.diagnose()
        return None

    def diagnose(self) -> Diagnosis:
        """The likely cause of a boot that did not come to its end, from what was printed so far."""
        cause, hint = self._cause()
        return Diagnosis(self.stage.name, cause, hint, self.tail())

    def tail(self, count: int = _SHOWN) -> str:
        """The last lines."""
        shown = [*self._lines, *filter(None, [_clean(self._partial)])]
        return "\n".join(shown[-count:])

    def _take(self, line: str) -> None:
        self._lines.append(line)
        for rank in range(SETTLED, self._rank, -1):
            if STAGES[rank].sign.search(line):
                self._rank = rank
                break
        device = _DEVICE.search(line)
        if device and device[1] not in ("lo", "Device"):
            has_address = device[2] == "True" and device[3] != "." and not device[3].startswith("fe80")
            self._addresses[device[1]] = self._addresses.get(device[1], False) or has_address
        elif "Net device info" in line:
            self._addresses.setdefault("lo", False)
        self._look_for_signs(line)

    def _look_for_signs(self, line: str) -> None:
        for number, sign in enumerate(_SIGNS):
            if found := sign.pattern.search(line):
                self._found.setdefault(number, sign.cause.format(*found.groups()))

    def _without_network(self) -> bool:
        return bool(self._addresses) and not any(self._addresses.values())

    def _cause(self) -> tuple[str, str]:
        fatal = sorted(self._found, key=lambda number: (not _SIGNS[number].fatal, number))
        if fatal and _SIGNS[fatal[0]].fatal:
            return self._found[fatal[0]], _SIGNS[fatal[0]].hint
        if self._without_network():
            return _NO_NETWORK, _NETWORK_HINT
        if fatal:
            return self._found[fatal[0]], _SIGNS[fatal[0]].hint
        return self._silent_cause()

    def _silent_cause(self) -> tuple[str, str]:
        if not self._lines:
            return (
                "the machine printed nothing: its firmware finds nothing to boot, or the accelerator does not work",
                "try the accelerator 'tcg'; check that the disk has a boot loader or that a kernel is given",
            )
        login = any(" login:" in line for line in (*self._lines, _clean(self._partial)))
        if login and _SYSTEMD <= self._rank < _LOCAL:
            return "the guest booted, but cloud-init did not run", _SEED_HINT
        if self.settled:
            return "the guest is up, but nobody could log in over SSH", "check sshd, the firewall and the build account"
        return f"no word from the guest for {self.silence:.0f} s", "it may only be slow: look at the host's load"


def _clean(raw: str) -> str:
    text = raw.encode("latin-1").decode("utf-8", errors="replace")
    return _ANSI.sub("", text).rstrip()
