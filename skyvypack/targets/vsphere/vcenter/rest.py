"""vCenter's REST interface, which alone knows tags and content libraries.

Source: vSphere Automation REST API, ``/rest/com/vmware/cis/session`` and its siblings: every vCenter from 6.5 on has
them, and answers are wrapped as ``{"value": …}``.
"""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import time
from typing import Any
from urllib.parse import quote

from skyvypack.registrar import retry
from skyvypack.registrar.contract import RegistrarError
from skyvypack.registrar.retry import Patience
from skyvypack.targets.vsphere.vcenter.session import Session

TIMEOUT = 60.0
_IDLE = 5.0  # seconds after which a server may have hung up on a connection that nobody used
_SESSION = "/rest/com/vmware/cis/session"
_TOKEN = "vmware-api-session-id"
PATIENCE = Patience(seconds=60.0)


class Refused(RegistrarError):
    """vCenter answered with an error.

    Args:
        status: of HTTP.
        text: what it said.
        what: was asked.
        kind: of the error, such as ``com.vmware.vapi.std.errors.already_exists``.
    """

    def __init__(self, status: int, text: str, what: str, kind: str = "") -> None:
        self.status = status
        self.text = text
        self.kind = kind
        super().__init__(f"{what}: vCenter answers {status}" + (f": {text}" if text else ""))


class _Busy(Exception):
    """An answer of a proxy or of a service that is starting."""


class Rest:
    """A login of its own beside the session's, opened by the first use and renewed when it is lost.

    Args:
        session: gives account, certificates and progress.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._token = ""
        self._connection: http.client.HTTPSConnection | None = None
        self._used = 0.0

    def close(self) -> None:
        """Log out."""
        if self._token:
            with contextlib.suppress(Exception):
                self._once("DELETE", _SESSION, None, self._headers())
        self._token = ""
        self._hang_up()

    def get(self, path: str) -> Any:
        """Read something."""
        return self._ask("GET", path, None)

    def delete(self, path: str) -> Any:
        """Remove something; fine when it is gone."""
        try:
            return self._ask("DELETE", path, None)
        except Refused as error:
            if error.status != 404:
                raise
            return None

    def post(self, path: str, body: Any, *, again: bool = True, seconds: float = TIMEOUT) -> Any:
        """Do something.

        Args:
            path: below the server's name, with its query.
            body: becomes JSON.
            again: safe to repeat when the answer was lost.
            seconds: until an answer is there.

        Raises:
            Refused: vCenter said no.
            RegistrarError: it could not be asked.
        """
        return self._ask("POST", path, body, again=again, seconds=seconds)

    def _ask(self, method: str, path: str, body: Any, *, again: bool = True, seconds: float = TIMEOUT) -> Any:
        what = f"{method} {path.partition('?')[0]}"
        try:
            try:
                return self._try(method, path, body, again, what, seconds)
            except Refused as error:
                if error.status != 401:
                    raise
                self._token = ""
                return self._try(method, path, body, again, what, seconds)
        except (OSError, http.client.HTTPException, _Busy) as error:
            raise RegistrarError(f"{what} at {self._session.login.server}: {error}") from error

    def _try(self, method: str, path: str, body: Any, again: bool, what: str, seconds: float) -> Any:
        def act() -> Any:
            self._token = self._token or self._login()
            return self._once(method, path, body, self._headers(), seconds)

        if not again:
            self._hang_up()  # a connection that has been idle may be dead, and this cannot be tried twice
            return act()
        passes = (ConnectionError, TimeoutError, http.client.HTTPException, _Busy)
        return retry.call(
            act,
            transient=lambda error: isinstance(error, passes),
            patience=PATIENCE,
            progress=self._session.progress,
            what=what,
        )

    def _login(self) -> str:
        login = self._session.login
        pair = base64.b64encode(f"{login.user}:{login.password}".encode()).decode()
        return str(self._once("POST", _SESSION, None, {"Authorization": f"Basic {pair}"}))

    def _headers(self) -> dict[str, str]:
        return {_TOKEN: self._token}

    def _once(self, method: str, path: str, body: Any, headers: dict[str, str], seconds: float = TIMEOUT) -> Any:
        connection = self._connected()
        text = None if body is None else json.dumps(body)
        try:
            if connection.sock is None:
                connection.connect()
            connection.sock.settimeout(seconds)
            connection.request(method, path, text, {"Content-Type": "application/json", **headers})
            answer = connection.getresponse()
            content = answer.read()
        except BaseException:
            self._hang_up()
            raise
        self._used = time.monotonic()
        if answer.status in (502, 503, 504):
            raise _Busy(f"{answer.status} {answer.reason}")
        if answer.status >= 300:
            kind, said = _said(content)
            what = f"{method} {path.partition('?')[0]}"
            raise Refused(answer.status, said or kind or answer.reason, what, kind)
        found = json.loads(content) if content.strip() else None
        return found["value"] if isinstance(found, dict) and "value" in found else found

    def _connected(self) -> http.client.HTTPSConnection:
        """One connection for all that is asked in a row: with a vCenter that is far away, opening one takes longest."""
        if time.monotonic() - self._used > _IDLE:
            self._hang_up()
        if self._connection is None:
            login, context = self._session.login, self._session.context
            self._connection = http.client.HTTPSConnection(login.server, login.port, timeout=TIMEOUT, context=context)
        return self._connection

    def _hang_up(self) -> None:
        if self._connection is not None:
            self._connection.close()
        self._connection = None


def _said(content: bytes) -> tuple[str, str]:
    """The kind of an error and its messages."""
    try:
        found = json.loads(content)
        value = found.get("value") or found
        messages = [one.get("default_message", "") for one in value.get("messages", ()) if isinstance(one, dict)]
        kind = found.get("type") or found.get("error_type") or value.get("error_type") or ""
        return str(kind), "; ".join(filter(None, messages))
    except (ValueError, AttributeError):
        return "", ""


def segment(id: str) -> str:
    """An id as a part of a path, as in ``id:urn:vmomi:…``."""
    return "id:" + quote(id, safe=":")
