"""A lease is kept alive while a disk is sent, completed when it arrived, and never completed otherwise."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from skyvypack.progress import Event, Progress
from skyvypack.registrar.contract import RegistrarError
from skyvypack.targets.vsphere.vcenter import lease as leases

SOURCE: Any = SimpleNamespace(size=1000, path=Path("web.ova"))


class FakeLease:
    """Behaves as ``vim.HttpNfcLease`` does."""

    def __init__(self, *states: str, error: Any = None, fails_after: int = 10_000) -> None:
        self._states = list(states) or ["ready"]
        self.error = error
        self.told: list[int] = []
        self.ended = ""
        self._fails_after = fails_after
        devices = [SimpleNamespace(disk=True, url="https://host/nfc/disk"), SimpleNamespace(disk=False, url="")]
        self.info = SimpleNamespace(leaseTimeout=0.2, deviceUrl=devices)

    @property
    def state(self) -> str:
        return self._states.pop(0) if len(self._states) > 1 else self._states[0]

    def HttpNfcLeaseProgress(self, percent: int) -> None:
        if len(self.told) >= self._fails_after:
            raise RuntimeError("the lease has expired")
        self.told.append(percent)

    def HttpNfcLeaseComplete(self) -> None:
        self.ended = "complete"

    def HttpNfcLeaseAbort(self) -> None:
        self.ended = "abort"


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "PAUSE", 0.01)


def sending(seconds: float) -> Callable[..., None]:
    """An upload in ten pieces that takes some time."""

    def send(source: Any, place: Any, advance: Callable[[int], None], digest: Any) -> None:
        for piece in range(1, 11):
            time.sleep(seconds / 10)
            advance(piece * 100)

    return send


def test_kept_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    """vSphere hears of progress more often than its timeout, also of 100 %, and then of the end."""
    monkeypatch.setattr(leases, "send", sending(0.5))
    lease, events = FakeLease(), list[Event]()
    leases.fill(lease, lease.info, SOURCE, lambda device: device.url, Progress(events.append))
    assert lease.ended == "complete"
    assert len(lease.told) > 5
    assert lease.told == sorted(lease.told)
    assert lease.told[-1] == 100
    assert [event.fraction for event in events if event.kind == "advance"][-1] == 1.0


def test_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    """When vSphere gives up, the upload ends with its words, and nothing is called complete."""
    monkeypatch.setattr(leases, "send", sending(2.0))
    lease = FakeLease(fails_after=2)
    began = time.monotonic()
    with pytest.raises(RegistrarError, match="the lease has expired"):
        leases.fill(lease, lease.info, SOURCE, lambda device: device.url, Progress())
    assert lease.ended == ""
    assert time.monotonic() - began < 1.5


def test_broken_upload(monkeypatch: pytest.MonkeyPatch) -> None:
    """A failed upload leaves the lease to its owner to abort."""

    def broken(*_: object) -> None:
        raise RegistrarError("broke off")

    monkeypatch.setattr(leases, "send", broken)
    lease = FakeLease()
    with pytest.raises(RegistrarError, match="broke off"):
        leases.fill(lease, lease.info, SOURCE, lambda device: device.url, Progress())
    assert lease.ended == ""


def test_wants_no_disk() -> None:
    """A lease that asks for no disk is an error, not a template without one."""
    lease = FakeLease()
    lease.info.deviceUrl = []
    with pytest.raises(RegistrarError, match="wants 0 disks"):
        leases.fill(lease, lease.info, SOURCE, lambda device: device.url, Progress())


def test_waits() -> None:
    """A lease that is not ready yet is waited for."""
    lease = FakeLease("initializing", "initializing", "ready")
    assert leases.wait(lease, 1.0) is lease.info


def test_error() -> None:
    """A lease in error is quoted."""
    lease = FakeLease("initializing", "error", error=SimpleNamespace(msg="Insufficient disk space on datastore"))
    with pytest.raises(RegistrarError, match="Insufficient disk space"):
        leases.wait(lease, 1.0)


def test_never_ready() -> None:
    """A lease that never gets ready is given up."""
    with pytest.raises(RegistrarError, match="no end after 0 s"):
        leases.wait(FakeLease("initializing"), 0.05)
