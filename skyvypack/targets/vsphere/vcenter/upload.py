"""Sending a disk to where a lease says: by HTTPS, with the memory of a few buffers whatever the disk's size.

A thread digests the file meanwhile, so that proving that what was sent is what was baked costs little time. What this
very process has digested before, as a bake does, and nobody has touched since, is not digested again.
Source: VMware's vSphere Web Services SDK Programming Guide, "Importing an OVF Template" (one POST for each disk, of
type ``application/x-vnd.vmware-streamVmdk``, to the lease's URL).
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import http.client
import os
import ssl
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

from skyvypack import digests
from skyvypack.registrar.contract import RegistrarError

_PIECE = 1 << 18  # what a core's own cache holds, from reading to encrypting or digesting
_NICE = 5
_TYPE = "application/x-vnd.vmware-streamVmdk"


@dataclass(frozen=True, slots=True)
class Source:
    """The bytes of a disk, as they stand in a file.

    Args:
        path: the file, a VMDK or an OVA.
        sha256: of the whole file, in hexadecimal; what is sent is held to it.
        offset: where the disk begins in it.
        size: bytes of the disk.
    """

    path: Path
    sha256: str
    offset: int
    size: int


@dataclass(frozen=True, slots=True)
class Place:
    """Where a disk goes.

    Args:
        url: https, as the lease gives it.
        context: verifies the host against what vCenter itself was verified by.
        thumbprint: SHA-1 or SHA-256 of the host's certificate, which vCenter vouches for; it then takes the place of
            `context`. Empty when there is none.
        stall: seconds without any progress after which it is given up.
    """

    url: str
    context: ssl.SSLContext
    thumbprint: str = ""
    stall: float = 120.0


class Broken(RegistrarError):
    """The way to the host broke; another try may succeed."""


def send(source: Source, place: Place, advance: Callable[[int], None], digest: Digest | None = None) -> None:
    """Send a disk.

    Args:
        source: what to send.
        place: where to.
        advance: called with the bytes sent so far after each piece; what it raises ends the upload.
        digest: of the source, entered; by default one for this upload alone.

    Raises:
        Broken: the host could not be reached, broke off or stalled.
        RegistrarError: it is not to be trusted or refused; or the file is not what its digest says.
    """
    host = urlsplit(place.url).netloc
    try:
        with contextlib.ExitStack() as stack:
            held = digest or stack.enter_context(Digest(source))
            connection = stack.enter_context(contextlib.closing(_connect(place)))
            _post(connection, held, place, advance)
    except (OSError, http.client.HTTPException) as error:
        reason = f"no progress for {place.stall:.0f} s" if isinstance(error, TimeoutError) else _words(error)
        kind = RegistrarError if isinstance(error, ssl.SSLCertVerificationError) else Broken
        raise kind(f"the upload of {source.path.name} to {host} broke off: {reason}") from error


def _words(error: Exception) -> str:
    return str(error) or type(error).__name__


def _connect(place: Place) -> http.client.HTTPSConnection:
    parts = urlsplit(place.url)
    if parts.scheme != "https" or not parts.hostname:
        raise RegistrarError(f"the lease wants the disk at {place.url}, which is not https")
    pinned = place.thumbprint.replace(":", "").lower()
    context = _without_authority() if pinned else place.context
    connection = http.client.HTTPSConnection(parts.hostname, parts.port, timeout=place.stall, context=context)
    try:
        connection.connect()
        if pinned and not _is(connection, pinned):
            raise RegistrarError(
                f"{parts.netloc} shows another certificate than vCenter vouches for", "renew the host's certificate"
            )
    except BaseException:
        connection.close()
        raise
    return connection


def _without_authority() -> ssl.SSLContext:
    """For a host whose very certificate is known: nothing else has to vouch for it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _is(connection: http.client.HTTPSConnection, thumbprint: str) -> bool:
    certificate = connection.sock.getpeercert(binary_form=True) or b""
    digest = hashlib.sha256 if len(thumbprint) == 64 else hashlib.sha1
    return hmac.compare_digest(digest(certificate).hexdigest(), thumbprint)


