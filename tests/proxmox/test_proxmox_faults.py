"""Every fault of a Proxmox VE, at every step of a registration: what stands afterwards, and what a second run does."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from skyvypack.errors import SkyvypackError
from skyvypack.registrar import describe, reap

pytest.importorskip("fakepve", reason="the simulated Proxmox VE is in the extra `dev`")

from pve import PASSWORD
from pve_baseline import Baseline

pytestmark = pytest.mark.tool

LOCK = "can't lock file '/var/lock/qemu-server/lock-100.conf' - got timeout"
HTML = "<html><body><h1>502 Bad Gateway</h1></body></html>"


@dataclass(frozen=True)
class Fault:
    """One way in which a Proxmox VE fails.

    Args:
        arm: breaks the cluster for a request, given its method and path.
        passes: it is over when the request is tried again.
        everywhere: as long as it lasts, nothing else can be changed either.
    """

    arm: Callable[[Any, str, str], None]
    passes: bool = True
    everywhere: bool = False


def fails(status: int, message: str, *, html: bool = False, times: int | None = None) -> Callable[..., None]:
    """The request, and no other, is answered with an error."""
    return lambda pve, method, path: pve.fail(method, path, status, message, html=html, times=times)


def once(what: str) -> Callable[..., None]:
    """The request is dropped, or hangs."""
    return lambda pve, method, path: setattr(pve, "once", what)


def full(pve: Any, method: str, path: str) -> None:
    """No storage has any room."""
    for store in pve.storages.values():
        store["avail"] = 0


def task(words: str) -> Callable[..., None]:
    """The request is taken, and its task fails."""
    return lambda pve, method, path: setattr(pve, "fail_task", words)


FAULTS = {
    "500 that passes": Fault(fails(500, "got timeout", times=2)),
    "500 that stays": Fault(fails(500, "got timeout"), passes=False),
    "502 with HTML": Fault(fails(502, HTML, html=True, times=2)),
    "502 that stays": Fault(fails(502, HTML, html=True), passes=False),
    "403": Fault(fails(403, "Permission check failed"), passes=False),
    "401 expired": Fault(lambda pve, method, path: pve.revoke_tickets()),
    "595 that passes": Fault(fails(595, "No route to host", times=2)),
    "node offline": Fault(lambda pve, method, path: pve.set_node_offline("pve1"), passes=False, everywhere=True),
    "quorum lost for a moment": Fault(lambda pve, method, path: pve.lose_quorum()),
    "quorum lost": Fault(fails(500, "cluster not ready - no quorum?"), passes=False),
    "lock that passes": Fault(fails(500, LOCK, times=2)),
    "connection dropped": Fault(once("drop")),
    "no answer": Fault(once("hang")),
    "slow tasks": Fault(lambda pve, method, path: setattr(pve, "time_scale", 0.01)),
    "task error": Fault(task("command 'qemu-img convert' failed: exit code 1"), passes=False),
    "disk full": Fault(full, passes=False),
}


class Injector:
    """Arms a fault at one request and, where it passes, ends it with the next try."""

    def __init__(self, pve: Any, baseline: Baseline, fault: Fault, number: int) -> None:
        self.pve = pve
        self.baseline = baseline
        self.fault = fault
        self.number = number
        self.calls: list[str] = []
        self.armed = ""

    def __call__(self, call: str) -> None:
        self.calls.append(call)
        if self.armed and self.fault.passes:
            self.baseline.heal()
        if not self.armed and len(self.calls) == self.number + 1:
            self.armed = call
            method, path = call.split(" ", 1)
            self.fault.arm(self.pve, method, path)

    @property
    def hit(self) -> str:
        """The step, without its numbers and names."""
        return step_of(self.armed)


def step_of(call: str) -> str:
    """A request as a step: ``DELETE VM``."""
    call = re.sub(r"/nodes/pve1|/storage/local", "", call)
    call = re.sub(r"/qemu/\d+", "/qemu/N", call)
    return re.sub(r"/content/local:(\w+)/\S+", r"/content \1", call)


def clean(cluster: Any, do: Any) -> tuple[list[str], int]:
    """The requests of a registration that goes well, and how many of them come before its clone has been proven."""
    seen: list[str] = []
    with cluster.hooked(seen.append):
        do(channel="stable")
    return seen, next(number for number, call in enumerate(seen) if call.endswith("/status/stop"))


@pytest.mark.parametrize("fault", FAULTS)
def test_every_step_ends_well(cluster, do, monkeypatch, outcomes, fault):
    """Whatever fails where: what passes is outlived; what stays is undone, or left in the journal and then reaped.

    The earlier template and its channel stand in every case, and a second run after the fault does all the rest.
    """
    wanted = FAULTS[fault]
    # Long enough for a busy machine, but where it is the fault that nobody answers.
    seconds = 0.5 if fault == "no answer" else 20
    cluster.more = {"call_timeout": seconds, "retry_for": 20 if wanted.passes else 0.1, "username": "root@pam"}
    monkeypatch.delenv("PROXMOX_TOKEN")
    monkeypatch.setenv("PROXMOX_PASSWORD", PASSWORD)
    do("0.9.0", content=b"old", channel="stable")
    baseline = Baseline(cluster.served.pve)
    before = cluster.objects()
    calls, finished = clean(cluster, do)
    good = len(cluster.objects())
    for number, call in enumerate(calls):
        baseline.restore()
        injector = Injector(cluster.served.pve, baseline, wanted, number)
        error = None
        with cluster.hooked(injector):
            try:
                done = do(channel="stable")
            except SkyvypackError as raised:
                error = raised
        baseline.heal()
        step = f"{number + 1}. {step_of(call)}"
        # What cannot be removed cannot be undone either.
        lasting = wanted.everywhere or call.startswith("DELETE") or call.endswith("/stop")
        outcomes[step] = judged(cluster, do, error, before=before, good=good, after=number >= finished, lasting=lasting)
        if wanted.passes:
            assert (step, outcomes[step], error) == (step, "registered", None)
            assert done.complete


def judged(cluster: Any, do: Any, error: Any, *, before: Any, good: int, after: bool, lasting: bool) -> str:
    """What came of it; fails when anything is not as it has to be.

    Args:
        cluster: healed.
        do: registers.
        error: that the registration ended with.
        before: the cluster's objects before it.
        good: how many objects there are after one that goes well.
        after: the fault came when the template was finished.
        lasting: the fault was also in the way of undoing.
    """
    old = next(one for one in describe(cluster.spec(), "proxmox") if one.version == "0.9.0")
    new = [one for one in describe(cluster.spec(), "proxmox") if one.version == "1.0.0"]
    assert old.verified
    assert "stable" in old.channels or (new and "stable" in new[0].channels)
    left = reap("proxmox")
    assert [one.error for one in left if one.error] == []
    if error is None:
        assert len(cluster.objects()) == good
        return "registered, the rest reaped" if left else "registered"
    if after:
        assert new
        again = do(channel="stable")
        assert again.unchanged
        assert len(cluster.objects()) == good
        return "stands, a second run goes on"
    assert cluster.objects() == before
    assert left == () or lasting
    if left:
        assert "reap --target proxmox" in error.hint
    return "left, then reaped" if left else "undone"
