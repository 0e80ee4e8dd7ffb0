"""QEMU's monitor (QMP): one command for each connection, so that several processes can take turns."""

from __future__ import annotations

import contextlib
import json
import os
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from skyvypack.errors import ContractFailed

SOCKET = "qmp"
NETWORK = "net0"
_PATIENCE = 30.0
_CONNECTION = re.compile(r"TCP\[(\w+)\]\s+\S+\s+(\S+)\s+(\d+)\s+(\S+)\s+(\d+)\s")


@dataclass(frozen=True, slots=True)
class Connection:
    """One line of QEMU's table of user networking (``info usernet``).

    Args:
        state: ``HOST_FORWARD`` for a forward, else the TCP state as seen from the guest's network.
        source: port on the near side; of a forward, the port on 127.0.0.1.
        destination: port on the far side; of a forward, the guest's port.
    """

    state: str
    source: int
    destination: int


@dataclass(frozen=True, slots=True)
class Monitor:
    """A running QEMU's monitor.

    Args:
        folder: the folder in which QEMU made its socket.
    """

    folder: Path

    @contextmanager
    def _connect(self) -> Iterator[Any]:
        # A socket's path has at most 107 bytes; by way of the folder's descriptor ours is always short.
        descriptor = os.open(self.folder, os.O_PATH | os.O_DIRECTORY)
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as channel:
                channel.settimeout(_PATIENCE)
                channel.connect(f"/proc/self/fd/{descriptor}/{SOCKET}")
                with channel.makefile("rw", encoding="utf-8") as stream:
                    yield stream
        finally:
            os.close(descriptor)

    def answers(self) -> bool:
        """Whether QEMU takes a connection yet: its socket has a name a moment before it listens."""
        with contextlib.suppress(OSError), self._connect() as stream:
            return bool(stream.readline())
        return False

    def execute(self, name: str, **arguments: Any) -> Any:
        """Execute one QMP command and return what it returns.

        Raises:
            ContractFailed: QEMU is gone, or refused the command.
        """
        try:
            with self._connect() as stream:
                stream.readline()
                _ask(stream, "qmp_capabilities", {})
                return _ask(stream, name, arguments)
        except (OSError, ValueError) as error:
            raise ContractFailed(f"QEMU's monitor does not answer to {name}: {error}") from error

    def human(self, line: str) -> str:
        """Execute a line of the human monitor and return its text."""
        return str(self.execute("human-monitor-command", **{"command-line": line}))

    def connections(self) -> list[Connection]:
        """The TCP connections and forwards of the guest's user networking."""
        found = _CONNECTION.finditer(self.human("info usernet"))
        return [Connection(state, int(near), int(far)) for state, _, near, _, far in (hit.groups() for hit in found)]

    def forward(self, port: int) -> int:
        """A TCP port on 127.0.0.1 that leads to a guest's port; the same one each time it is asked for.

        QEMU picks the free port itself, so no other program can take it in between.
        """
        if (known := self._forwarded(port)) is None:
            answer = self.human(f"hostfwd_add {NETWORK} tcp:127.0.0.1:0-:{port}")
            known = self._forwarded(port)
            if known is None:
                raise ContractFailed(f"QEMU does not forward the guest's port {port}: {answer.strip()}")
        return known

    def _forwarded(self, port: int) -> int | None:
        forwards = (one for one in self.connections() if one.state == "HOST_FORWARD")
        return next((one.source for one in forwards if one.destination == port), None)

    def quit(self) -> None:
        """End QEMU at once; nothing happens when it is gone already."""
        with contextlib.suppress(ContractFailed):
            self.execute("quit")


def _ask(stream: Any, name: str, arguments: dict[str, Any]) -> Any:
    stream.write(json.dumps({"execute": name, "arguments": arguments}) + "\n")
    stream.flush()
    while True:  # events come in between
        line = stream.readline()
        if not line:
            raise OSError("the connection was closed")
        answer = json.loads(line)
        if "error" in answer:
            raise ContractFailed(f"QEMU refused {name}: {answer['error'].get('desc', answer['error'])}")
        if "return" in answer:
            return answer["return"]