def _post(
    connection: http.client.HTTPSConnection, digest: Digest, place: Place, advance: Callable[[int], None]
) -> None:
    source, parts = digest.source, urlsplit(place.url)
    connection.putrequest("POST", parts.path + (f"?{parts.query}" if parts.query else ""))
    connection.putheader("Content-Type", _TYPE)
    connection.putheader("Content-Length", str(source.size))
    connection.endheaders()
    sent = 0
    try:
        for piece in digest.pieces():
            connection.sock.sendall(piece)
            sent += len(piece)
            advance(sent)
            digest.check()
        digest.require()
    except (BrokenPipeError, ConnectionResetError, ssl.SSLError):
        # A host that refuses says why before it hangs up; that is worth more than "broken pipe".
        _require_accepted(connection, source)
        raise
    _require_accepted(connection, source)


def _require_accepted(connection: http.client.HTTPSConnection, source: Source) -> None:
    answer = connection.getresponse()
    text = answer.read(2000).decode(errors="replace").strip()
    if answer.status >= 300:
        said = f"{answer.status} {answer.reason}" + (f": {text}" if text else "")
        raise RegistrarError(f"{connection.host} refused {source.path.name}: {said}")


class Digest:
    """A file that is held to its digest; a thread takes it, from the block's beginning to its end at most.

    The thread reads for itself (the second reader finds the pages in memory): handing each piece from thread to thread
    would cost two switches a piece, which on a busy machine is more than all the rest. It gives way a little to whoever
    sends and receives; what is left of it when the disk is sent, `require` does itself.

    Args:
        source: of the disk.

    Raises:
        RegistrarError: there is no such file (on entering).
    """

    def __init__(self, source: Source) -> None:
        self.source = source
        self._found = hashlib.sha256()
        self._at = 0
        self._whole = False
        self._buffer = memoryview(bytearray(_PIECE))
        self._failed: OSError | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._read, name="skyvypack-digest", daemon=True)

    def __enter__(self) -> Self:
        try:
            self._file = self.source.path.open("rb", buffering=0)
        except OSError as error:
            raise RegistrarError(f"{self.source.path}: {error.strerror}", "copy it again, or bake again") from error
        self._began = time.time_ns()
        self._stamp = digests.stamp(self._file.fileno())
        self._held = digests.known(self._stamp) == self.source.sha256
        if not self._held:
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end()
        self._file.close()

    def _end(self) -> None:
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

    def _read(self) -> None:
        if sys.platform == "linux":
            os.nice(_NICE)  # there it is this thread's alone
        try:
            while not self._stop.is_set() and self._piece():
                pass
        except OSError as error:
            self._failed = error

    def _piece(self) -> bool:
        """Take the next piece; False at the end of the file."""
        size = os.preadv(self._file.fileno(), [self._buffer], self._at)
        self._found.update(self._buffer[:size])
        self._at += size
        self._whole = not size
        return bool(size)

    def check(self) -> None:
        """Insist that the file is what was baked, as soon as that is known.

        Raises:
            RegistrarError: it is not.
        """
        if self._whole:
            self._compare()

    def require(self) -> None:
        """Take what is left and insist that the file is what was baked.

        Raises:
            RegistrarError: it is not.
            OSError: it cannot be read.
        """
        self._end()
        descriptor = self._file.fileno()
        if digests.stamp(descriptor) != self._stamp:
            # Touched since it was digested, so that something else may have been sent.
            self._found, self._at = hashlib.sha256(), 0
        elif self._held:
            return
        if self._failed is not None:
            raise self._failed
        while self._piece():
            pass
        self._compare()
        digests.remember(descriptor, self._stamp, self._began, self.source.sha256)

    def _compare(self) -> None:
        source, found = self.source, self._found.hexdigest()
        if found != source.sha256:
            raise RegistrarError(
                f"{source.path} is not what was baked: its SHA-256 is {found}, not {source.sha256}",
                "copy it again, or bake again",
            )

    def pieces(self) -> Iterator[memoryview]:
        """The disk's bytes, in one buffer that is filled again and again.

        Raises:
            RegistrarError: the file ends before the disk does.
        """
        buffer, source = memoryview(bytearray(_PIECE)), self.source
        at, end = source.offset, source.offset + source.size
        while at < end and (size := os.preadv(self._file.fileno(), [buffer[: end - at]], at)):
            at += size
            yield buffer[:size]
        if at < end:
            raise RegistrarError(
                f"{source.path} has been cut off: {end - at} bytes are missing", "copy it again, or bake again"
            )
