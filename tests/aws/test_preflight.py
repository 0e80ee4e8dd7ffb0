"""What stands in the way of a registration: all of it at once, and nothing is made."""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import replace
from typing import Any
from unittest import mock

import pytest
from aws.conftest import HOME, Asked
from aws.orders import ALIEN, registered
from botocore.exceptions import EndpointConnectionError
from botocore.stub import Stubber
from simulators.moto_aws import FaultyAws

from skyvypack.progress import Progress
from skyvypack.registrar.contract import Order
from skyvypack.spec.model import User
from skyvypack.targets.aws.ec2 import region
from skyvypack.targets.aws.registrar import connect

pytestmark = pytest.mark.tool


class TestPreflight:
    """Everything that stands in the way, at once; nothing is made."""

    def found(self, order: Order) -> dict[str, str]:
        with connect(order.settings, Progress()) as registrar:
            return {one.check: f"{one.message} | {one.hint}" for one in registrar.preflight(order)}

    def test_nothing_stands_in_the_way(self, made_of: Any, asked: Asked, aws: FaultyAws) -> None:
        """A good account has no obstacle, and whatever could change something is asked as a trial."""
        registered(made_of())
        order = made_of("1.1.0", regions=["eu-west-1"], users=[ALIEN])
        asked.clear()
        assert self.found(order) == {}
        reading = ("Describe", "Get", "List")
        changing = [params for name, params in asked if not name.startswith(reading)]
        assert len(changing) == 8
        assert all(params["DryRun"] is True for params in changing)
        with connect(order.settings, Progress()) as registrar:
            assert "account 123456789012" in registrar.where()
            assert HOME in registrar.where()

    def test_expired_credentials_are_the_only_obstacle(self, made_of: Any, aws: FaultyAws) -> None:
        """Nothing else can be seen then."""
        aws.fail("GetCallerIdentity", status=403, code="ExpiredToken", times=9)
        found = self.found(made_of())
        assert list(found) == ["credentials"]
        assert "log in again" in found["credentials"]

    def test_a_region_that_stops_to_answer_is_waited_for_once(self, made_of: Any, session: Any) -> None:
        """What else would have to be asked is not: each question would be as long a wait."""
        session.events.register("before-send.ec2", _nobody)
        found = self.found(made_of(upload="s3"))
        assert list(found) == ["regions"]
        assert "Could not connect" in found["regions"]

    def test_what_is_not_allowed_comes_with_the_policy(self, made_of: Any, aws: FaultyAws) -> None:
        """All missing rights in one obstacle, and a policy that can be attached as it is."""
        aws.fail("(RegisterImage|RunInstances) DryRun", times=2, status=403, code="UnauthorizedOperation")
        text = self.found(made_of())["permission"]
        assert text.startswith("not allowed: ec2:RegisterImage, ec2:RunInstances |")
        allowed = json.loads(text.partition("policy:\n")[2])
        assert allowed["Version"] == "2012-10-17"

    def test_all_at_once(self, made_of: Any, session: Any) -> None:
        """A region that is none, a name that is taken, a bucket that is not there: each by itself, with a way out."""
        order = made_of(regions=["eu-west-9"], upload="s3", bucket="nowhere")
        ec2 = session.client("ec2", HOME, endpoint_url=order.settings["endpoint"])
        ec2.register_image(Name="web-1.0.0", RootDeviceName="/dev/xvda")
        found = self.found(order)
        assert set(found) == {"region", "name", "bucket"}
        assert "eu-west-" in found["region"]
        assert "is not ours" in found["name"]
        assert "NoSuchBucket" in found["bucket"] or "does not exist" in found["bucket"]

    def test_more_users_than_an_instance_can_be_told_of(self, made_of: Any) -> None:
        """The 16 KiB of the instance that proves the AMI are looked at before a disk is sent, not after."""
        order = made_of()
        keys = [f"ssh-ed25519 {base64.b64encode(hashlib.sha512(bytes([n])).digest()).decode()}" for n in range(250)]
        users = tuple(User(f"user{number}", (key,)) for number, key in enumerate(keys))
        order = replace(order, spec=replace(order.spec, users=users))
        assert "aws takes 16384 | bake what every clone needs" in self.found(order)["user-data"]
        assert self.found(replace(order, verify=False)) == {}

    def test_without_a_default_vpc_a_subnet_is_asked_for(self, made_of: Any, session: Any) -> None:
        """Where the proving instance shall live must be known before anything is sent."""
        order = made_of()
        ec2 = session.client("ec2", HOME, endpoint_url=order.settings["endpoint"])
        for subnet in ec2.describe_subnets()["Subnets"]:
            ec2.delete_subnet(SubnetId=subnet["SubnetId"])
        ec2.delete_vpc(VpcId=ec2.describe_vpcs()["Vpcs"][0]["VpcId"])
        assert "subnet_id" in self.found(order)["network"]
        assert self.found(replace(order, verify=False)) == {}

    def test_a_key_that_is_off(self, made_of: Any, session: Any) -> None:
        """A disabled key is found here, not after the upload; a default key cannot be shared."""
        order = made_of(encrypt=True, kms_key="alias/images", users=[ALIEN], regions=["eu-west-1"])
        described = {
            "KeyMetadata": {
                "KeyId": "1",
                "Arn": f"arn:aws:kms:{HOME}:{ALIEN}:key/1",
                "Enabled": False,
                "KeyState": "Disabled",
            }
        }
        with Stubber(session.client("kms", HOME, endpoint_url=order.settings["endpoint"])) as kms:
            kms.add_response("describe_key", described)
            assert "alias/images in eu-central-1 is Disabled" in self.found(order)["key"]
        assert "cannot be shared" in self.found(made_of(encrypt=True, users=[ALIEN]))["key"]

    def test_public_is_refused_where_the_account_refuses_it(self, made_of: Any) -> None:
        """EC2's block of public AMIs is on by default, and an encrypted AMI is never public."""
        with mock.patch.object(region.Region, "call", _blocked(region.Region.call)):
            assert "lets no AMI be public" in self.found(made_of(public=True))["public"]

    def test_a_full_account(self, made_of: Any) -> None:
        """The quota of AMIs is compared with what is there."""
        with mock.patch.object(region.Region, "call", _blocked(region.Region.call)):
            assert "0 are allowed" in self.found(made_of())["quota"]


def _nobody(request: Any, **_: Any) -> None:
    raise EndpointConnectionError(endpoint_url=request.url)


def _blocked(call: Any) -> Any:
    def answer(self: Any, service: str, operation: str, **arguments: Any) -> Any:
        if operation == "get_image_block_public_access_state":
            return {"ImageBlockPublicAccessState": "block-new-sharing"}
        if operation == "get_service_quota":
            return {"Quota": {"Value": 0.0}}
        return call(self, service, operation, **arguments)

    return answer
