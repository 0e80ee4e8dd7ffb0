"""Raw disks into EBS snapshots: what arrives, what is not sent, and what happens when the network fails."""

from __future__ import annotations

import base64
import hashlib
import itertools
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from aws.conftest import HOME, Disk, blocks_of, data_of
from simulators.moto_aws import FaultyAws

from skyvypack.progress import Event, Progress
from skyvypack.registrar.contract import RegistrarError
from skyvypack.registrar.retry import Patience
from skyvypack.targets.aws.ec2 import region as calls
from skyvypack.targets.aws.ec2 import snapshots, upload
from skyvypack.targets.aws.ec2.blocks import BLOCK, RawDisk
from skyvypack.targets.aws.ec2.ledger import Ledger
from skyvypack.targets.aws.ec2.region import AwsError, Region
from skyvypack.targets.aws.ec2.upload import Uploaded

PUT = "PUT /snapshots/.*/blocks/"


@pytest.fixture
def snapshot(region: Region) -> str:
    return str(region.call("ebs", "start_snapshot", VolumeSize=4)["SnapshotId"])


def send(region: Region, snapshot: str, disk: Path, progress: Progress | None = None, workers: int = 4) -> Uploaded:
    with RawDisk(disk) as raw, Ledger(snapshots.ledger_of(snapshot)) as ledger:
        return upload.upload(region, snapshot, raw, ledger, progress or Progress(), workers=workers)


def arrived(region: Region, snapshot: str, sent: Uploaded) -> dict[int, bytes]:
    """The blocks of a snapshot, which must be complete to be read."""
    snapshots.complete(region, snapshot, sent)
    return blocks_of(region, snapshot)


def test_every_block_arrives_as_it_is_and_zeroes_do_not(region: Region, snapshot: str, disk: Path) -> None:
    """What is read back is the disk, byte by byte; holes, written zeroes and nothing else were left out."""
    sent = send(region, snapshot, disk)
    expected = data_of(disk)
    assert len(expected) == 16
    assert (sent.blocks, sent.sent, sent.zero) == (16, 16, 2)
    assert arrived(region, snapshot, sent) == expected


def test_each_request_is_what_ebs_asks_for(
    asked: list[tuple[str, dict[str, Any]]], region: Region, snapshot: str, disk: Path
) -> None:
    """Each block goes once, whole, with its length and its SHA-256; the checksum over all is theirs in order."""
    sent = send(region, snapshot, disk)
    puts = [params for name, params in asked if name == "PutSnapshotBlock"]
    assert sorted(params["BlockIndex"] for params in puts) == sorted(data_of(disk))
    for params in puts:
        digest = hashlib.sha256(params["BlockData"]).digest()
        assert params["Checksum"] == base64.b64encode(digest).decode()
        assert len(params["BlockData"]) == params["DataLength"] == BLOCK
        assert (params["ChecksumAlgorithm"], params["SnapshotId"]) == ("SHA256", snapshot)
    linear = b"".join(hashlib.sha256(data).digest() for _, data in sorted(data_of(disk).items()))
    assert sent.checksum == base64.b64encode(hashlib.sha256(linear).digest()).decode()


def test_a_disk_of_nothing_sends_nothing(region: Region, snapshot: str, make_disk: Disk) -> None:
    """A disk without data is a snapshot without blocks."""
    sent = send(region, snapshot, make_disk({}, 1 << 30))
    assert (sent.blocks, sent.sent, sent.zero) == (0, 0, 0)


def test_progress_ends_at_the_end(region: Region, snapshot: str, disk: Path) -> None:
    """Fractions grow, and the last is one."""
    told: list[Event] = []
    send(region, snapshot, disk, Progress(told.append))
    fractions = [event.fraction for event in told if event.fraction is not None]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1.0


