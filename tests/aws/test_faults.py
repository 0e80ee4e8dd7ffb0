"""Every step of a registration, struck by what can go wrong between this machine and AWS: what stands in the end."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from aws.conftest import HOME, blocks_of, data_of
from registrars.adapters import FakeProver
from simulators.moto_aws import FaultyAws

from skyvypack.artifact import write_manifest
from skyvypack.progress import Progress
from skyvypack.registrar import Journal, RegistrarError, Registration, Wishes, describe, reap, register
from skyvypack.registrar.contract import Order
from skyvypack.registrar.retry import Patience
from skyvypack.targets.aws.ec2 import region as calls
from skyvypack.targets.aws.registrar import connect

pytestmark = pytest.mark.tool

ABROAD = "eu-west-1"
# Until the template is finished, and afterwards.
MAKING = {
    "identity": "GetCallerIdentity",
    "begin a snapshot": r"POST /snapshots\?",
    "send a block": "PUT /snapshots/.*/blocks/",
    "complete it": "POST /snapshots/completion/",
    "wait for it": "DescribeSnapshots$",
    "register": "RegisterImage$",
    "make a group": "CreateSecurityGroup$",
    "open it": "AuthorizeSecurityGroupIngress$",
    "launch": "RunInstances$",
    "wait for an address": "DescribeInstances$",
}
ENDING = {"terminate": "TerminateInstances$", "remove the group": "DeleteSecurityGroup$"}
LATER = {"confirm": "CreateTags$", "copy": "CopyImage$", "channel": "AmazonSSM.PutParameter"}
PASSING = {
    "throttled": {"status": 503, "code": "RequestLimitExceeded"},
    "500": {"status": 500, "code": "InternalError"},
    "reset": {"status": 0},
    "lost": {"lost": True},
    "slow": {"delay": 0.6, "status": -1},
}
EXPIRED = {"status": 403, "code": "ExpiredToken"}


Do = Callable[[], Registration]
Left = Callable[[], list[str]]


@pytest.fixture
def order(made_of: Any) -> Order:
    """A disk that shall stand in two regions."""
    made: Order = made_of(regions=[ABROAD])
    return made


@pytest.fixture
def do(order: Order, tmp_path: Path) -> Do:
    """Registers it, proves it, copies it, and moves a channel."""
    assert order.disk is not None
    nothing: dict[str, Any] = {"inputs": {}, "packages": (), "timings": {}, "tools": {}, "accelerator": {}}
    artifact = write_manifest(tmp_path, [order.disk], order.spec, "aws", **nothing, checks=[])
    return lambda: register(order.spec, "aws", artifact, wishes=Wishes("stable"), prover=FakeProver())


@pytest.fixture
def left(order: Order, session: Any) -> Left:
    """What there is in both regions, each thing by its kind and region."""

    def look() -> list[str]:
        found: list[str] = []
        for place in (HOME, ABROAD):
            ec2, ssm = (session.client(name, place, endpoint_url=order.settings["endpoint"]) for name in ("ec2", "ssm"))
            found += [f"ami {place}" for _ in ec2.describe_images(Owners=["self"])["Images"]]
            found += [f"snapshot {place}" for _ in ec2.describe_snapshots(OwnerIds=["self"])["Snapshots"]]
            lives = [{"Name": "instance-state-name", "Values": ["pending", "running", "stopping", "stopped"]}]
            found += [f"instance {place}" for _ in ec2.describe_instances(Filters=lives)["Reservations"]]
            groups = ec2.describe_security_groups()["SecurityGroups"]
            found += [f"group {place}" for one in groups if one["GroupName"] != "default"]
            found += [f"channel {place}" for _ in ssm.describe_parameters()["Parameters"]]
        return sorted(found)

    return look


WHOLE = sorted(f"{kind} {place}" for kind in ("ami", "snapshot", "channel") for place in (HOME, ABROAD))


@pytest.mark.parametrize("fault", PASSING)
def test_what_passes_at_every_step_is_outlived(
    fault: str, do: Do, left: Left, order: Order, disk: Path, aws: FaultyAws, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each step fails once in the same registration: all is well in the end, once, and the blocks are the disk's."""
    if fault == "slow":
        monkeypatch.setattr(calls, "READ_SECONDS", 0.5)
    struck = [aws.fail(what, **PASSING[fault]) for what in (MAKING | ENDING | LATER).values()]
    done = do()
    assert [one.what for one in struck if one.times] == [], "every step was struck"
    assert done.complete
    assert left() == WHOLE
    with connect(order.settings, Progress()) as registrar:
        assert blocks_of(registrar.region, done.template.facts["snapshot"]) == data_of(disk)


@pytest.mark.parametrize("step", MAKING)
def test_credentials_that_expire_before_it_is_finished(step: str, do: Do, left: Left, aws: FaultyAws) -> None:
    """From a step on nothing is allowed any more, undoing neither: it says so, and what is left is reaped later."""
    reached: list[str] = []

    def expired(line: str) -> bool:
        reached.extend([line] if re.search(MAKING[step], line) else [])
        return bool(reached)

    aws.fail(".*", times=10_000, when=expired, **EXPIRED)
    with pytest.raises(RegistrarError, match=r"ExpiredToken|credentials") as raised:
        do()
    assert "log in again" in f"{raised.value} {raised.value.hint}"
    aws.faults.clear()
    reap("aws")
    assert left() == []
    assert Journal("aws").unfinished() == {}
    assert do().complete
    assert left() == WHOLE


@pytest.mark.parametrize("step", LATER)
def test_what_fails_afterwards_takes_nothing_away(step: str, do: Do, left: Left, order: Order, aws: FaultyAws) -> None:
    """The AMI stands, what failed is told, and the same command does what is missing and no more."""
    aws.fail(LATER[step], status=403, code="UnauthorizedOperation")
    if step == "confirm":
        with pytest.raises(RegistrarError, match="UnauthorizedOperation"):
            do()
    else:
        assert any("UnauthorizedOperation" in job.error for job in do().jobs)
    (template,) = describe(order.spec, "aws")
    again = do()
    assert again.complete
    assert again.unchanged
    assert again.template.id == template.id
    assert left() == WHOLE


@pytest.mark.parametrize("what", [MAKING["complete it"], MAKING["send a block"]])
def test_bytes_that_are_not_the_disks_are_never_registered(
    what: str, do: Do, left: Left, aws: FaultyAws, monkeypatch: pytest.MonkeyPatch
) -> None:
    """EBS keeps refusing a checksum: there is an error, and neither snapshot nor AMI."""
    monkeypatch.setattr(calls, "PATIENCE", Patience(seconds=1.0, first=0.01, longest=0.05))
    aws.fail(what, times=10_000, status=400, code="ValidationException", reason="INVALID_BLOCK")
    with pytest.raises(RegistrarError, match="ValidationException"):
        do()
    assert left() == []
