"""The HTTPS session: proxmoxer's, with a verified certificate and errors that keep their status.

proxmoxer logs in by a `requests.post` of its own, which knows no pinned certificate and tells a wrong password from a
proxy's error page only in words. So the ticket is fetched here, by the same session as everything else.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from proxmoxer.backends.https import (
    JsonSerializer,
    ProxmoxHTTPApiTokenAuth,
    ProxmoxHTTPAuth,
    ProxmoxHTTPAuthBase,
    ProxmoxHttpSession,
)
from proxmoxer.core import ProxmoxResource, ResourceException
from requests.adapters import HTTPAdapter

# What one write to the socket takes; http.client's own 16 KiB cost an upload a third of its speed.
_BLOCK = 1024 * 1024


class _Adapter(HTTPAdapter):  # type: ignore[misc,unused-ignore]
    """Sends in large blocks, and pins the certificate where a fingerprint is given."""

    def __init__(self, fingerprint: str) -> None:
        self._fingerprint = fingerprint
        super().__init__()

    def init_poolmanager(self, connections: int, maxsize: int, block: bool = False, **options: Any) -> None:
        """As in requests, with our options."""
        options["blocksize"] = _BLOCK
        if self._fingerprint:
            options["assert_fingerprint"] = self._fingerprint
        super().init_poolmanager(connections, maxsize, block, **options)


class Ticket(ProxmoxHTTPAuth):  # type: ignore[misc,unused-ignore]
    """A login by password; `renew` logs in again when the ticket is not taken any more."""

    def __init__(self, session: ProxmoxHttpSession, url: str, username: str, password: str, **options: Any) -> None:
        ProxmoxHTTPAuthBase.__init__(self, **options)
        self._session = session
        self._password = password
        self.base_url = url
        self.username = username
        self.renew()

    def renew(self) -> None:
        """Log in.

        Raises:
            ResourceException: refused, with its status.
        """
        self._get_new_tokens(password=self._password)

    def _get_new_tokens(self, password: str | None = None, **_others: Any) -> None:
        data = {"username": self.username, "password": password or self._password}
        anonymous = ProxmoxHTTPAuthBase(self.timeout, verify_ssl=self.verify_ssl)
        answer = self._session.request("POST", f"{self.base_url}/access/ticket", data=data, auth=anonymous)
        if answer.status_code != 200:
            raise ResourceException(answer.status_code, answer.reason, answer.reason)
        told = answer.json()["data"]
        if told.get("NeedTFA"):
            raise ResourceException(401, "second factor", f"{self.username} needs a second factor: use an API token")
        self.birth_time = time.monotonic()
        self.pve_auth_ticket = told["ticket"]
        self.csrf_prevention_token = told["CSRFPreventionToken"]


def open_session(fingerprint: str) -> ProxmoxHttpSession:
    """A session that trusts nobody yet.

    Args:
        fingerprint: SHA-256 of the one certificate to trust, in hexadecimal; empty to trust by authority.
    """
    session = ProxmoxHttpSession()
    session.mount("https://", _Adapter(fingerprint))
    session.headers["accept"] = JsonSerializer().get_accept_types()
    return session


def token_auth(username: str, name: str, value: str, **options: Any) -> ProxmoxHTTPApiTokenAuth:
    """A login by API token."""
    return ProxmoxHTTPApiTokenAuth(username, name, value, **options)


def resource(session: ProxmoxHttpSession, url: str) -> ProxmoxResource:
    """What proxmoxer makes a request with."""
    return ProxmoxResource(base_url=url, session=session, serializer=JsonSerializer())


def trust(ca_file: str, fingerprint: str, insecure: bool) -> bool | str:
    """What requests is told of verification: a fingerprint is checked by the adapter in place of an authority."""
    if fingerprint:
        return False
    if ca_file:
        return str(Path(ca_file).expanduser())
    return not insecure
