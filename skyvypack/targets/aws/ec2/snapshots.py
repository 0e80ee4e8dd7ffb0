"""EBS snapshots: begun, filled, completed, waited for, deleted."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from skyvypack.errors import InputError
from skyvypack.progress import Progress
from skyvypack.registrar import retry
from skyvypack.registrar.contract import Order
from skyvypack.registrar.journal import state_folder
from skyvypack.targets.aws.ec2 import marks
from skyvypack.targets.aws.ec2.blocks import RawDisk
from skyvypack.targets.aws.ec2.ledger import Ledger
from skyvypack.targets.aws.ec2.region import AwsError, Region
from skyvypack.targets.aws.ec2.upload import Uploaded, upload

# Minutes without a block after which EBS drops an unfinished snapshot (StartSnapshot allows 10 to 4320): a day, so
# that an upload which was cut off in the evening goes on in the morning.
TIMEOUT = 1440
# EBS seals a snapshot in about a minute; large ones take longer.
COMPLETE_SECONDS = 3600.0
PAUSE = 5.0


def encryption(region: Region, settings: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments by which StartSnapshot encrypts; it takes a key's ARN only, a spec may name the key as it likes."""
    if not settings["encrypt"]:
        return {}
    if not settings["kms_key"]:
        return {"Encrypted": True}
    described = region.call("kms", "describe_key", KeyId=settings["kms_key"])
    return {"Encrypted": True, "KmsKeyArn": described["KeyMetadata"]["Arn"]}


def start(region: Region, order: Order, *, size: int, token: str, run: str) -> str:
    """Begin a snapshot; the same token gives the same snapshot, however often this is called.

    Args:
        region: where.
        order: what it is for.
        size: of the volume, in GiB.
        token: of at most 64 characters.
        run: id of the run.

    Returns:
        Its id.
    """
    answer = region.call(
        "ebs",
        "start_snapshot",
        VolumeSize=size,
        Tags=marks.sent(marks.of(order, run)),
        Description=order.settings["description"] or order.spec.title,
        ClientToken=token,
        Timeout=TIMEOUT,
        **encryption(region, order.settings),
    )
    return str(answer["SnapshotId"])


def look(region: Region, snapshot: str) -> dict[str, Any]:
    """What AWS says of a snapshot; nothing when there is none.

    Raises:
        AwsError: it cannot be looked at.
    """
    try:
        found = region.call("ec2", "describe_snapshots", SnapshotIds=[snapshot])["Snapshots"]
    except AwsError as error:
        if error.code == "InvalidSnapshot.NotFound":
            return {}
        raise
    return dict(found[0]) if found else {}


def state(region: Region, snapshot: str) -> str:
    """``pending``, ``completed``, ``error`` …; empty when there is none."""
    return str(look(region, snapshot).get("State", ""))


def ledger_of(snapshot: str) -> Path:
    """Where it is written which blocks of an unfinished snapshot have arrived."""
    return state_folder() / "uploads" / f"{snapshot}.blocks"


def fill(region: Region, snapshot: str, disk: RawDisk, progress: Progress) -> Uploaded:
    """Send what is missing, complete the snapshot and wait for it.

    Args:
        region: where it is.
        snapshot: id of a pending one.
        disk: all that shall be in it.
        progress: told how far it is.

    Raises:
        RegistrarError: EBS refused, or did not end in time.
    """
    with Ledger(ledger_of(snapshot)) as ledger:
        with progress.stage("upload", f"Send {disk.path.name} to {snapshot}"):
            sent = upload(region, snapshot, disk, ledger, progress)
        again = len(ledger.digests) - sent.sent
        before = f", {again} were there from an earlier run" if again else ""
        progress.note("upload", f"{sent.sent} blocks of 512 KiB sent{before}; {sent.zero} zero blocks left out")
        with progress.stage("complete", f"Wait until {snapshot} is complete"):
            complete(region, snapshot, sent)
            completed(region, snapshot)
    ledger_of(snapshot).unlink(missing_ok=True)
    return sent


def complete(region: Region, snapshot: str, sent: Uploaded) -> None:
    """Ask EBS to seal a snapshot, if what it has is what was sent.

    Raises:
        AwsError: it is not.
    """
    try:
        region.call(
            "ebs",
            "complete_snapshot",
            SnapshotId=snapshot,
            ChangedBlocksCount=sent.blocks,
            Checksum=sent.checksum,
            ChecksumAlgorithm="SHA256",
            ChecksumAggregationMethod="LINEAR",
        )
    except AwsError as error:
        # An earlier try may have been carried out although its answer was lost: what the snapshot says decides.
        if error.code != "ValidationException" or state(region, snapshot) != "completed":
            raise


def completed(region: Region, snapshot: str) -> None:
    """Wait until a snapshot is complete.

    Raises:
        AwsError: it came to nothing.
        RegistrarError: it takes too long.
    """

    def look() -> bool | None:
        now = state(region, snapshot)
        if now in ("error", ""):
            raise AwsError(f"EBS dropped {snapshot}: its state is {now or 'gone'}", "run the same command again")
        return now == "completed" or None

    retry.until(look, seconds=COMPLETE_SECONDS, pause=PAUSE, what=f"snapshot {snapshot}")


def delete(region: Region, snapshot: str) -> None:
    """Delete a snapshot, finished or not; one that is gone already is fine."""
    try:
        region.call("ec2", "delete_snapshot", SnapshotId=snapshot)
    except AwsError as error:
        if error.code != "InvalidSnapshot.NotFound":
            raise
    ledger_of(snapshot).unlink(missing_ok=True)


def size_of(order: Order, disk: RawDisk) -> int:
    """GiB of the volume: what the spec's machine has.

    Raises:
        InputError: the disk is larger.
    """
    wanted = order.spec.machine.disk
    if disk.gibibytes > wanted:
        raise InputError(
            f"the disk has {disk.gibibytes} GiB, the spec's machine {wanted} GiB",
            "give the spec that it was baked from",
        )
    return wanted
