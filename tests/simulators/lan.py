"""A network of its own for guests: this machine at 192.0.2.1, and a guest that asks by DHCP at 192.0.2.77.

Guests behind QEMU's own networking have no address that this machine could reach, and every forwarded port seems to
answer. Here a guest has an address, and its firewall is seen as a neighbour sees it. Nobody else is on this network:
it is a namespace, which only the thread that opened it (and what that starts) is in.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import socket
import struct
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import pytest

CARD = "tap0"
HOST = "192.0.2.1"
GUEST = "192.0.2.77"
_CLONE_NEWNET = 0x40000000
_MAGIC = b"\x63\x82\x53\x63"
# Offer for a discovery, acknowledgement for a request (RFC 2131).
_ANSWERS = {1: 2, 3: 5}


@contextmanager
def lan() -> Iterator[Path]:
    """The network, for the length of the block; skips the test, with the reason, where it cannot be made.

    Yields:
        the file that stands for the network this thread was in before.
    """
    if os.geteuid() != 0:
        pytest.skip("a network for guests is made as root")
    if not Path("/dev/net/tun").exists():
        pytest.skip("a network for guests needs /dev/net/tun, which is not here")
    libc = ctypes.CDLL(None, use_errno=True)
    with Path("/proc/self/ns/net").open() as before:
        if libc.unshare(_CLONE_NEWNET):
            pytest.skip(f"no network namespace can be made here: {os.strerror(ctypes.get_errno())}")
        try:
            for words in (
                "link set lo up",
                f"tuntap add {CARD} mode tap",
                f"addr add {HOST}/24 dev {CARD}",
                f"link set {CARD} up",
            ):
                subprocess.run(["ip", *words.split()], check=True)
            with _dhcp():
                yield Path(f"/proc/self/fd/{before.fileno()}")
        finally:
            libc.setns(before.fileno(), _CLONE_NEWNET)


@contextmanager
def way_out(leading: Path) -> Iterator[str]:
    """An HTTP proxy on the network that leads to another one, as guests' packages are not here.

    Args:
        leading: the file that stands for the network it leads to, see `lan`.

    Yields:
        its URL.
    """
    libc = ctypes.CDLL(None, use_errno=True)

    class Forwarding(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            # Only this thread, one of each request, leaves.
            with leading.open() as network:
                libc.setns(network.fileno(), _CLONE_NEWNET)
            hops = {"host", "connection", "proxy-connection"}
            headers = {name: value for name, value in self.headers.items() if name.lower() not in hops}
            url = urlsplit(self.path)
            with contextlib.closing(HTTPConnection(url.hostname or "", url.port or 80, timeout=60)) as there:
                there.request("GET", url.path, headers=headers)
                answer = there.getresponse()
                self.send_response(answer.status)
                for name in ("Content-Length", "Content-Type", "Last-Modified", "Content-Range", "Location"):
                    if value := answer.getheader(name):
                        self.send_header(name, value)
                self.end_headers()
                shutil.copyfileobj(answer, self.wfile)

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer((HOST, 0), Forwarding) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://{HOST}:{server.server_port}"
        finally:
            server.shutdown()


def address(other: str) -> None:
    """Let this machine have a further address on the network."""
    subprocess.run(["ip", "addr", "add", f"{other}/32", "dev", CARD], check=True)


@contextmanager
def _dhcp() -> Iterator[None]:
    """A DHCP server that has one address to give."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        server.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, CARD.encode())
        server.bind(("", 67))
        server.settimeout(0.2)
        ended = threading.Event()
        thread = threading.Thread(target=_serve, args=(server, ended), daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()


def _serve(server: socket.socket, ended: threading.Event) -> None:
    while not ended.is_set():
        with contextlib.suppress(TimeoutError):
            if answer := reply(server.recv(2048)):
                server.sendto(answer, ("255.255.255.255", 68))


def reply(asked: bytes) -> bytes:
    """The answer to a DHCP message; empty where there is none."""
    options = asked[240:]
    kind = 0
    while options and options[0] != 255:
        if options[0] == 53:
            kind = options[2]
        options = options[2 + options[1] :] if options[0] else options[1:]
    if kind not in _ANSWERS:
        return b""
    ours = socket.inet_aton(HOST)
    head = struct.pack("!4B4s2H4s4s4s4s", 2, 1, 6, 0, asked[4:8], 0, 0x8000, b"", socket.inet_aton(GUEST), ours, b"")
    facts = {53: bytes([_ANSWERS[kind]]), 54: ours, 51: struct.pack("!I", 86400), 1: b"\xff\xff\xff\x00", 3: ours}
    told = b"".join(bytes([name, len(value)]) + value for name, value in facts.items())
    return head + asked[28:44] + bytes(192) + _MAGIC + told + b"\xff"
