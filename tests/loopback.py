"""A web server on loopback that serves a folder and remembers what it was asked for."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


class Handler(SimpleHTTPRequestHandler):
    """Serves a folder, counts requests, and breaks off in the middle of ``broken.qcow2``."""

    requests: list[str]
    half = b""

    def do_GET(self) -> None:
        """Answer one request."""
        self.requests.append(self.path)
        if self.path == "/broken.qcow2":
            self.send_response(200)
            self.send_header("Content-Length", str(2 * len(self.half)))
            self.end_headers()
            self.wfile.write(self.half)
        else:
            super().do_GET()

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@contextmanager
def serving(folder: Path, half: bytes = b"") -> Iterator[tuple[str, list[str]]]:
    """Serve a folder; gives the server's URL and the growing list of paths it was asked for.

    Args:
        folder: what is served.
        half: what ``/broken.qcow2`` begins with, half of what it announces.
    """
    requests: list[str] = []
    handler = type("Counting", (Handler,), {"requests": requests, "half": half})
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(handler, directory=str(folder))) as server:
        thread = threading.Thread(target=server.serve_forever, args=[0.02])
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", requests
        server.shutdown()
        thread.join()
