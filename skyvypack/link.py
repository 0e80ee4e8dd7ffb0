"""SSH to a guest: one kept connection, by which every command goes.

Waits are generators that yield after each short look, as in `machine`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from skyvypack import command
from skyvypack.command import Done

T = TypeVar("T")
Waiting = Generator[None, None, T]

CONTROL = "control"
_SETTLED = ("running", "degraded", "maintenance")
_RETRY = 3.0


@dataclass(frozen=True, slots=True)
class Access:
    """How to get into a guest.

    Args:
        user: the account, with sudo that asks for no password.
        key: private key file.
        port: TCP port of the guest's SSH server.
    """

    user: str
    key: Path
    port: int = 22


class Link:
    """A way into one guest.

    Args:
        name: short, for messages and as the name of the SSH host.
        folder: where ssh's files are kept, and its working folder.
        access: how to get in.
        scale: by which deadlines grow.
        check: called with a deadline and a complaint at each look of a wait; raises when the guest cannot be waited
            for any longer.
    """

    def __init__(
        self, name: str, folder: Path, access: Access, scale: float, check: Callable[[float, str], None]
    ) -> None:
        self.name = name
        self.folder = folder
        self.access = access
        self.scale = scale
        self.config = folder / "ssh_config"
        self._check = check
        self._life = ExitStack()

    def aim(self, host: str, port: int) -> None:
        """Write down where the guest's SSH server is reached."""
        options = {
            "HostName": host,
            "Port": port,
            "User": self.access.user,
            "IdentityFile": _quoted(self.access.key.resolve()),
            "IdentitiesOnly": "yes",
            "IdentityAgent": "none",
            "PreferredAuthentications": "publickey",
            "BatchMode": "yes",
            "StrictHostKeyChecking": "no",
            "UserKnownHostsFile": _quoted(self.folder.resolve() / "known_hosts"),
            "GlobalKnownHostsFile": "/dev/null",
            "LogLevel": "ERROR",
            # Short: a try that began before the guest had a network is retried by QEMU ever more seldom.
            "ConnectTimeout": round(5 + self.scale),
            "ServerAliveInterval": 15,
            "ServerAliveCountMax": 8,
            # Relative to the folder that ssh runs in, because a socket's path has at most 107 bytes. Were it not
            # found, ssh would make a connection of its own: slower, and just as good.
            "ControlPath": CONTROL,
            "ControlMaster": "no",
        }
        lines = [f"Host {self.name}", *(f"  {key} {value}" for key, value in options.items())]
        self.config.write_text("\n".join(lines) + "\n")

    def ssh(self, *options: str) -> list[str]:
        """The command line of an SSH client for this guest, up to the remote command; to be run in `folder`."""
        return ["ssh", "-F", str(self.config.resolve()), *options, self.name]

    @property
    def root_shell(self) -> tuple[str, ...]:
        """The command line that starts a root shell in the guest; to be run in `folder`."""
        return (*self.ssh(), "--", "sudo", "sh")

    def reboot(self) -> None:
        """Let the guest begin to go down."""
        self.run("sudo systemctl reboot", check=False)

    def run(self, script: str, *, timeout: float = 30.0, check: bool = True) -> Done:
        """Run a shell command in the guest, as the account we log in with.

        Args:
            script: for the account's shell.
            timeout: seconds, before they are scaled.
            check: raise when it fails.

        Raises:
            CommandFailed: it failed (with `check`), or did not end in time.
        """
        return command.run([*self.ssh(), "--", script], cwd=self.folder, timeout=timeout * self.scale, check=check)

    def connecting(self, deadline: float) -> Waiting[None]:
        """Wait until SSH lets us in, and keep that connection for all that follows.

        Args:
            deadline: on the monotonic clock.
        """
        log = self.folder / "ssh.log"
        said = ""
        while True:
            self.close()
            with log.open("wb") as errors:
                master = self._life.enter_context(
                    command.start([*self.ssh("-M", "-N")], cwd=self.folder, stdout=errors)
                )
            while master.poll() is None:
                if (self.folder / CONTROL).exists():
                    return
                self._check(deadline, f"does not answer to SSH ({said})")
                yield
            said = last_line(log) or said
            retry = time.monotonic() + _RETRY
            while time.monotonic() < retry:
                self._check(deadline, f"does not answer to SSH ({said})")
                yield

    def settling(self, deadline: float) -> Waiting[str]:
        """Wait until nothing is left to start; returns systemd's word for the outcome, such as ``running``."""
        while (state := self.run("systemctl is-system-running", check=False).stdout.strip()) not in _SETTLED:
            self._check(deadline, f"is still {state or 'unreachable'}")
            yield from pausing(_RETRY)
        return state

    def close(self) -> None:
        """End the kept connection."""
        self._life.close()
        (self.folder / CONTROL).unlink(missing_ok=True)


def last_line(log: Path) -> str:
    """The last line of a log that may not exist."""
    lines = log.read_text(errors="replace").strip().splitlines() if log.exists() else []
    return lines[-1] if lines else ""


def pausing(seconds: float) -> Waiting[None]:
    """Let so much time pass."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        yield


def _quoted(path: Path) -> str:
    """A path as a value in ssh_config."""
    return '"' + str(path).replace("%", "%%") + '"'
