"""Hands standard input to a socket in the working folder, and what comes from there to standard output.

Started by its path, as a program of its own: see `relay`.
"""

from __future__ import annotations

import os
import socket
import threading

SOCKET = "relay"
_SIZE = 1 << 16


def main() -> None:
    """Run until the other end hangs up."""
    with socket.socket(socket.AF_UNIX) as channel:
        channel.connect(SOCKET)
        threading.Thread(target=_send, args=(channel,), daemon=True).start()
        while data := channel.recv(_SIZE):
            while data:
                data = data[os.write(1, data) :]


def _send(channel: socket.socket) -> None:
    while data := os.read(0, _SIZE):
        channel.sendall(data)
    channel.shutdown(socket.SHUT_WR)


if __name__ == "__main__":
    main()