@pytest.mark.parametrize(
    "fault",
    [
        {"status": 400, "code": "ThrottlingException"},
        {"status": 400, "code": "RequestThrottledException"},
        {"status": 400, "code": "ConcurrentLimitExceededException"},
        {"status": 404, "code": "ResourceNotFoundException"},
        {"status": 500, "code": "InternalServerException"},
        {"status": 503, "code": "ServiceUnavailable"},
        {"status": 0},
        {"lost": True},
        {"delay": 1.5, "status": -1},
    ],
    ids=["throttled", "throttled request", "too many at once", "not known yet", "500", "503", "reset", "lost", "slow"],
)
def test_what_passes_is_waited_out(
    fault: dict[str, Any],
    aws: FaultyAws,
    told: list[Event],
    region: Region,
    snapshot: str,
    disk: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Six requests that fail in a way that passes cost six more requests, and no byte."""
    slow = "delay" in fault
    if slow:
        monkeypatch.setattr(calls, "READ_SECONDS", 1.0)
        region.clients.clear()
    aws.fail(PUT, times=6, **fault)
    sent = send(region, snapshot, disk, Progress(told.append))
    assert arrived(region, snapshot, sent) == data_of(disk)
    requests = aws.count(f"PUT .*{snapshot}/blocks/")
    again = sum("trying again" in event.text for event in told)
    # On a busy machine a request in good order takes a second too.
    assert (requests, again) == (22, 6) or (slow and requests > 22 and again > 6)


def test_botocore_repeats_by_itself(
    aws: FaultyAws, region: Region, snapshot: str, disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With its own attempts, a throttled request never comes to our own repeating."""
    monkeypatch.setattr(calls, "ATTEMPTS", 3)
    region.clients.clear()
    told: list[Event] = []
    aws.fail(PUT, times=2, status=400, code="ThrottlingException")
    assert send(region, snapshot, disk, Progress(told.append)).sent == 16
    assert aws.count(f"PUT .*{snapshot}/blocks/") == 18
    assert not any(event.kind == "note" for event in told)


def test_a_block_that_arrived_damaged_is_sent_again(
    region: Region, snapshot: str, disk: Path, asked: list[tuple[str, dict[str, Any]]]
) -> None:
    """An answer with another checksum than the block's is not believed."""
    lies = iter(range(3))

    def lie(parsed: dict[str, Any], **_: Any) -> None:
        if next(lies, None) is not None:
            parsed["Checksum"] = "bm90IGl0"

    region.client("ebs").meta.events.register("after-call.ebs.PutSnapshotBlock", lie)
    sent = send(region, snapshot, disk)
    assert arrived(region, snapshot, sent) == data_of(disk)
    assert sum(name == "PutSnapshotBlock" for name, _ in asked) == 19


def test_a_refused_checksum_is_sent_again(aws: FaultyAws, region: Region, snapshot: str, disk: Path) -> None:
    """EBS says INVALID_BLOCK when what arrived does not match its checksum: the line's fault, not the disk's."""
    aws.fail(PUT, times=2, status=400, code="ValidationException", reason="INVALID_BLOCK")
    assert send(region, snapshot, disk).sent == 16
    assert aws.count(f"PUT .*{snapshot}/blocks/") == 18


@pytest.mark.parametrize("code", ["ExpiredTokenException", "AccessDeniedException", "ServiceQuotaExceededException"])
def test_what_does_not_pass_ends_the_upload_and_a_second_run_sends_the_rest(
    code: str, aws: FaultyAws, region: Region, snapshot: str, disk: Path
) -> None:
    """An error that stays is not repeated; what had arrived is not sent again."""
    seen = itertools.count()

    def expire(line: str) -> bool:
        return next(seen) >= 6

    aws.fail(PUT, times=1000, status=403, code=code, when=expire)
    with pytest.raises(AwsError, match=code) as caught:
        send(region, snapshot, disk)
    assert caught.value.code == code
    aws.faults.clear()
    aws.seen.clear()
    sent = send(region, snapshot, disk)
    assert sent.blocks == 16
    assert sent.sent == 10 == aws.count(f"PUT .*{snapshot}/blocks/")
    assert arrived(region, snapshot, sent) == data_of(disk)


def test_expired_credentials_say_what_to_do(aws: FaultyAws, region: Region, snapshot: str, disk: Path) -> None:
    """The hint is to log in again, and to run the same command."""
    aws.fail(PUT, times=1000, status=403, code="ExpiredTokenException")
    with pytest.raises(AwsError) as caught:
        send(region, snapshot, disk)
    assert "log in again" in caught.value.hint


def test_a_dead_network_ends_in_an_error(
    aws: FaultyAws, region: Region, snapshot: str, disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Repeating has an end: then the error is botocore's own, with the call that failed."""
    monkeypatch.setattr(calls, "PATIENCE", Patience(seconds=0.5, first=0.01, longest=0.05))
    aws.fail(PUT, times=100_000)
    with pytest.raises(AwsError, match="ebs:PutSnapshotBlock in eu-central-1"):
        send(region, snapshot, disk)


def test_a_stalled_upload_is_given_up(
    aws: FaultyAws, region: Region, snapshot: str, disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When no block arrives for a long time there is an error, not an endless wait."""
    monkeypatch.setattr(upload, "STALL", 0.3)
    monkeypatch.setattr(upload, "_GRACE", 0.1)
    aws.fail(PUT, times=100, delay=2.0, status=-1)
    with pytest.raises(RegistrarError, match="no block arrived"):
        send(region, snapshot, disk)


def test_an_interruption_stops_the_workers_and_keeps_what_arrived(
    aws: FaultyAws, region: Region, snapshot: str, disk: Path
) -> None:
    """Ctrl-C comes to the thread that called: its workers end, and a second run goes on where they were."""

    def interrupt(event: Event) -> None:
        raise KeyboardInterrupt

    # Six blocks arrive and no more: however late the interruption comes, there is something left to send.
    asked = itertools.count()
    aws.fail(PUT, times=100_000, status=503, code="ServiceUnavailable", when=lambda line: next(asked) >= 6)
    others = set(threading.enumerate())
    with pytest.raises(KeyboardInterrupt):
        send(region, snapshot, disk, Progress(interrupt))
    assert not [thread for thread in set(threading.enumerate()) - others if thread.name.startswith("ebs-")]
    aws.faults.clear()
    aws.seen.clear()
    sent = send(region, snapshot, disk)
    assert arrived(region, snapshot, sent) == data_of(disk)
    # A block that was under way when we were interrupted is not in the ledger, and is sent twice.
    assert 16 - 6 <= sent.sent < 16
    assert aws.count(f"PUT .*{snapshot}/blocks/") == sent.sent


@pytest.mark.parametrize("workers", [1, 4])
def test_after_kill_9_only_the_rest_is_sent(
    workers: int, aws: FaultyAws, region: Region, snapshot: str, disk: Path
) -> None:
    """A process that was killed outright leaves a ledger that its successor can use.

    What is sent twice is at most what was under way when it died: one block for each worker.
    """
    aws.latency = 0.05
    script = textwrap.dedent(f"""
        from pathlib import Path
        from skyvypack.progress import Progress
        from skyvypack.targets.aws.ec2 import region, snapshots, upload
        settings = dict(profile="", role_arn="", region={HOME!r}, endpoint={aws.url!r})
        ledger = snapshots.ledger_of({snapshot!r})
        with upload.RawDisk(Path({str(disk)!r})) as disk, upload.Ledger(ledger) as ledger:
            place = region.connect(settings, Progress())
            upload.upload(place, {snapshot!r}, disk, ledger, Progress(), workers={workers})
    """)
    process = subprocess.Popen([sys.executable, "-c", script])
    while aws.count(f"PUT .*{snapshot}/blocks/") < 8:
        assert process.poll() is None
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    aws.latency = 0.0
    sent = send(region, snapshot, disk)
    assert arrived(region, snapshot, sent) == data_of(disk)
    assert sent.sent < 16
    assert aws.count(f"PUT .*{snapshot}/blocks/") <= 16 + workers


def test_a_torn_ledger_is_believed_up_to_the_tear(tmp_path: Path) -> None:
    """A line that was cut off does not count, and does not spoil the next one."""
    path = tmp_path / "blocks"
    with Ledger(path) as ledger:
        ledger.add(3, bytes(32))
        ledger.add(4, bytes(32))
    path.write_bytes(path.read_bytes()[:-10])
    with Ledger(path) as ledger:
        assert set(ledger.digests) == {3}
        ledger.add(5, bytes(32))
    with Ledger(path) as ledger:
        assert set(ledger.digests) == {3, 5}


def test_a_changed_block_is_sent_again(aws: FaultyAws, region: Region, snapshot: str, disk: Path) -> None:
    """The ledger holds digests: what differs from what was sent is sent once more."""
    send(region, snapshot, disk)
    with disk.open("r+b") as handle:
        handle.write(b"other")
    sent = send(region, snapshot, disk)
    assert sent.sent == 1
    assert arrived(region, snapshot, sent) == data_of(disk)


def test_another_disk_is_refused(region: Region, snapshot: str, disk: Path) -> None:
    """A disk that lacks a block that was sent is not the disk that the upload was begun with."""
    send(region, snapshot, disk)
    with disk.open("r+b") as handle:
        handle.write(bytes(BLOCK))
    with pytest.raises(RegistrarError, match="not the disk"):
        send(region, snapshot, disk)
