"""A clone as seen from outside its network interface."""

from __future__ import annotations

import contextlib
import socket
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from skyvypack.qmp import Monitor

_LOOK = 0.1


@dataclass(frozen=True, slots=True)
class Clone:
    """The booted clone that a contract is run against; the fixture `clone`.

    Args:
        name: the clone's name.
        firmware: ``bios`` or ``uefi``.
        user: the account made for the verification; it has sudo, and a key of its own.
        folder: where QEMU's monitor is.
        address: of a clone that runs elsewhere; empty for one under QEMU here.
        shut: no way leads to its network from here, so that what holds from outside cannot be seen.
    """

    name: str
    firmware: str
    user: str
    folder: Path
    address: str = ""
    shut: bool = False

    def door(self, port: int) -> tuple[str, int]:
        """Host and TCP port by which the build machine reaches a port of the clone; skips a test where none does."""
        self._require_way()
        return (self.address, port) if self.address else ("127.0.0.1", Monitor(self.folder).forward(port))

    def answers(self, port: int, seconds: float = 10.0) -> bool:
        """Whether a TCP connection from outside to a port of the clone is completed.

        QEMU takes our connection before it asks the guest, so its table of connections is what tells a port that
        answers from one whose packets are dropped.

        Args:
            port: of the clone, whether or not anything is meant to listen there.
            seconds: until a port that says nothing counts as closed.
        """
        self._require_way()
        if self.address:
            with contextlib.suppress(OSError), socket.create_connection((self.address, port), timeout=seconds):
                return True
            return False
        monitor = Monitor(self.folder)
        door = monitor.forward(port)
        before = _established(monitor, door)
        with socket.create_connection(("127.0.0.1", door), timeout=seconds) as channel:
            channel.setblocking(False)
            deadline = time.monotonic() + seconds
            while time.monotonic() < deadline:
                with contextlib.suppress(BlockingIOError):
                    return bool(_receive(channel))
                if _established(monitor, door) > before:
                    return True
                time.sleep(_LOOK)
        return False

    def _require_way(self) -> None:
        if self.shut:
            pytest.skip("no way leads to the clone's network from here")


def _established(monitor: Monitor, door: int) -> int:
    """How many connections through a forwarded port the clone has taken: QEMU's table names that port, not ours."""
    return sum(one.state == "ESTABLISHED" and one.source == door for one in monitor.connections())


def _receive(channel: socket.socket) -> bytes:
    try:
        return channel.recv(1)
    except ConnectionError:
        return b""
