"""A root shell on a guest to which no SSH leads: its platform's own agent runs scripts there, one by one.

A contract's process starts `relay_client` where it would start ssh, and takes it for a shell. That hands bytes to and
fro: at the other end of a socket is `Relay`, in the process that talks to the platform, which cuts what comes at each
`shell.END` and has the platform run it.
"""

from __future__ import annotations

import contextlib
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

from skyvypack.command import Done
from skyvypack.errors import CommandFailed
from skyvypack.link import Access, Link, Waiting, pausing
from skyvypack.registrar.contract import Execute, Executed, RegistrarError
from skyvypack.verify import relay_client
from skyvypack.verify.relay_client import SOCKET
from skyvypack.verify.shell import END, answer

# Seconds, before they are scaled, for what a contract asks; each of its tests has a deadline of its own.
_ASK_SECONDS = 60.0
_PAUSE = 3.0
_UNREACHED = 255


class Relay(Link):
    """A way into one guest by what its platform executes there, as root.

    Args:
        name: short, for messages.
        folder: where the socket is, and the working folder of whoever starts `root_shell`.
        execute: runs a script on the guest.
        scale: by which deadlines grow.
        check: as for `Link`.
    """

    def __init__(
        self, name: str, folder: Path, execute: Execute, scale: float, check: Callable[[float, str], None]
    ) -> None:
        super().__init__(name, folder, Access("root", folder), scale, check)
        self._execute = execute

    @property
    def root_shell(self) -> tuple[str, ...]:
        """See `Link`."""
        return (sys.executable, "-I", str(Path(relay_client.__file__).resolve()))

    def reboot(self) -> None:
        """See `Link`. The agent has time to tell that the script ended."""
        self.run("systemd-run --quiet --on-active=5 systemctl reboot", check=False)

    def aim(self, _host: str, _port: int) -> None:
        """Begin to serve; by which address the guest is reached is the platform's to know."""
        (self.folder / SOCKET).unlink(missing_ok=True)
        server = self._life.enter_context(socket.socket(socket.AF_UNIX))
        with contextlib.chdir(self.folder):  # a socket's name has at most 107 bytes
            server.bind(SOCKET)
        server.listen()
        self._life.callback(_wake, server)
        threading.Thread(target=self._serve, args=(server,), name="relay", daemon=True).start()

    def run(self, script: str, *, timeout: float = 30.0, check: bool = True) -> Done:
        """See `Link`."""
        began = time.monotonic()
        found = self._ask(script, timeout)
        argv = (self.name, script)
        output, errors = (text.decode(errors="replace") for text in (found.output, found.errors))
        if check and found.code:
            raise CommandFailed(argv, found.code, (output + errors).strip())
        return Done(argv, found.code, output, errors, time.monotonic() - began)

    def connecting(self, deadline: float) -> Waiting[None]:
        """Wait until the platform can run something there."""
        while (done := self.run("true", check=False)).returncode:
            self._check(deadline, f"cannot be reached by its platform ({done.stderr.strip()})")
            yield from pausing(_PAUSE)

    def _ask(self, script: str, seconds: float) -> Executed:
        try:
            return self._execute(script, seconds * self.scale)
        except RegistrarError as error:
            return Executed(_UNREACHED, b"", str(error).encode())

    def _serve(self, server: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = server.accept()
                threading.Thread(target=self._talk, args=(connection,), name="relay", daemon=True).start()

    def _talk(self, connection: socket.socket) -> None:
        """Play the shell: what is asked first, its preparation, is part of every script."""
        with contextlib.suppress(OSError), connection, connection.makefile("rb") as stream:
            asked = _asked(stream)
            begin = next(asked, "")
            for script in asked:
                found = self._ask(begin + script, _ASK_SECONDS)
                connection.sendall(found.output or answer(found.code, b"", found.errors))


def _asked(stream: IO[bytes]) -> Iterator[str]:
    lines: list[str] = []
    for line in stream:
        lines.append(line.decode())
        if lines[-1] == END:
            yield "".join(lines)
            lines.clear()


def _wake(server: socket.socket) -> None:
    """Let who waits for a connection see that there will be none."""
    with contextlib.suppress(OSError):
        server.shutdown(socket.SHUT_RDWR)
