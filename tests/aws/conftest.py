"""The stand-in for AWS, dummy credentials for it, and disks to send."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.loaders import Loader, create_loader
from simulators import moto_aws
from simulators.moto_aws import FaultyAws

from skyvypack import disk as disks
from skyvypack.artifact import DiskFile
from skyvypack.progress import Event, Progress
from skyvypack.registrar.contract import Order
from skyvypack.registrar.retry import Patience
from skyvypack.roles import Role
from skyvypack.spec.model import Machine, Spec
from skyvypack.targets import settings_rules
from skyvypack.targets.aws.ec2 import images, instances, s3, snapshots
from skyvypack.targets.aws.ec2 import region as calls
from skyvypack.targets.aws.ec2.blocks import BLOCK
from skyvypack.targets.aws.ec2.region import Region

HOME = "eu-central-1"
Disk = Callable[..., Path]
Asked = list[tuple[str, dict[str, Any]]]


@pytest.fixture(autouse=True)
def _credentials(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No test reads the developer's own credentials, or asks a metadata service for some."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("SKYVYPACK_STATE", str(tmp_path / "state"))


@pytest.fixture(scope="session")
def _loader() -> Loader:
    return create_loader()


@pytest.fixture(autouse=True)
def _hurry(monkeypatch: pytest.MonkeyPatch, _loader: Loader) -> None:
    """Pauses are for a real network; all repeating is ours, as botocore's pauses cannot be shortened.

    And botocore's descriptions of EC2, 10 MB of JSON, are read once.
    """
    monkeypatch.setattr("botocore.loaders.create_loader", lambda _path=None: _loader)
    monkeypatch.setattr(calls, "ATTEMPTS", 1)
    monkeypatch.setattr(calls, "PATIENCE", Patience(seconds=15.0, first=0.01, longest=0.05))


@pytest.fixture(scope="session")
def server() -> Iterator[FaultyAws]:
    with moto_aws.started() as aws:
        yield aws


@pytest.fixture
def aws(server: FaultyAws) -> FaultyAws:
    """The server, as new."""
    server.reset()
    return server


@pytest.fixture
def told() -> list[Event]:
    """What was reported."""
    return []


@pytest.fixture
def asked() -> Asked:
    """Every request as boto3 was asked for it: its name and its parameters."""
    return []


@pytest.fixture
def region(aws: FaultyAws, told: list[Event], asked: Asked) -> Region:
    settings = {"profile": "", "role_arn": "", "region": HOME, "endpoint": aws.url}
    region = calls.connect(settings, Progress(told.append))

    def note(params: dict[str, Any], model: Any, **_: Any) -> None:
        asked.append((model.name, dict(params)))

    region.session.events.register("before-parameter-build", note)
    return region


@pytest.fixture
def make_disk(tmp_path: Path) -> Disk:
    def make(content: dict[int, bytes], size: int, name: str = "disk.raw") -> Path:
        """A sparse disk with bytes at some offsets."""
        path = tmp_path / name
        with path.open("wb") as handle:
            handle.truncate(size)
            for at, data in content.items():
                handle.seek(at)
                handle.write(data)
        return path

    return make


@pytest.fixture
def disk(make_disk: Disk) -> Path:
    """25 MiB and a bit with 16 blocks of data: one that straddles, two of zeroes, and a last one that is short."""
    content = {number * 2 * BLOCK: bytes([number + 1]) * BLOCK for number in range(13)}
    straddling = {33 * BLOCK - 10: b"over the edge of a block"}
    zeroes = {40 * BLOCK: bytes(2 * BLOCK)}
    end = 50 * BLOCK
    return make_disk(content | straddling | zeroes | {end: b"the end"}, end + 4096)


@pytest.fixture
def session(aws: FaultyAws, asked: Asked, monkeypatch: pytest.MonkeyPatch) -> moto_aws.Session:
    """One session for a test, which notes every request, and pauses that do not last."""
    made = moto_aws.Session()

    def note(params: dict[str, Any], model: Any, **_: Any) -> None:
        asked.append((model.name, dict(params)))

    made.events.register("before-parameter-build", note)
    monkeypatch.setattr("boto3.Session", lambda **_: made)
    for module in (images, instances, snapshots, s3):
        monkeypatch.setattr(module, "PAUSE", 0.01)
    return made


@pytest.fixture
def made_of(session: moto_aws.Session, disk: Path, tmp_path: Path, aws: FaultyAws) -> Callable[..., Order]:
    """An order: ``made_of("1.0.0", regions=[…])``."""
    qcow2 = tmp_path / "web.qcow2"
    disks.convert(disk, qcow2, "qcow2")
    file = DiskFile(qcow2, "qcow2", qcow2.stat().st_size, disks.sha256(qcow2))

    def make(version: str = "1.0.0", *, firmware: Any = "uefi", **settings: Any) -> Order:
        defaults = {name: rule["default"] for name, rule in settings_rules("aws").items()}
        given = {**defaults, "region": HOME, "endpoint": aws.url, **settings}
        roles = (Role("toy", "a toy", Path("toy")),)
        machine = Machine(disk=4, firmware=firmware)
        spec = Spec("web", version, "trixie", roles, machine=machine, targets={"aws": given})
        return Order(spec, "aws", f"sha256:{file.sha256}", file)

    return make


def blocks_of(region: Region, snapshot: str) -> dict[int, bytes]:
    """What is in a finished snapshot, read back block by block."""
    listed = list(region.pages("ebs", "list_snapshot_blocks", "Blocks", SnapshotId=snapshot, MaxResults=1000))
    found = {}
    for block in listed:
        index, token = block["BlockIndex"], block["BlockToken"]
        got = region.call("ebs", "get_snapshot_block", SnapshotId=snapshot, BlockIndex=index, BlockToken=token)
        found[index] = got["BlockData"].read()
    return found


def data_of(disk: Path) -> dict[int, bytes]:
    """The blocks of a disk that are not all zeroes, read the simplest way."""
    content = disk.read_bytes()
    blocks = {at // BLOCK: content[at : at + BLOCK].ljust(BLOCK, b"\0") for at in range(0, len(content), BLOCK)}
    return {index: data for index, data in blocks.items() if data != bytes(BLOCK)}
