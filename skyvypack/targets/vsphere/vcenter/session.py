"""A login at a vCenter: always over verified TLS, renewed when the session is lost, every call with a deadline.

pyvmomi trusts anybody on localhost, and everybody when asked to, unless it is given a context: it always is.
"""

from __future__ import annotations

import contextlib
import http.client
import socket
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypeVar
from xml.parsers.expat import ExpatError

from skyvypack.errors import ToolMissing
from skyvypack.progress import Progress
from skyvypack.registrar import retry
from skyvypack.registrar.contract import RegistrarError
from skyvypack.registrar.retry import Patience

T = TypeVar("T")

_CALL = 60.0  # seconds that one call may take
PATIENCE = Patience(seconds=60.0)
PAUSE = 0.5


class Unreachable(RegistrarError):
    """No session could be opened: nothing else can be seen."""


@dataclass(frozen=True, slots=True)
class Login:
    """How to reach a vCenter.

    Args:
        server: its name or address.
        port: TCP port.
        user: as in ``packer@vsphere.local``.
        password: never shown.
        authority: PEM file of the authority that signed its certificate; empty for the system's.
    """

    server: str
    user: str
    password: str = field(repr=False)
    port: int = 443
    authority: str = ""

    def __str__(self) -> str:
        return f"{self.user} at https://{self.server}" + (f":{self.port}" if self.port != 443 else "")


class Gone(RegistrarError):
    """vCenter does not know the object any more."""


class Session:
    """One login, opened by the first use.

    Args:
        login: how to reach it.
        progress: told of what is tried again.
    """

    def __init__(self, login: Login, progress: Progress) -> None:
        self.login = login
        self.progress = progress
        self._instance: Any = None
        self._content: Any = None
        self._context: ssl.SSLContext | None = None
        self._failed: Unreachable | None = None

    @property
    def context(self) -> ssl.SSLContext:
        """What vCenter's certificate is verified by.

        Raises:
            Unreachable: the authority's file cannot be used.
        """
        if self._context is None:
            try:
                self._context = ssl.create_default_context(cafile=self.login.authority or None)
            except OSError as error:
                raise Unreachable(
                    f"cannot read certificates from {self.login.authority}: {error.strerror or error}",
                    "ca_file names a PEM file",
                ) from error
        return self._context

    @property
    def content(self) -> Any:
        """vCenter's ``ServiceContent``.

        Raises:
            Unreachable: it cannot be reached or trusted, or it refuses the login.
        """
        if self._failed is not None:
            raise self._failed
        if self._content is None:
            try:
                # Kept, because each look at the instance's own asks vCenter anew.
                self._instance, self._content = self._open()
            except Unreachable as error:
                # Who asks next is told the same at once: after so much patience, and as wrong logins lock an account.
                self._failed = error
                raise
        return self._content

    def _open(self) -> tuple[Any, Any]:
        """The service instance and its content, logged in."""
        login = self.login
        _, vim, _ = _sdk()
        try:
            return retry.call(
                self._log_in,
                transient=_passes,
                patience=PATIENCE,
                progress=self.progress,
                what=f"log in as {login}",
            )
        except vim.fault.InvalidLogin as error:
            raise Unreachable(
                f"{login.server} refuses {login.user}: {_words(error)}",
                "check the account (username, or VSPHERE_USER) and VSPHERE_PASSWORD",
            ) from error
        except Unreachable:
            raise
        except Exception as error:
            hint = _hint(error) or "check the server's name (server, or VSPHERE_SERVER), and that it can be reached"
            raise Unreachable(f"cannot log in as {login}: {_words(error)}", hint) from error

    def _log_in(self) -> tuple[Any, Any]:
        connect, vim, _ = _sdk()
        login = self.login
        stub = connect.SmartStubAdapter(
            host=login.server, port=login.port, sslContext=self.context, httpConnectionTimeout=_CALL
        )
        try:
            instance = vim.ServiceInstance("ServiceInstance", stub)
            content = instance.content
            content.sessionManager.Login(userName=login.user, password=login.password)
        except BaseException:
            stub.DropConnections()
            raise
        return instance, content

    def now(self) -> datetime:
        """The time by vCenter's clock."""
        self.content  # noqa: B018 - opens the session
        found: datetime = self.call("ask for the time", self._instance.CurrentTime)
        return found

    def close(self) -> None:
        """Log out; whatever fails then does not matter any more."""
        if self._content is not None:
            with contextlib.suppress(Exception):
                self._content.sessionManager.Logout()
            self._instance._stub.DropConnections()
        self._instance = self._content = None

    def call(self, what: str, act: Callable[[], T]) -> T:
        """Ask vCenter something, again on errors that may pass; a session that was lost is renewed once.

        Args:
            what: for messages, such as ``create VM web-1.0.0``.
            act: asks; safe to repeat.

        Raises:
            Gone: what was asked about is not there any more.
        RegistrarError: it failed, in vCenter's words.
        """
        self.content  # noqa: B018 - a first login has errors of its own
        _, vim, vmodl = _sdk()
        try:
            try:
                return self._try(what, act)
            except vim.fault.NotAuthenticated:
                self.progress.note("session", f"{what}: the session was lost; logging in again")
                self._renew()
                return self._try(what, act)
        except RegistrarError:
            raise
        except Exception as error:
            kind = Gone if isinstance(error, vmodl.fault.ManagedObjectNotFound) else RegistrarError
            raise kind(f"{what}: {_words(error)}", _hint(error)) from error

    def _try(self, what: str, act: Callable[[], T]) -> T:
        return retry.call(act, transient=_passes, patience=PATIENCE, progress=self.progress, what=what)

    def _renew(self) -> None:
        """On the same connection, so that objects that were found before can be used on."""
        self._content.sessionManager.Login(userName=self.login.user, password=self.login.password)

    def task(self, what: str, begin: Callable[[], Any], *, seconds: float = 600.0) -> Any:
        """Start a task and wait for its end; returns its result.

        Args:
            what: for messages.
            begin: starts it. It is called again when its answer was lost, so it looks first whether the work is done
                already, and then returns None.
            seconds: until it is given up and cancelled.

        Raises:
            RegistrarError: it could not be started, failed, or did not end in time.
        """
        task = self.call(what, begin)
        if task is None:
            return None
        try:
            return self._ended(what, task, time.monotonic() + seconds)
        except BaseException:
            # What goes on by itself would come back after it has been undone.
            with contextlib.suppress(Exception):
                task.CancelTask()
            raise

    def _ended(self, what: str, task: Any, deadline: float) -> Any:
        for pause in retry.pauses(PAUSE):
            info = self.call(f"{what}: look at its task", lambda: task.info)
            if str(info.state) == "success":
                return info.result
            if str(info.state) == "error":
                raise RegistrarError(f"{what}: {_words(info.error)}", _hint(info.error))
            if time.monotonic() > deadline:
                break
            time.sleep(pause)
        raise RegistrarError(f"{what}: no end in time")


