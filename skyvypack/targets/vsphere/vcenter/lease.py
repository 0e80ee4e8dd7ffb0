"""Leases: the permission to send disks for a machine that is being imported, which ends unless it is kept alive.

Source: vSphere API reference, ``HttpNfcLease`` (states, ``leaseTimeout``, ``HttpNfcLeaseProgress`` as the sign of
life).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from skyvypack.progress import Event, Progress
from skyvypack.registrar.contract import RegistrarError
from skyvypack.registrar.retry import until
from skyvypack.targets.vsphere.vcenter.upload import Place, Source, send

READY = 120.0
_SIGN_OF_LIFE = 15.0
_PAUSE = 0.5


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


def wait(lease: Lease, seconds: float = READY) -> Any:
    """Wait until a lease takes disks; returns its info.

    Raises:
        RegistrarError: vSphere gave it up, or it took too long.
    """
    until(lambda: _is_ready(lease), seconds=seconds, pause=_PAUSE, what="vSphere to take disks")
    return lease.info


def _is_ready(lease: Lease) -> bool | None:
    state = str(lease.state)
    if state == "ready":
        return True
    if state in ("error", "done"):
        raise RegistrarError(f"vSphere ended the import: {_reason(lease)}")
    return None


def _reason(lease: Lease) -> str:
    error = lease.error
    return str(getattr(error, "msg", "") or getattr(error, "localizedMessage", "") or error or "no reason given")


class Keeper:
    """Tells vSphere how far an upload is, from a thread of its own, as a stalled upload would else end the lease."""

    def __init__(self, lease: Lease, interval: float) -> None:
        self.percent = 0
        self._lease = lease
        self._interval = interval
        self._stop = threading.Event()
        self._failed: BaseException | None = None
        self._thread = threading.Thread(target=self._keep, name="skyvypack-lease", daemon=True)

    def _keep(self) -> None:
        while not self._stop.wait(self._interval):
            try:
                self._lease.HttpNfcLeaseProgress(self.percent)
            except Exception as error:
                self._failed = error
                return

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


@contextmanager
def kept(lease: Lease, timeout: float) -> Iterator[Keeper]:
    """Keep a lease alive while the block runs.

    Args:
        lease: ready.
        timeout: seconds after which vSphere ends a silent one (``info.leaseTimeout``).
    """
    with Keeper(lease, min(_SIGN_OF_LIFE, max(timeout / 4, 0.05))) as keeper:
        yield keeper


def fill(lease: Lease, info: Any, source: Source, place: Callable[[Any], Place], progress: Progress) -> None:
    """Send the one disk of an import and complete its lease; the lease is kept alive meanwhile.

    Args:
        lease: ready.
        info: its info.
        source: the disk.
        place: turns a device URL of the lease into where to send to.
        progress: told how far it is, as stage ``upload``.

    Raises:
        RegistrarError: the lease wants no disk or several, it ended, or the upload failed.
    """
    wanted = [device for device in info.deviceUrl if device.disk]
    if len(wanted) != 1:
        raise RegistrarError(f"vSphere wants {len(wanted)} disks, the template has one")
    with kept(lease, info.leaseTimeout) as keeper:

        def advance(sent: int) -> None:
            keeper.check()
            keeper.percent = min(99, sent * 100 // source.size)
            progress.report(Event("advance", "upload", fraction=sent / source.size))

        send(source, place(wanted[0]), advance)
        keeper.check()
    lease.HttpNfcLeaseProgress(100)
    lease.HttpNfcLeaseComplete()
