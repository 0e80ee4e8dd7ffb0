"""Runs Packer: watches what it says and what its guest's console says, and never waits for what cannot come.

Packer's own last word on a guest that does not boot is "Timeout waiting for SSH". We follow the guest's serial log
beside Packer's output, stop Packer as soon as the guest cannot get further, and say why.
"""

from __future__ import annotations

import os
import queue
import re
import subprocess
import threading
import time
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from skyvypack import command
from skyvypack.console import STAGES, Console, Diagnosis
from skyvypack.errors import BakeFailed, CommandFailed, InputError, ToolMissing
from skyvypack.progress import Event, Progress

OLDEST = (1, 6)
STAGE = "packer"

_PLUGINS_APART = (1, 7)
_POLL = 0.5
# After a fatal sign the guest gets this long to print the rest, such as a panic's trace.
_LAST_WORDS = 1.5
# Seconds that a provisioner may be silent with KVM and two CPUs: grub and initramfs print little.
_PROVISIONER_PATIENCE = 150
# Where Packer finds plugins and its configuration, and what GitHub counts a download of plugins for.
_PASSED_ON = ("PACKER_PLUGIN_PATH", "PACKER_CONFIG", "PACKER_CONFIG_DIR", "PACKER_GITHUB_API_TOKEN")
_KEPT = 400
_SHOWN = 40

# What Packer says when it gets further, and what the user reads then.
_PHASES = (
    ("boot", re.compile(r"Waiting for SSH to become available"), "the guest boots"),
    ("configure", re.compile(r"Connected to SSH"), "the guest is configured"),
    ("seal", re.compile(r"Gracefully halting virtual machine"), "the guest is sealed"),
    ("compact", re.compile(r"Converting hard drive"), "the disk is compacted"),
)


class Message(NamedTuple):
    """One message of `packer -machine-readable`.

    Args:
        kind: ``say``, ``message``, ``error`` or another type of Packer's.
        text: one or more lines, without Packer's arrows and the builder's name.
    """

    kind: str
    text: str


def installed() -> str:
    """The installed Packer's version, such as ``1.6.6``.

    Raises:
        ToolMissing: Packer is not installed, or older than 1.6.
    """
    hint = "install HashiCorp's Packer: python -m skyvypack doctor --fix"
    try:
        text = command.run(["packer", "version"], env=_environment(), timeout=30).stdout
    except CommandFailed as error:
        # Another program of that name, such as cracklib's.
        raise ToolMissing(f"'packer' does not answer like Packer: {error.message}", hint) from error
    found = re.search(r"Packer v(\d+)\.(\d+)\.(\d+)", text)
    if not found:
        raise ToolMissing("'packer' does not answer like Packer: it names no version", hint)
    version = ".".join(found.groups())
    if (int(found[1]), int(found[2])) < OLDEST:
        raise ToolMissing(f"Packer {version} is too old, need {OLDEST[0]}.{OLDEST[1]} or newer", hint)
    return version


def init(folder: Path, version: str) -> None:
    """Install the plugins that a bundle requires; nothing to do before Packer 1.7, which carries them.

    Args:
        folder: the bundle.
        version: of the installed Packer.

    Raises:
        CommandFailed: a plugin could not be fetched.
    """
    if tuple(int(part) for part in version.split(".")[:2]) >= _PLUGINS_APART:
        hint = "packer init fetches plugins over the network; run it once where there is one"
        command.run(["packer", "init", "."], cwd=folder, env=_environment(), hint=hint)


def validate(folder: Path, variables: Mapping[str, str], *, secrets: Mapping[str, str] | None = None) -> None:
    """Let Packer check a bundle.

    Args:
        folder: the bundle.
        variables: Packer variables by name.
        secrets: Packer variables that must not stand in the process list.

    Raises:
        InputError: Packer does not accept the bundle.
    """
    argv = ["packer", "validate", *_arguments(variables), "."]
    done = command.run(argv, cwd=folder, env=_environment(secrets), check=False)
    if done.returncode:
        raise InputError(f"Packer does not accept the bundle:\n{(done.stdout + done.stderr).strip()}")


