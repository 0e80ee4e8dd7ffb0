"""Calls to the Proxmox VE API: each with a timeout, repeated on errors that pass, told in its own words."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import requests
from proxmoxer.core import ResourceException

from skyvypack.progress import Progress
from skyvypack.registrar.contract import RegistrarError
from skyvypack.registrar.credentials import secret
from skyvypack.registrar.retry import Patience, call, pauses
from skyvypack.targets.proxmox.pve import session as sessions

# Proxmox VE says 500 for nearly everything it refuses. These will not pass by waiting.
_FINAL = re.compile(
    r"already exists|does not exist|no such|no space left|not supported|unsupported|does not support|permission"
    r"|invalid|unable to parse|protection mode|is running|not running|still in use|to a template|no storage id"
    r"|not configured|checksum mismatch|file change by other user",
    re.IGNORECASE,
)
_TAIL = 12
_CONNECT_SECONDS = 10.0
_LOOK_SECONDS = 2.0


class Refused(RegistrarError):
    """Proxmox VE said no.

    Args:
        what: was asked.
        status: of HTTP, or 595 when a node could not be reached by the one we asked.
        said: its words.
    """

    def __init__(self, what: str, status: int, said: str, hint: str = "") -> None:
        self.status = status
        self.said = said
        super().__init__(f"{what}: {said} ({status})", hint)


class TaskFailed(RegistrarError):
    """A task ended with an error; the message holds the end of its log."""


@dataclass(frozen=True, slots=True)
class Account:
    """Where the API is and who we are.

    Args:
        url: up to ``/api2/json``, without a slash at its end.
        user: such as ``ci@pve``.
        token: name of an API token, empty for a password.
        secret: the token's value, or the password.
    """

    url: str
    user: str
    token: str
    secret: str

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> Account:
        """From the target's settings and, where they say nothing, Packer's own environment variables.

        Raises:
            RegistrarError: something is missing; the hint says which variable to set.
        """
        url = settings["url"] or secret("PROXMOX_URL")
        name = settings["username"] or secret("PROXMOX_USERNAME")
        token, password = secret("PROXMOX_TOKEN"), secret("PROXMOX_PASSWORD")
        wanted = {"targets.proxmox.url, or PROXMOX_URL": url, "targets.proxmox.username, or PROXMOX_USERNAME": name}
        user, _, token_name = name.partition("!")
        wanted["PROXMOX_TOKEN" if token_name else "PROXMOX_PASSWORD"] = token if token_name else password
        missing = [what for what, value in wanted.items() if not value]
        if missing:
            raise RegistrarError(
                f"not set: {'; '.join(missing)}",
                "a secret comes from the environment, or from a file: PROXMOX_TOKEN_FILE, PROXMOX_PASSWORD_FILE",
            )
        base = url.rstrip("/")
        return cls(
            base if base.endswith("/api2/json") else f"{base}/api2/json",
            user,
            token_name,
            token if token_name else password,
        )

    @property
    def name(self) -> str:
        """The user, with the token's name."""
        return f"{self.user}!{self.token}" if self.token else self.user

    @property
    def endpoint(self) -> str:
        """Scheme, host and port."""
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{parts.netloc}"


