"""Leases: the permission to send disks for a machine that is being imported, which ends unless it is kept alive.

Source: vSphere API reference, ``HttpNfcLease`` (states, ``leaseTimeout``, ``HttpNfcLeaseProgress`` as the sign of
life).
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, Protocol

from skyvypack.progress import Event, Progress
from skyvypack.registrar.contract import RegistrarError
from skyvypack.registrar.retry import until
from skyvypack.targets.vsphere.vcenter.upload import Digest, Place, Source, send

READY = 120.0
_SIGN_OF_LIFE = 15.0
_NOTHING_MORE = ("ManagedObjectNotFound", "InvalidState")
PAUSE = 0.5


class Lease(Protocol):
    """What we use of pyvmomi's ``vim.HttpNfcLease``."""

    state: Any
    info: Any
    error: Any

    def HttpNfcLeaseProgress(self, percent: int) -> None:
        """Tell how far it is, 0…100."""

    def HttpNfcLeaseComplete(self) -> None:
        """End it: the machine is whole."""

    def HttpNfcLeaseAbort(self) -> None:
        """End it: the machine is to be forgotten."""


Call = Callable[[str, Callable[[], Any]], Any]
"""As `Session.call`: asks, and asks again when that may help."""


def _once(_what: str, act: Callable[[], Any]) -> Any:
    return act()


def wait(lease: Lease, seconds: float = READY, call: Call = _once) -> Any:
    """Wait until a lease takes disks; returns its info.

    Args:
        lease: just made.
        seconds: until it is given up.
        call: asks vCenter.

    Raises:
        RegistrarError: vSphere gave it up, or it took too long.
    """
    what = "wait for the lease"
    until(lambda: call(what, lambda: _is_ready(lease)), seconds=seconds, pause=PAUSE, what="vSphere to take disks")
    return call(what, lambda: lease.info)


def _is_ready(lease: Lease) -> bool | None:
    state = str(lease.state)
    if state == "ready":
        return True
    if state in ("error", "done"):
        raise RegistrarError(f"vSphere ended the import: {_reason(lease)}")
    return None


def _reason(lease: Lease) -> str:
    error = getattr(lease, "error", None)
    return str(getattr(error, "msg", "") or getattr(error, "localizedMessage", "") or error or "no reason given")


class Keeper:
    """Tells vSphere how far an upload is, from a thread of its own, as a stalled upload would else end the lease."""

    def __init__(self, lease: Lease, interval: float, call: Call = _once) -> None:
        self.percent = 0
        self._lease = lease
        self._call = call
        self._interval = interval
        self._stop = threading.Event()
        self._failed: BaseException | None = None
        self._thread = threading.Thread(target=self._keep, name="skyvypack-lease", daemon=True)

    def _keep(self) -> None:
        while not self._stop.wait(self._interval):
            try:
                self._call("keep the lease", self._tell)
            except Exception as error:
                self._failed = error
                return

    def _tell(self) -> None:
        self._lease.HttpNfcLeaseProgress(self.percent)

    def check(self) -> None:
        """Raise what the thread met, so that an upload ends that nobody waits for any more."""
        if self._failed is not None:
            reason = getattr(self._failed, "msg", None) or self._failed
            raise RegistrarError(f"vSphere gave up the import: {reason}") from self._failed

    def __enter__(self) -> Keeper:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()


def fill(
    lease: Lease,
    info: Any,
    source: Source,
    place: Callable[[Any], Place],
    progress: Progress,
    call: Call = _once,
    digest: Digest | None = None,
) -> None:
    """Send the one disk of an import and complete its lease; the lease is kept alive meanwhile.

    Args:
        lease: ready.
        info: its info.
        source: the disk.
        place: turns a device URL of the lease into where to send to.
        progress: told how far it is, as stage ``upload``.
        call: asks vCenter.
        digest: of the disk, as for `send`.

    Raises:
        Broken: the way to the host broke; another import may succeed.
        RegistrarError: the lease wants no disk or several, it ended, or the upload was refused.
    """
    wanted = [device for device in info.deviceUrl if device.disk]
    if len(wanted) != 1:
        raise RegistrarError(f"vSphere wants {len(wanted)} disks, the template has one")
    interval = min(_SIGN_OF_LIFE, max(info.leaseTimeout / 4, 0.05))
    with progress.stage("upload", f"Send {source.path.name}"), Keeper(lease, interval, call) as keeper:

        def advance(sent: int) -> None:
            keeper.check()
            percent = sent * 100 // source.size
            # Each step is told once: a GiB has four thousand pieces.
            if percent > keeper.percent:
                progress.report(Event("advance", "upload", fraction=sent / source.size))
            keeper.percent = min(99, percent)

        send(source, place(wanted[0]), advance, digest)
        keeper.check()
    call("tell the lease of the end", lambda: lease.HttpNfcLeaseProgress(100))
    _complete(lease, call)


def _complete(lease: Lease, call: Call) -> None:
    tries = 0

    def act() -> None:
        nonlocal tries
        tries += 1
        try:
            lease.HttpNfcLeaseComplete()
        except Exception as error:
            # Completed by the first try, whose answer was lost: there is nothing more to complete.
            if tries == 1 or type(error).__name__.rpartition(".")[2] not in _NOTHING_MORE:
                raise

    call("complete the import", act)