def _sdk() -> tuple[Any, Any, Any]:
    try:
        from pyVim import connect
        from pyVmomi import vim, vmodl
    except ImportError as error:
        raise ToolMissing("pyvmomi is not installed", "run: python -m pip install 'skyvypack[vsphere]'") from error
    return connect, vim, vmodl


def _passes(error: BaseException) -> bool:
    """Errors of the way there, or of vCenter being busy; never a refusal."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return False
    if isinstance(error, socket.gaierror):
        return error.errno == socket.EAI_AGAIN  # any other answer is that nobody has this name
    if isinstance(error, OSError | ExpatError):  # a proxy's page in place of an answer is no XML
        return True
    if isinstance(error, http.client.HTTPException):
        return not str(error).startswith("4")  # pyvmomi's message begins with the status
    from pyVmomi import vim, vmodl

    return isinstance(
        error,
        vim.fault.TaskInProgress
        | vim.fault.ConcurrentAccess
        | vmodl.fault.HostCommunication
        | vmodl.fault.RequestCanceled,
    )


def _words(error: Any) -> str:
    """What an error says, in one line."""
    said = getattr(error, "msg", "") or getattr(error, "localizedMessage", "")
    text = said if isinstance(said, str) and said else str(error)
    kind = type(error).__name__.rpartition(".")[2]
    missing = getattr(error, "privilegeId", "")
    if missing:
        return f"{text} (privilege {missing})"
    return " ".join(text.split()) or kind


def _hint(error: Any) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return "set ca_file to the PEM file of the authority that signed vCenter's certificate"
    if getattr(error, "privilegeId", ""):
        return f"give the account the privilege {error.privilegeId} there"
    return ""