def build(
    folder: Path,
    *,
    variables: Mapping[str, str],
    console: Path | None,
    scratch: Path,
    scale: float = 1.0,
    secrets: Mapping[str, str] | None = None,
    environment: Mapping[str, str] | None = None,
    progress: Progress | None = None,
) -> None:
    """Run ``packer build``; call it from the main thread.

    Args:
        folder: the bundle.
        variables: Packer variables by name.
        console: the file that the guest's serial log is written to; need not exist yet. None for a guest on another
            machine: Packer's own deadlines hold there.
        scratch: a folder of this run, for Packer's cache and temporary files.
        scale: by how much every deadline grows, the accelerator's `scale`.
        secrets: Packer variables that must not stand in the process list.
        environment: what Packer and its builder get besides; its values are not shown.
        progress: told about each stage and line; keeps the seconds of ``boot``, ``configure``, ``seal`` and
            ``compact``.

    Raises:
        ToolMissing: Packer is not installed.
        BakeFailed: the build failed, or its guest could not get further. Packer has removed what it made.
    """
    progress = progress or Progress()
    # Without -force: an output folder that exists is not ours to remove.
    argv = ["packer", "build", "-machine-readable", "-color=false", *_arguments(variables), "."]
    given = dict(environment or {})
    environment = (
        _environment(secrets)
        | given
        | {
            "PACKER_CACHE_DIR": str(scratch / "packer_cache"),
            "TMPDIR": _temporary(scratch, folder),
        }
    )
    with progress.stage(STAGE, "Packer boots, configures and seals the guest"):
        hidden = (*(secrets or {}).values(), *given.values())
        screen = Console(console or scratch / "no-console", scale)
        watch = _Watch(screen, scale, progress, hidden, remote=console is None)
        with command.start(argv, cwd=folder, env=environment, stdout=subprocess.PIPE) as process:
            stopped = _follow(process, watch)
        if stopped:
            raise BakeFailed(f"the guest cannot get further: {stopped}", stopped.hint)
        if process.returncode:
            raise watch.failure(process.returncode)
        watch.end()


def parse(line: str) -> Message | None:
    """One line of ``packer -machine-readable``; None when it is no message.

    Source of the form: ``timestamp,target,type,data…``, with commas and line ends in data escaped.
    """
    parts = line.split(",")
    if len(parts) < 4 or not parts[0].isdigit():
        return None
    kind, data = (parts[3], parts[4:]) if parts[2] == "ui" else (parts[2], parts[3:])
    text = ",".join(data).replace("%!(PACKER_COMMA)", ",").replace("\\r", "\r").replace("\\n", "\n")
    return Message(kind, re.sub(r"^(?:==>|-->| {3}) [\w.-]+: ?", "", text, flags=re.MULTILINE).strip("\n"))