class Api:
    """One cluster.

    Args:
        settings: of the target.
        progress: told of repeated calls.
    """

    def __init__(self, settings: Mapping[str, Any], progress: Progress) -> None:
        self.settings = settings
        self.progress = progress
        self.patience = Patience(settings["retry_for"])
        self._session: Any = None
        self._account: Account | None = None

    @property
    def account(self) -> Account:
        """Who we are.

        Raises:
            RegistrarError: a setting or a secret is missing.
        """
        if self._account is None:
            self._account = Account.of(self.settings)
        return self._account

    def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            self._session.close()

    def get(self, path: str, /, **params: Any) -> Any:
        """Read something; `path` is below ``/api2/json/``."""
        return self.retried(f"read {path}", lambda: self.once("GET", path, params))

    def put(self, path: str, /, **params: Any) -> Any:
        """Set something; the same call twice does the same as one."""
        return self.retried(f"set {path}", lambda: self.once("PUT", path, params))

    def make(self, what: str, path: str, found: Callable[[], str | None], /, **params: Any) -> str:
        """Let something be made, once.

        Args:
            what: for messages.
            path: to post to.
            found: the task of an earlier try whose answer was lost, or None; asked before each further try.
            params: of the request.

        Returns:
            The task's UPID, empty where Proxmox VE had nothing left to do.
        """
        tries = 0

        def act() -> str:
            nonlocal tries
            tries += 1
            seen = found() if tries > 1 else None
            return seen if seen is not None else str(self.once("POST", path, params) or "")

        return str(self.retried(what, act))

    def reach(self) -> Any:
        """Ask for the version, once: see whether the cluster can be reached and takes our credentials."""
        return self._told("reach", lambda: self.once("GET", "version", {}))

    def retried(self, what: str, act: Callable[[], Any]) -> Any:
        """Do something, again on errors that pass; the last error is told in Proxmox VE's words."""

        def patient() -> Any:
            return call(act, transient=passes, patience=self.patience, progress=self.progress, what=what)

        return self._told(what, patient)

    def _told(self, what: str, act: Callable[[], Any]) -> Any:
        try:
            return act()
        except ResourceException as error:
            raise Refused(what, int(error.status_code), _words(error)) from error
        except requests.RequestException as error:
            raise RegistrarError(f"{what}: {error}") from error

    def once(self, method: str, path: str, params: Mapping[str, Any], timeout: float | None = None) -> Any:
        """One request, without a second try but for a ticket that has expired.

        Args:
            method: ``GET``, ``POST``, ``PUT`` or ``DELETE``.
            path: below ``/api2/json/``.
            params: None is left out.
            timeout: seconds to wait for an answer; the setting ``call_timeout`` by default.
        """
        session = self._open()
        session.auth.timeout = (_CONNECT_SECONDS, timeout or self.settings["call_timeout"])
        request = sessions.resource(session, f"{self.account.url}/{path}")
        key = "params" if method in ("GET", "DELETE") else "data"
        try:
            return request._request(method, **{key: dict(params)})
        except ResourceException as error:
            if error.status_code != 401 or not isinstance(session.auth, sessions.Ticket):
                raise
            session.auth.renew()
            for stream in (value for value in params.values() if hasattr(value, "seek")):
                stream.seek(0)
            return request._request(method, **{key: dict(params)})

    def _open(self) -> Any:
        if self._session is None:
            account, settings = self.account, self.settings
            session = sessions.open_session(settings["fingerprint"])
            options = {
                "verify_ssl": sessions.trust(settings["ca_file"], settings["fingerprint"], settings["insecure"]),
                "timeout": (_CONNECT_SECONDS, settings["call_timeout"]),
            }
            if account.token:
                session.auth = sessions.token_auth(account.user, account.token, account.secret, **options)
            else:
                session.auth = sessions.Ticket(session, account.url, account.user, account.secret, **options)
            self._session = session
        return self._session

    @property
    def task_seconds(self) -> float:
        """How long one task may take."""
        text: str = self.settings["task_timeout"]
        return int(text[:-1]) * {"s": 1, "m": 60, "h": 3600}[text[-1]]

    def wait(self, upid: str, what: str) -> None:
        """Wait for a task.

        Args:
            upid: of the task; empty for one that had nothing to do.
            what: it does.

        Raises:
            TaskFailed: it ended with an error.
            RegistrarError: it did not end in time; it is told to stop.
        """
        if not upid:
            return
        deadline = time.monotonic() + self.task_seconds
        for pause in pauses(_LOOK_SECONDS):
            state = self.get(f"{_task(upid)}/status")
            if state["status"] == "stopped":
                break
            if time.monotonic() > deadline:
                self.stop(upid)
                raise RegistrarError(f"{what}: no end after {self.task_seconds:.0f} s", "raise task_timeout")
            time.sleep(pause)
        ended = str(state.get("exitstatus", ""))
        if ended != "OK" and not ended.startswith("WARNINGS"):
            lines = [str(line.get("t", "")) for line in self.get(f"{_task(upid)}/log", limit=1000)]
            tail = "\n  ".join(lines[-_TAIL:])
            raise TaskFailed(f"{what}: {ended}\n  {tail}" if tail else f"{what}: {ended}")

    def stop(self, upid: str) -> None:
        """Stop a task of ours, if it still runs."""
        self.retried("stop a task", lambda: self.once("DELETE", _task(upid), {}))

    def tasks(self, node: str, kind: str, vmid: int | None = None) -> dict[str, bool]:
        """Our tasks of a kind on a node by UPID, the newest first: True for those that run.

        Args:
            node: its name.
            kind: such as ``qmcreate``.
            vmid: that it is about; None for tasks that are about no VM.
        """
        found = self.get(f"nodes/{node}/tasks", source="all", typefilter=kind, limit=500, vmid=vmid)
        ours = [task for task in found if task["type"] == kind and self._is_ours(task)]
        return {task["upid"]: "endtime" not in task for task in ours}

    def _is_ours(self, task: Mapping[str, Any]) -> bool:
        token = task.get("tokenid", "")
        return str(task["user"]).partition("!")[0] == self.account.user and (not token or token == self.account.token)


def _task(upid: str) -> str:
    return f"nodes/{upid.split(':')[1]}/tasks/{upid}"


def _words(error: ResourceException) -> str:
    """What Proxmox VE said, with the fields that it refused."""
    fields = error.errors
    if isinstance(fields, dict) and "errors" not in fields:
        return f"{error.content.partition(' - {')[0]} {'; '.join(f'{key}: {value}' for key, value in fields.items())}"
    return str(error.content or error.status_message)


def passes(error: BaseException) -> bool:
    """Whether an error is one that passes: no answer, a server in trouble, a lock; never a refusal."""
    if isinstance(error, requests.exceptions.SSLError):
        return False
    if isinstance(error, ResourceException):
        status = int(error.status_code)
        return status >= 500 and status != 501 and not _FINAL.search(str(error.content))
    broken = (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError)
    return isinstance(error, broken)
