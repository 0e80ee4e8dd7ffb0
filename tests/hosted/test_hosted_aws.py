"""An AMI is proven by an instance that boots from the blocks which its snapshot holds."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hosted.conftest import PATIENCE, skyvypack
from simulators import lan
from simulators.ec2_host import Host, hosting

from skyvypack import artifact

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "aws.yaml"
KEYS = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing", "AWS_EC2_METADATA_DISABLED": "true"}
pytestmark = pytest.mark.boot


@pytest.fixture(scope="session")
def baked() -> Path:
    """What ``skyvypack bake --spec examples/aws.yaml --target aws --no-register`` has made."""
    output = os.environ.get("SKYVYPACK_TEST_OUTPUT")
    found = sorted(Path(output).glob("skyvyos-web-*-aws/manifest.json")) if output else []
    if not found:
        pytest.skip("SKYVYPACK_TEST_OUTPUT names no folder with a template of examples/aws.yaml")
    return found[-1].parent


@pytest.fixture
def ec2(network: None, tmp_path: Path) -> Iterator[Host]:
    with hosting(tmp_path / "ec2") as host:
        yield host


@pytest.fixture
def spec_file(ec2: Host, tmp_path: Path) -> Path:
    """The example's spec, for the account that is simulated."""
    text = yaml.safe_load(EXAMPLE.read_text())
    text["targets"]["aws"]["endpoint"] = ec2.aws.url
    path = tmp_path / "skyvypack.yaml"
    path.write_text(yaml.safe_dump(text))
    return path


def test_an_instance_of_the_ami_keeps_the_contract(baked: Path, ec2: Host, spec_file: Path, tmp_path: Path) -> None:
    """Upload, AMI, launch, first boot with user-data from EC2's own metadata service, contract over SSH, reboot,
    contract, termination, copy, channel: in one command, and nothing is left but AMI, copy and channel."""
    environment = {**KEYS, "SKYVYPACK_STATE": str(tmp_path / "state")}
    told = ["--spec", spec_file, "--target", "aws", "--channel", "stable", "--patience", str(PATIENCE), "--json"]
    done = skyvypack("register", baked, *told, environment=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(done.stdout)
    report = found["report"]
    assert report["passed"]
    assert report["accelerator"] == lan.GUEST
    assert {check["phase"] for check in report["checks"]} == {"first boot", "after reboot"}
    assert found["left"] == []
    assert found["channel"] == "stable"
    assert len(ec2.launched) == 1, "one instance, once"
    assert ec2.guests == {}
    assert_told(ec2)
    assert_left(ec2, found)
    assert artifact.load(baked).file("qcow2").sha256 in found["template"]["digest"]


def assert_told(ec2: Host) -> None:
    """The guest asked for its data as IMDSv2 wants it."""
    assert "PUT /latest/api/token" in ec2.told
    assert any(line.endswith("/user-data") for line in ec2.told)
    assert ec2.blocks == ec2.aws.count("PUT /snapshots/.*/blocks/"), "all that was sent was read, and once"


def assert_left(ec2: Host, found: Any) -> None:
    """AMI, copy, their snapshots, and a channel in each region."""
    template = found["template"]
    for region in ("eu-central-1", "eu-west-1"):
        client = ec2._session.client("ec2", region, endpoint_url=ec2.aws.url)
        (image,) = client.describe_images(Owners=["self"])["Images"]
        instances = [one for group in client.describe_instances()["Reservations"] for one in group["Instances"]]
        assert {one["State"]["Name"] for one in instances} <= {"terminated"}
        assert [one["GroupName"] for one in client.describe_security_groups()["SecurityGroups"]] == ["default"]
        ssm = ec2._session.client("ssm", region, endpoint_url=ec2.aws.url)
        pointed = ssm.get_parameter(Name="/skyvypack/skyvyos-web/stable")["Parameter"]["Value"]
        assert pointed == image["ImageId"]
        if region == "eu-central-1":
            assert image["ImageId"] == template["id"]