class _Watch:
    """What Packer and its guest said, and what follows from it."""

    def __init__(
        self, console: Console, scale: float, progress: Progress, secrets: tuple[str, ...], *, remote: bool = False
    ) -> None:
        self.console = console
        self._remote = remote
        self._scale = scale
        self._progress = progress
        self._secrets = secrets
        self._said: deque[str] = deque(maxlen=_KEPT)
        self._errors: list[str] = []
        self._phase = ""
        self._phase_began = self._heard = time.monotonic()
        self._stage = ""
        self._fatal_since: float | None = None

    def packer_says(self, raw: str) -> None:
        """Take one line of Packer's output."""
        self._heard = time.monotonic()
        message = parse(raw)
        if message is None or message.kind not in ("say", "message", "error"):
            return
        for line in self._masked(message.text).splitlines():
            self._said.append(line)
            self._progress.report(Event("line", STAGE, line))
            self._enter_phase(line)
        if message.kind == "error":
            self._errors.append(self._masked(message.text))

    def poll(self) -> Diagnosis | None:
        """Look at the console; returns why there is no use in waiting on, if so."""
        for line in self.console.poll():
            if line.startswith("skyvypack: "):
                self._progress.report(Event("line", STAGE, self._masked(line)))
        if self._phase == "boot" and self.console.stage.name != self._stage:
            self._stage = self.console.stage.name
            fraction = STAGES.index(self.console.stage) / (len(STAGES) + len(_PHASES))
            self._progress.report(Event("advance", STAGE, f"the guest boots: {self._stage}", fraction=fraction))
        return self._hopeless()

    def failure(self, returncode: int) -> BakeFailed:
        """The error for a Packer that ended with an error by itself."""
        self.console.poll()
        parts = [f"packer build failed (exit code {returncode}): {self._reason()}"]
        ours = [line for line in self._said if line.startswith("skyvypack: ")]
        if self._phase == "boot" and not self._remote:
            diagnosis = self.console.diagnose()
            return BakeFailed("\n".join([*parts, f"likely cause: {diagnosis}"]), diagnosis.hint)
        parts += [f"  | {line}" for line in (ours or [*self._said])[-_SHOWN:]]
        hint = "the lines above are the guest's own" if ours else "the lines above are Packer's last ones"
        if self._phase and not self._remote:
            parts.append(f"the guest's last stage: {self.console.stage.name}")
        return BakeFailed("\n".join(parts), hint)

    def end(self) -> None:
        """The build is done: close the last phase."""
        self._close_phase()

    def _hopeless(self) -> Diagnosis | None:
        if self._remote:
            return None
        if diagnosis := self.console.fatal():
            self._fatal_since = self._fatal_since or time.monotonic()
            return diagnosis if time.monotonic() - self._fatal_since > _LAST_WORDS else None
        packer_silence = time.monotonic() - self._heard
        if self._phase == "boot" or (self._phase == "configure" and not self.console.settled):
            patience = self.console.stage.patience * self._scale
            return self.console.diagnose() if self.console.stuck and packer_silence > patience else None
        patience = _PROVISIONER_PATIENCE * self._scale
        if self._phase == "configure" and min(packer_silence, self.console.silence) > patience:
            tail = "\n".join([*self._said][-_SHOWN:])
            return Diagnosis(
                self.console.stage.name,
                f"the provisioner printed nothing for {packer_silence:.0f} s",
                "the lines above are Packer's last ones; the step may wait for input or for the network",
                tail,
            )
        return None

    def _reason(self) -> str:
        wrapped = re.compile(r"Build '.*' errored after [^:]*: ")
        reasons = [wrapped.sub("", error) for error in self._errors if wrapped.match(error)] or self._errors
        return reasons[0] if reasons else "it named no reason"

    def _enter_phase(self, line: str) -> None:
        for number, (name, sign, title) in enumerate(_PHASES, 1):
            if sign.search(line) and name != self._phase:
                self._close_phase()
                self._phase = name
                fraction = (len(STAGES) * (name != "boot") + number - 1) / (len(STAGES) + len(_PHASES))
                self._progress.report(Event("advance", STAGE, title, fraction=fraction))

    def _close_phase(self) -> None:
        now = time.monotonic()
        if self._phase:
            self._progress.timings[self._phase] = round(now - self._phase_began, 2)
        self._phase_began = now

    def _masked(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret, "<secret>") if secret else text
        return text


def _follow(process: subprocess.Popen[bytes], watch: _Watch) -> Diagnosis | None:
    """Hand Packer's lines to the watch until Packer ends; returns why it was given up earlier, if it was."""
    lines: queue.Queue[str | None] = queue.Queue()

    def read() -> None:
        assert process.stdout is not None
        with process.stdout as output:
            for raw in output:
                lines.put(raw.decode(errors="replace").rstrip("\r\n"))
        lines.put(None)

    threading.Thread(target=read, daemon=True, name="packer's output").start()
    while True:
        try:
            line = lines.get(timeout=_POLL)
        except queue.Empty:
            line = ""
        if line is None:
            process.wait()
            return None
        if line:
            watch.packer_says(line)
        if diagnosis := watch.poll():
            return diagnosis


def _arguments(variables: Mapping[str, str]) -> list[str]:
    return [argument for name, value in variables.items() for argument in ("-var", f"{name}={value}")]


def _environment(secrets: Mapping[str, str] | None = None) -> dict[str, str]:
    secret = {f"PKR_VAR_{name}": value for name, value in (secrets or {}).items()}
    own = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    return own | secret | {"CHECKPOINT_DISABLE": "1"}


def _temporary(scratch: Path, folder: Path) -> str:
    """The folder for Packer's temporary files, which it leaves when it is killed, and some always.

    As seen from the bundle: Packer makes sockets there, whose paths may have 107 bytes and no more.
    """
    temporary = scratch / "tmp"
    temporary.mkdir(parents=True, exist_ok=True)
    return os.path.relpath(temporary.resolve(), folder.resolve())
