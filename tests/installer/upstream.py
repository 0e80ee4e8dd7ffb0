"""The mirror in use, and a server on loopback that passes it on."""

from __future__ import annotations

import hashlib
import http.client
import sys
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from skyvypack import mirrors
from skyvypack.spec import Spec

_PATIENCE = 60
_TRIES = 3
_PAUSE = 2.0


@dataclass(frozen=True, slots=True)
class Upstream:
    """The mirror in use, one archive of it; what it gave of its pool is kept.

    Args:
        url: of the archive, without a slash at its end.
        kept: folder of files that were fetched.
    """

    url: str
    kept: Path

    def read(self, path: str) -> bytes:
        """One file; raises `urllib.error.HTTPError` where there is none, and the last failure of several tries."""
        place = self.kept / hashlib.sha256(f"{self.url}/{path}".encode()).hexdigest()
        lasting = "pool/" in path or "/by-hash/" in path
        if lasting and place.is_file():
            return place.read_bytes()
        data = self._answer(urllib.request.Request(self._address(path)))
        if lasting:
            part = place.with_suffix(f".{threading.get_ident()}")
            part.write_bytes(data)
            part.rename(place)
        return data

    def has(self, path: str) -> bool:
        """Whether there is such a file."""
        request = urllib.request.Request(self._address(path), method="HEAD")
        try:
            self._answer(request)
        except urllib.error.HTTPError:
            return False
        return True

    def _answer(self, request: urllib.request.Request) -> bytes:
        """What the mirror answers. A busy machine does not always find it at once, and a test here takes an hour."""
        tries = 0
        while True:
            try:
                with urllib.request.urlopen(request, timeout=_PATIENCE) as answer:
                    data: bytes = answer.read()
                return data
            except urllib.error.HTTPError:
                raise
            except (OSError, http.client.HTTPException) as error:
                sys.stderr.write(f"{request.full_url}: {error}\n")
                tries += 1
                if tries == _TRIES:
                    raise
                time.sleep(_PAUSE)

    def _address(self, path: str) -> str:
        return f"{self.url}/{urllib.parse.quote(path)}"


def in_use(release: str) -> tuple[str, str]:
    """URLs of the main archive and of that of security updates that this host's apt installs a release from."""
    archives = mirrors.sources(Spec("any", "1.0.0", release, ())).archives
    return archives[0][0], next(url for url, suite in archives if suite.endswith("-security"))


class _Handler(BaseHTTPRequestHandler):
    """Answers from the overlay, else from the mirror in use."""

    protocol_version = "HTTP/1.1"

    def __init__(
        self, archives: Mapping[str, tuple[Path | None, Upstream]], asked: Callable[[str], None], *rest: object
    ) -> None:
        self.archives, self.asked = archives, asked
        super().__init__(*rest)  # type: ignore[arg-type]

    def do_GET(self) -> None:
        """Answer with a file or 404."""
        self.asked(self.path)
        data = self._data()
        self.send_response(404 if data is None else 200)
        self.send_header("Content-Length", str(len(data or b"")))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(data or b"")

    do_HEAD = do_GET

    def _data(self) -> bytes | None:
        _, archive, path = urllib.parse.unquote(self.path).split("/", 2)
        if archive not in self.archives or ".." in path:
            return None
        overlay, upstream = self.archives[archive]
        if overlay and (overlay / path).is_file():
            return (overlay / path).read_bytes()
        try:
            return upstream.read(path)
        except (OSError, http.client.HTTPException):
            return None

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@contextmanager
def serving(
    overlay: Path | None, main: Upstream, security: Upstream, asked: Callable[[str], None] = lambda path: None
) -> Iterator[int]:
    """Serve ``/debian`` and ``/debian-security`` on a port of loopback, which the block is given.

    Args:
        overlay: folder of what stands before the main archive, if anything.
        main: the main archive.
        security: that of security updates.
        asked: told of each path that is asked for, in a thread of the server.
    """
    archives = {"debian": (overlay, main), "debian-security": (None, security)}
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(_Handler, archives, asked)) as server:
        thread = threading.Thread(target=server.serve_forever, args=[0.02])
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()
