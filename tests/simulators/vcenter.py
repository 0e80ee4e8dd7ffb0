"""A vCenter with moods: vcsim behind an HTTPS server that records what is sent and answers wrongly when told to.

Uploads end here, because vcsim throws them away: their bytes are digested and compared by the tests.
"""

from __future__ import annotations

import hashlib
import os
import re
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPSConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from simulators.certificates import Authority
from simulators.vcsim import Server

_METHOD = re.compile(rb"<(?:\w+:)?Body[^>]*>\s*<(?:\w+:)?(\w+)")
_FAULT = """<?xml version="1.0" encoding="UTF-8"?>
<soapenv:Envelope xmlns:soapenv="http://schemas.xmlsoap.org/soap/envelope/" xmlns:xsd="http://www.w3.org/2001/XMLSchema"
 xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"><soapenv:Body><soapenv:Fault>
<faultcode>ServerFaultCode</faultcode><faultstring>{text}</faultstring>
<detail><{name}Fault xmlns="urn:vim25" xsi:type="{name}">{fields}</{name}Fault></detail>
</soapenv:Fault></soapenv:Body></soapenv:Envelope>"""
_SKIPPED = {"host", "accept-encoding", "connection", "content-length", "transfer-encoding"}
_PIECE = 1 << 16


@dataclass(frozen=True)
class Answer:
    """What is answered in place of vcsim.

    Args:
        status: HTTP status; 0 to hang up without an answer.
        body: of the answer.
        after: True to let vcsim do the work first, so that only its answer is lost.
        seconds: to wait before.
    """

    status: int = 500
    body: bytes = b""
    after: bool = False
    seconds: float = 0.0


def fault(name: str, text: str = "told to fail", fields: str = "", after: bool = False) -> Answer:
    """A SOAP fault, such as ``fault("DuplicateName", fields="<name>web</name>")``."""
    return Answer(500, _FAULT.format(name=name, text=text, fields=fields).encode(), after)


HANG_UP = Answer(0)
LOST = Answer(0, after=True)


@dataclass
class Upload:
    """One disk that was sent."""

    path: str
    type: str
    size: int = 0
    sha256: str = ""
    whole: bool = False


@dataclass
class Moods:
    """How the vCenter behaves; a test changes them as it goes.

    Args:
        answers: by SOAP method or by ``METHOD /path`` of a REST call, in the order they are given.
        denied: privileges that nobody has.
        rewrites: changes each answer of vcsim.
        upload: status of an upload's answer; 0 hangs up.
        upload_limit: bytes of an upload after which it is answered.
        upload_pause: seconds to wait after each 64 KiB of an upload.
        expired: True from the moment the session is lost until the next login.
        on_upload: called when an upload begins.
        after: called with a call, its path and its request once vcsim has answered it.
        keep: file that an upload's bytes are written to; None to keep none.
        trusts: signs the certificate that is shown; the tests' authority by default.
    """

    answers: dict[str, list[Answer]] = field(default_factory=dict)
    denied: set[str] = field(default_factory=set)
    rewrites: list[Callable[[str, bytes], bytes]] = field(default_factory=list)
    upload: int = 200
    upload_limit: int | None = None
    upload_pause: float = 0.0
    expired: bool = False
    on_upload: Callable[[], None] = lambda: None
    after: Callable[[str, str, bytes], None] = lambda *_: None
    keep: Path | None = None


Reply = tuple[int, list[tuple[str, str]], bytes]


class VCenter:
    """See the module; `server` is what a client connects to."""

    def __init__(self, behind: Server, authority: Authority) -> None:
        self.behind = behind
        self.moods = Moods()
        self.calls: list[str] = []
        self.requests: list[bytes] = []
        self.uploads: list[Upload] = []
        self.certificate = authority.issue("vcenter")
        self._trust = ssl.create_default_context(cafile=str(behind.authority))
        vcenter = self

        class Bound(_Handler):
            owner = vcenter

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Bound)
        self._http.daemon_threads = True
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificate.certificate, self.certificate.key)
        self._http.socket = context.wrap_socket(self._http.socket, server_side=True, do_handshake_on_connect=False)
        self._http.handle_error = lambda *_: None  # type: ignore[method-assign]
        self.server = Server(self._http.server_port, authority.file)

    def answer(self, call: str, *answers: Answer) -> None:
        """Answer the next calls of a SOAP method, or of ``POST /rest/…``, in place of vcsim."""
        self.moods.answers.setdefault(call, []).extend(answers)

    def always(self, call: str, answer: Answer) -> None:
        """Answer every further call of a SOAP method in place of vcsim."""
        self.moods.answers[call] = [answer] * 10_000

    def forget(self) -> None:
        """Back to good manners, with nothing recorded."""
        self.moods = Moods()
        self.calls.clear()
        self.requests.clear()
        self.uploads.clear()

    def connect(self) -> HTTPSConnection:
        """To vcsim."""
        return HTTPSConnection("127.0.0.1", self.behind.port, timeout=60, context=self._trust)

    def serve(self) -> None:
        self._http.serve_forever(poll_interval=0.05)

    def close(self) -> None:
        self._http.shutdown()
        self._http.server_close()


