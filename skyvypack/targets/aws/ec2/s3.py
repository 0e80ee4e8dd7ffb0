"""A disk into a snapshot by way of S3 and ImportSnapshot, for accounts that must: slower, and it takes a bucket and
the service role ``vmimport`` ("VM Import/Export user guide", "Required service role").
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from skyvypack.progress import Event, Progress
from skyvypack.registrar import retry
from skyvypack.registrar.contract import Order
from skyvypack.targets.aws.ec2 import marks, snapshots
from skyvypack.targets.aws.ec2.region import AwsError, Region, in_words

IMPORT_SECONDS = 7200.0
PAUSE = 10.0


def send(region: Region, disk: Path, bucket: str, key: str, progress: Progress) -> None:
    """Put a file into a bucket, in parts and with a checksum for each.

    Raises:
        AwsError: S3 refused, or could not be reached.
    """
    size = disk.stat().st_size
    sent = 0

    def advance(count: int) -> None:
        nonlocal sent
        sent += count
        progress.report(Event("advance", "upload", fraction=sent / size))

    try:
        region.client("s3").upload_file(
            str(disk), bucket, key, Callback=advance, ExtraArgs={"ChecksumAlgorithm": "SHA256"}
        )
    except Exception as error:
        told = in_words(error, f"s3:PutObject {bucket}/{key} in {region.name}")
        if told is None:
            raise
        raise told from error


def forget(region: Region, bucket: str, key: str) -> None:
    """Remove an object; S3 does not mind when there is none."""
    region.call("s3", "delete_object", Bucket=bucket, Key=key)


def begin(region: Region, order: Order, bucket: str, key: str, *, token: str, run: str) -> str:
    """Begin to import an object as a snapshot; the same token begins one import only.

    Returns:
        Id of the import task.
    """
    settings = order.settings
    encrypted: dict[str, Any] = {}
    if settings["encrypt"]:
        encrypted = {"Encrypted": True, **({"KmsKeyId": settings["kms_key"]} if settings["kms_key"] else {})}
    answer = region.call(
        "ec2",
        "import_snapshot",
        ClientToken=token,
        Description=order.title,
        DiskContainer={"Format": "VMDK", "UserBucket": {"S3Bucket": bucket, "S3Key": key}},
        TagSpecifications=marks.specifications(marks.of(order, run), "import-snapshot-task"),
        **encrypted,
    )
    return str(answer["ImportTaskId"])


def look(region: Region, task: str) -> Mapping[str, Any]:
    """What AWS says of an import; nothing when it does not know it."""
    found = region.call("ec2", "describe_import_snapshot_tasks", ImportTaskIds=[task])["ImportSnapshotTasks"]
    return dict(found[0].get("SnapshotTaskDetail", {})) if found else {}


def find(region: Region, run: str) -> str | None:
    """Id of the import that a run began; None when there is none."""
    found = region.pages("ec2", "describe_import_snapshot_tasks", "ImportSnapshotTasks", Filters=marks.filters(run=run))
    return next((str(one["ImportTaskId"]) for one in found), None)


def imported(region: Region, task: str, progress: Progress) -> str:
    """Wait for an import; returns the id of the snapshot.

    Raises:
        AwsError: it failed, in AWS's own words.
        RegistrarError: it takes too long.
    """

    def ready() -> str | None:
        detail = look(region, task)
        state = detail.get("Status", "active")
        if state in ("deleted", "deleting", "cancelled"):
            message = f"import {task} failed: {detail.get('StatusMessage', state)}"
            raise AwsError(message, "does the role vmimport exist, and may it read the bucket?")
        if str(detail.get("Progress", "")).isdigit():
            progress.report(Event("advance", "import", fraction=int(detail["Progress"]) / 100))
        return str(detail["SnapshotId"]) if state == "completed" else None

    return retry.until(ready, seconds=IMPORT_SECONDS, pause=PAUSE, what=f"import {task}")


def cancel(region: Region, task: str) -> None:
    """Undo an import, whether it is under way or done."""
    detail = look(region, task)
    if detail.get("SnapshotId") and detail.get("Status") == "completed":
        snapshots.delete(region, str(detail["SnapshotId"]))
    elif detail:
        region.call("ec2", "cancel_import_task", ImportTaskId=task)
