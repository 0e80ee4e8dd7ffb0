"""TLS in memory: what is sent in large pieces reaches the kernel in large pieces.

`ssl.SSLSocket` hands each record of 16 KiB to the kernel by itself, which wakes who reads it as often.
"""

from __future__ import annotations

import contextlib
import io
import socket
import ssl
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

T = TypeVar("T")
_RECORD = 1 << 16


class Channel:
    """A connection for `http.client`, in place of its socket.

    Args:
        raw: connected; closed with the channel, also when the other side is not to be trusted.
        context: verifies the other side.
        host: its name or address.

    Raises:
        OSError: as of `ssl.SSLSocket`.
    """

    def __init__(self, raw: socket.socket, context: ssl.SSLContext, host: str) -> None:
        self._raw = raw
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._came, self._goes = ssl.MemoryBIO(), ssl.MemoryBIO()
        try:
            self._tls = context.wrap_bio(self._came, self._goes, server_hostname=host)
            self._carried(self._tls.do_handshake)
        except BaseException:
            self.close()
            raise

    def certificate(self) -> bytes:
        """The other side's, as DER."""
        return self._tls.getpeercert(binary_form=True) or b""

    def sendall(self, data: Any) -> None:
        """Send bytes; each call to the kernel has the socket's timeout."""
        left = memoryview(data)
        while left:
            left = left[self._carried(partial(self._tls.write, left)) :]

    def makefile(self, _mode: str) -> io.BufferedReader:
        """What the other side answers."""
        return io.BufferedReader(_Answer(self))

    def receive(self, size: int) -> bytes:
        """At most so many bytes; none at the end."""
        try:
            return self._carried(partial(self._tls.read, size))
        except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
            return b""

    def close(self) -> None:
        """Hang up."""
        self._raw.close()

    def _carried(self, act: Callable[[], T]) -> T:
        """Do something, and carry between TLS and the socket what it takes."""
        while True:
            try:
                done = act()
            except ssl.SSLWantReadError:
                self._flush()
                came = self._raw.recv(_RECORD)
                if came:
                    self._came.write(came)
                else:
                    self._came.write_eof()
            except ssl.SSLError:
                with contextlib.suppress(OSError):
                    self._flush()  # why we refuse, for the other side's log
                raise
            else:
                self._flush()
                return done

    def _flush(self) -> None:
        if goes := self._goes.read():
            self._raw.sendall(goes)


class _Answer(io.RawIOBase):
    """What comes by a channel."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._channel.receive(len(buffer))
        buffer[: len(data)] = data
        return len(data)
