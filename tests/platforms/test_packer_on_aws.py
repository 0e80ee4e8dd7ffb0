"""Packer 1.6.6's amazon-ebs with our document, against moto and a guest that takes everything and does nothing."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from platforms.conftest import Prepare
from simulators import moto_aws
from simulators.ssh_guest import Reply

from skyvypack import command

ENVIRONMENT = {"AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "y", "AWS_EC2_METADATA_DISABLED": "true"}
REGION = "eu-west-1"
# What a stand-in for AWS does not answer.
SKIPPED = {"skip_region_validation": True, "skip_metadata_api_check": True, "skip_credential_validation": True}
SETTINGS = {"region": REGION, "source_owners": ["self"], "tags": {"team": "web"}}

pytestmark = pytest.mark.tool


@pytest.fixture
def aws() -> Iterator[moto_aws.FaultyAws]:
    with moto_aws.started() as served:
        served.reset()
        yield served


@pytest.fixture
def ec2(aws: moto_aws.FaultyAws) -> Any:
    boto3 = pytest.importorskip("boto3")
    keys = {"aws_access_key_id": "x", "aws_secret_access_key": "y"}
    client = boto3.client("ec2", endpoint_url=aws.url, region_name=REGION, **keys)
    mapping = {"DeviceName": "/dev/xvda", "Ebs": {"VolumeSize": 8}}
    client.register_image(
        Name="debian-13-amd64-20260101",
        Architecture="x86_64",
        VirtualizationType="hvm",
        RootDeviceName="/dev/xvda",
        BlockDeviceMappings=[mapping],
    )
    return client


def instances(ec2: Any) -> list[dict[str, Any]]:
    return [one for group in ec2.describe_instances()["Reservations"] for one in group["Instances"]]


def stopping(ec2: Any) -> Callable[[], Reply]:
    """A guest that switches itself off, as sealing does."""

    def seal() -> Reply:
        (running,) = [one["InstanceId"] for one in instances(ec2) if one["State"]["Name"] == "running"]
        ec2.stop_instances(InstanceIds=[running])
        return Reply(hang_up=True)

    return seal


def test_an_ami_is_made(aws: moto_aws.FaultyAws, ec2: Any, prepare: Prepare) -> None:
    """Instance, configuration by SSH, restart, seal, AMI: and nothing else is left.

    The guest hangs up when it is told to restart and when it is sealed, as a real one does.
    """
    build = prepare("aws", "debian-13-amd64-*", {**SETTINGS, "endpoint": aws.url, "arguments": SKIPPED})
    seen: list[str] = []

    def restart() -> Reply:
        (running,) = instances(ec2)
        told = ec2.describe_instance_attribute(InstanceId=running["InstanceId"], Attribute="userData")
        seen.append(base64.b64decode(told["UserData"]["Value"]).decode())
        return Reply(hang_up=True)

    build.answer(apply=restart, seal=stopping(ec2))
    done = build.run(ENVIRONMENT)
    assert done.returncode == 0, done.stdout + done.stderr
    assert build.steps == ["apply", "wait", "seal"]
    assert build.guest.logins >= 2, "after the restart it logged in anew"
    (user_data,) = seen
    assert user_data == (build.folder / "build" / "vendor-data").read_text()
    assert build.guest.files["/tmp/user-data"] == build.files["user-data"]
    assert build.guest.files["/tmp/vendor-data"] == user_data
    made = ec2.describe_images(Filters=[{"Name": "name", "Values": ["skyvyos-server-1.0.0"]}])["Images"]
    (image,) = made
    assert {tag["Key"]: tag["Value"] for tag in image["Tags"]} == {"Name": "skyvyos-server-1.0.0", "team": "web"}
    assert [one["State"]["Name"] for one in instances(ec2)] == ["terminated"]
    assert [group["GroupName"] for group in ec2.describe_security_groups()["SecurityGroups"]] == ["default"]
    assert ec2.describe_key_pairs()["KeyPairs"] == [], "the build's own key never went to AWS"
    assert aws.count("StopInstances") == 1, "only the guest stopped it"
    assert image["ImageId"] in (build.folder / "packer-manifest.json").read_text()


def test_a_failed_configuration_leaves_nothing(aws: moto_aws.FaultyAws, ec2: Any, prepare: Prepare) -> None:
    """When cloud-init fails in the guest the build fails, says so, and takes everything back."""
    build = prepare("aws", "debian-13-amd64-*", {**SETTINGS, "endpoint": aws.url, "arguments": SKIPPED})
    words = "skyvypack: error: cloud-init failed\n"
    build.answer(apply=lambda: Reply(hang_up=True), wait=lambda: Reply(1, words))
    done = build.run(ENVIRONMENT)
    assert done.returncode == 1
    assert words.strip() in done.stdout
    assert build.steps == ["apply", "wait"]
    assert [image["Name"] for image in ec2.describe_images(Owners=["self"])["Images"]] == ["debian-13-amd64-20260101"]
    assert [one["State"]["Name"] for one in instances(ec2)] == ["terminated"]
    assert [group["GroupName"] for group in ec2.describe_security_groups()["SecurityGroups"]] == ["default"]


def test_no_secret_is_said(aws: moto_aws.FaultyAws, prepare: Prepare) -> None:
    """AWS's keys are in nothing that Packer prints, whatever goes wrong, and in no file of the bundle."""
    build = prepare("aws", "no-such-image-*", {**SETTINGS, "endpoint": aws.url, "arguments": SKIPPED})
    canary = "canary9Gq8canary9Gq8canary9Gq8canary9Gq8"
    done = build.run({**ENVIRONMENT, "AWS_SECRET_ACCESS_KEY": canary, "PACKER_LOG": "1"})
    assert done.returncode == 1
    assert "No AMI was found" in done.stdout
    assert canary not in done.stdout + done.stderr
    found = command.run(["grep", "-rl", canary, build.folder], check=False)
    assert found.stdout == ""
