"""A disk by way of S3 and ImportSnapshot."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from aws.conftest import HOME, Asked
from aws.orders import one, registered, tags_of
from botocore.stub import Stubber
from click.testing import CliRunner
from simulators.moto_aws import FaultyAws

from skyvypack.artifact import write_manifest
from skyvypack.cli.app import cli
from skyvypack.targets.aws.ec2.region import AwsError

pytestmark = pytest.mark.tool


def test_by_way_of_s3(made_of: Any, session: Any, aws: FaultyAws, asked: Asked) -> None:
    """The disk goes to the bucket as VMDK, is imported, tagged, registered, and removed from the bucket."""
    order = made_of(upload="s3", bucket="images")
    store = session.client("s3", HOME, endpoint_url=aws.url)
    store.create_bucket(Bucket="images", CreateBucketConfiguration={"LocationConstraint": HOME})
    ec2 = session.client("ec2", HOME, endpoint_url=aws.url)
    volume = ec2.create_volume(Size=4, AvailabilityZone=f"{HOME}a")["VolumeId"]
    snapshot = ec2.create_snapshot(VolumeId=volume)["SnapshotId"]
    sent: list[bytes] = []
    real = ec2._make_api_call

    def answer(operation: str, params: dict[str, Any]) -> Any:
        if operation == "ImportSnapshot":
            bucket = params["DiskContainer"]["UserBucket"]
            sent.append(store.get_object(Bucket=bucket["S3Bucket"], Key=bucket["S3Key"])["Body"].read())
            asked.append((operation, params))
            return {"ImportTaskId": "import-snap-1"}
        if operation == "DescribeImportSnapshotTasks":
            detail = {"Status": "completed", "SnapshotId": snapshot, "Progress": "100"}
            return {"ImportSnapshotTasks": [{"ImportTaskId": "import-snap-1", "SnapshotTaskDetail": detail}]}
        return real(operation, params)

    with mock.patch.object(ec2, "_make_api_call", answer):
        template = registered(order)
    assert sent[0][:4] == b"KDMV"
    assert one(asked, "ImportSnapshot")["DiskContainer"]["Format"] == "VMDK"
    assert template.facts["snapshot"] == snapshot
    assert "Contents" not in store.list_objects_v2(Bucket="images")
    tags = tags_of(ec2.describe_snapshots(SnapshotIds=[snapshot])["Snapshots"][0]["Tags"])
    assert tags["skyvypack:run"] == template.run


def test_a_failed_import_says_what_may_be_missing(made_of: Any, session: Any, aws: FaultyAws) -> None:
    """AWS's own words, and the service role; the object and the task are gone."""
    order = made_of(upload="s3", bucket="images")
    store = session.client("s3", HOME, endpoint_url=aws.url)
    store.create_bucket(Bucket="images", CreateBucketConfiguration={"LocationConstraint": HOME})
    detail = {"Status": "deleted", "StatusMessage": "ClientError: No valid partitions."}
    task = {"ImportTaskId": "import-snap-1", "SnapshotTaskDetail": detail}
    with Stubber(session.client("ec2", HOME, endpoint_url=aws.url)) as ec2:
        ec2.add_response("import_snapshot", {"ImportTaskId": "import-snap-1"}, None)
        ec2.add_response("describe_import_snapshot_tasks", {"ImportSnapshotTasks": [task]})
        ec2.add_response("describe_import_snapshot_tasks", {"ImportSnapshotTasks": [task]})
        ec2.add_response("cancel_import_task", {}, {"ImportTaskId": "import-snap-1"})
        with pytest.raises(AwsError, match="No valid partitions") as caught:
            registered(order)
        ec2.assert_no_pending_responses()
    assert "vmimport" in caught.value.hint
    assert "Contents" not in store.list_objects_v2(Bucket="images")


def test_the_way_may_be_named_on_the_command_line(
    made_of: Any, session: Any, aws: FaultyAws, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """``--via s3`` is the setting ``upload: s3``; a way that there is not is refused with those that there are."""
    order = made_of(bucket="images")
    store = session.client("s3", HOME, endpoint_url=aws.url)
    store.create_bucket(Bucket="images", CreateBucketConfiguration={"LocationConstraint": HOME})
    nothing: dict[str, Any] = {"inputs": {}, "packages": (), "timings": {}, "tools": {}, "accelerator": {}}
    write_manifest(tmp_path, [order.disk], order.spec, "aws", **nothing, checks=[])
    monkeypatch.setattr("skyvypack.spec.load", lambda path: order.spec)
    words = ["register", str(tmp_path), "--target", "aws", "--dry-run"]
    assert "send the disk's blocks" in CliRunner().invoke(cli, words).stdout
    assert "put the disk into s3://images/skyvypack/" in CliRunner().invoke(cli, [*words, "--via", "s3"]).stdout
    refused = CliRunner().invoke(cli, [*words, "--via", "mail"])
    assert refused.exit_code == 2
    assert "there are: direct, s3" in refused.stderr
    elsewhere = CliRunner().invoke(cli, ["register", str(tmp_path), "--target", "proxmox", "--via", "s3"])
    assert elsewhere.exit_code == 2
    assert "target proxmox has no way 's3' for a disk" in elsewhere.stderr