class _Handler(BaseHTTPRequestHandler):
    """Forwards one request, unless it is an upload or the vCenter is in a mood."""

    owner: VCenter
    protocol_version = "HTTP/1.1"
    # Head and body in one packet at once: waiting for each other's costs 40 ms a call.
    disable_nagle_algorithm = True
    wbufsize = -1

    def setup(self) -> None:
        super().setup()
        self._behind = self.owner.connect()

    def finish(self) -> None:
        self._behind.close()
        super().finish()

    def log_message(self, format: str, *args: object) -> None:
        """Silence."""

    def do_GET(self) -> None:
        self._handle()

    do_PUT = do_DELETE = do_PATCH = do_GET

    def do_POST(self) -> None:
        if self.path.startswith("/nfc/"):
            self._upload()
        else:
            self._handle()

    def _handle(self) -> None:
        body = self._body()
        found = _METHOD.search(body) if self.path.startswith("/sdk") else None
        call = found[1].decode() if found else f"{self.command} {self.path.partition('?')[0]}"
        moods = self.owner.moods
        self.owner.calls.append(call)
        if call != "Login":
            self.owner.requests.append(body)
        else:
            moods.expired = False
        queued = moods.answers.get(call)
        told = queued.pop(0) if queued else None
        if told is None and moods.expired and found and call not in ("RetrieveServiceContent", "Logout"):
            told = fault("NotAuthenticated", "The session is not authenticated.")
        if told is None or told.after:
            reply = self._forward(call, body)
            moods.after(call, self.path, body)
        if told is not None:
            time.sleep(told.seconds)
            reply = (told.status, [("Content-Type", "text/xml")], told.body)
        self._reply(*reply)

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        body = b""
        while size := int(self.rfile.readline().split(b";")[0], 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def _forward(self, call: str, body: bytes) -> Reply:
        headers = {key: value for key, value in self.headers.items() if key.lower() not in _SKIPPED}
        if call == "Login":
            headers.pop("Cookie", None)  # vcsim refuses a second login of a session that it has not lost
        self._behind.request(self.command, self.path, body, headers)
        reply = self._behind.getresponse()
        kept = [(key, value) for key, value in reply.getheaders() if key.lower() not in _SKIPPED]
        status, answer = reply.status, reply.read()
        answer = answer.replace(self.owner.behind.host.encode(), self.owner.server.host.encode())
        for privilege in self.owner.moods.denied:
            granted = f"<privId>{privilege}</privId><isGranted>true".encode()
            answer = answer.replace(granted, granted.replace(b"true", b"false"))
        for rewrite in self.owner.moods.rewrites:
            answer = rewrite(call, answer)
        return status, kept, answer

    def _upload(self) -> None:
        moods = self.owner.moods
        upload = Upload(self.path, self.headers["Content-Type"])
        self.owner.uploads.append(upload)
        moods.on_upload()
        size = int(self.headers["Content-Length"])
        digest = hashlib.sha256()
        limit = size if moods.upload_limit is None else moods.upload_limit
        with (moods.keep or Path(os.devnull)).open("wb") as kept:
            while upload.size < limit and (piece := self.rfile.read(min(_PIECE, size - upload.size))):
                digest.update(piece)
                kept.write(piece)
                upload.size += len(piece)
                time.sleep(moods.upload_pause)
        upload.sha256, upload.whole = digest.hexdigest(), upload.size == size
        self.close_connection = True
        self._reply(moods.upload, [], b"told to fail" if moods.upload >= 300 else b"")

    def _reply(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        if not status:
            self.close_connection = True
            return
        self.send_response(status)
        for key, value in headers:
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@contextmanager
def vcenter(behind: Server, authority: Authority) -> Iterator[VCenter]:
    """A vCenter in front of a running vcsim, for as long as the block runs."""
    made = VCenter(behind, authority)
    thread = threading.Thread(target=made.serve, daemon=True)
    thread.start()
    try:
        yield made
    finally:
        made.close()
        thread.join()
