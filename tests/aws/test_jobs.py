"""Copies, shares, publication, deprecation and channels: each by itself, in as many regions as are wanted."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from aws.conftest import HOME, Asked
from aws.orders import ABROAD, ALIEN, ORGANIZATION, at_work, jobs_done, one, registered
from botocore.stub import Stubber
from simulators.moto_aws import FaultyAws

from skyvypack.progress import Event, Progress
from skyvypack.registrar.contract import Order
from skyvypack.targets.aws.ec2.region import AwsError
from skyvypack.targets.aws.registrar import connect

pytestmark = pytest.mark.tool


def test_a_region_that_fails_takes_nothing_with_it(made_of: Any, aws: FaultyAws, asked: Asked) -> None:
    """The other region has its copy, the AMI stands, and doing it again makes only what is missing."""
    order = made_of(regions=list(ABROAD))
    template = registered(order)
    aws.fail("eu-west-1 CopyImage$", times=1, status=400, code="ResourceLimitExceeded")
    first = jobs_done(order, template)
    assert first["copy to eu-west-1"].startswith("failed: ec2:CopyImage in eu-west-1: ordered by the test")
    assert first["copy to us-east-1"].startswith("ami-")
    again = jobs_done(order, template)
    assert again["copy to us-east-1"] == first["copy to us-east-1"]
    assert again["copy to eu-west-1"].startswith("ami-")
    assert sum(name == "CopyImage" for name, _ in asked) == 3
    copies = [params for name, params in asked if name == "CopyImage"]
    assert all((copy["SourceRegion"], copy["SourceImageId"]) == (HOME, template.id) for copy in copies)
    kinds = [tags["ResourceType"] for tags in copies[0]["TagSpecifications"]]
    assert kinds == ["image", "snapshot"]


def test_sharing_with_accounts_and_organisations(made_of: Any, asked: Asked) -> None:
    """Everywhere, and accounts may copy the snapshots too; nobody else is added."""
    order = made_of(users=[ALIEN], organizations=[ORGANIZATION], regions=["eu-west-1"])
    done = jobs_done(order, registered(order))
    assert list(done) == ["copy to eu-west-1", f"share in {HOME}", "share in eu-west-1"]
    assert not any(text.startswith("failed") for text in done.values())
    grants = [params["LaunchPermission"]["Add"] for name, params in asked if name == "ModifyImageAttribute"]
    assert grants == [[{"UserId": ALIEN}, {"OrganizationArn": ORGANIZATION}]] * 2
    volumes = [params for name, params in asked if name == "ModifySnapshotAttribute"]
    assert [params["UserIds"] for params in volumes] == [[ALIEN]] * 2


def test_sharing_waits_for_a_copy(made_of: Any, aws: FaultyAws) -> None:
    """Where the copy failed there is nothing to share, and the error says so."""
    order = made_of(users=[ALIEN], regions=["eu-west-1"])
    template = registered(order)
    aws.fail("eu-west-1 CopyImage$", times=1, status=400, code="ResourceLimitExceeded")
    done = jobs_done(order, template)
    assert "there is no copy of web-1.0.0 in eu-west-1" in done["share in eu-west-1"]


def test_public_only_when_asked_and_with_a_warning(made_of: Any, asked: Asked) -> None:
    """By default nobody else may launch it; with the flag everybody may, and the run says it loudly."""
    order = made_of()
    assert jobs_done(order, registered(order)) == {}
    assert not any(name == "ModifyImageAttribute" for name, _ in asked)
    order = made_of("1.1.0", public=True)
    told: list[Event] = []
    assert jobs_done(order, registered(order), told) == {f"make PUBLIC in {HOME}": "PUBLIC"}
    assert one(asked, "ModifyImageAttribute")["LaunchPermission"] == {"Add": [{"Group": "all"}]}
    assert any("everybody with an AWS account" in event.text for event in told)


def test_deprecation_and_protection(made_of: Any, session: Any, asked: Asked) -> None:
    """moto has neither: the requests are asserted by botocore's Stubber."""
    order = made_of(deprecate_at="2027-01-01T00:00:00Z", protect=True)
    template = registered(order)
    with at_work(order, []) as (registrar, run), Stubber(session.client("ec2", HOME)) as ec2:
        for job, (operation, more) in zip(
            registrar.jobs(order, template),
            [
                ("enable_image_deprecation", {"DeprecateAt": "2027-01-01T00:00:00Z"}),
                ("enable_image_deregistration_protection", {"WithCooldown": False}),
            ],
            strict=True,
        ):
            described = {"Images": [{"ImageId": template.id, "State": "available"}]}
            ec2.add_response("describe_images", described, {"ImageIds": [template.id], "Owners": ["self"]})
            ec2.add_response(operation, {}, {"ImageId": template.id, **more})
            job.do(run)
        ec2.assert_no_pending_responses()


def deprecated(order: Order) -> dict[str, str]:
    """When each AMI of the home region counts as deprecated, by its name."""
    with connect(order.settings, Progress()) as registrar:
        found = registrar.region.pages("ec2", "describe_images", "Images", Owners=["self"])
        return {image["Name"]: image["DeprecationTime"] for image in found if image.get("DeprecationTime")}


def test_what_a_newer_one_takes_the_channel_from_is_deprecated(made_of: Any, asked: Asked) -> None:
    """Only what is older, in no channel and without a time of its own; a step back takes it back."""
    orders = [made_of(f"1.{number}.0", deprecate_after=30, regions=["eu-west-1"]) for number in range(3)]
    templates = [registered(order) for order in orders]
    jobs_done(orders[0], templates[0])
    jobs_done(orders[1], templates[1])
    told: list[Event] = []

    def point(number: int, channel: str) -> None:
        with at_work(orders[number], told) as (registrar, _):
            registrar.point(templates[number], channel)

    point(0, "stable")
    assert deprecated(orders[0]) == {}
    point(1, "stable")
    point(1, "stable")
    (when,) = {params["DeprecateAt"] for name, params in asked if name == "EnableImageDeprecation"}
    days = (datetime.fromisoformat(str(when)) - datetime.now(UTC)).total_seconds() / 86400
    assert 29.9 < days <= 30
    assert sum(name == "EnableImageDeprecation" for name, _ in asked) == 2, "in both regions, once"
    assert set(deprecated(orders[0])) == {"web-1.0.0"}, "1.2.0 is newer, though no channel has it yet"
    assert any("web-1.0.0 in eu-west-1 is deprecated from" in event.text for event in told)
    point(0, "stable")
    assert deprecated(orders[0]) == {}, "1.1.0 is newer than what the channel went back to"


def test_a_region_that_cannot_move_its_channel_holds_up_no_other(made_of: Any, aws: FaultyAws) -> None:
    """The error names it, and what could be moved was."""
    order = made_of(regions=["eu-west-1"])
    template = registered(order)
    jobs_done(order, template)
    aws.fail("eu-west-1 AmazonSSM.PutParameter", times=1, status=400, code="AccessDeniedException")
    with at_work(order, []) as (registrar, _), pytest.raises(AwsError, match="ssm:PutParameter in eu-west-1"):
        registrar.point(template, "stable")
    with connect(order.settings, Progress()) as registrar:
        assert registrar.describe("web")[0].channels == ("stable",)


def test_a_channel_is_a_parameter_in_every_region_with_a_copy(made_of: Any, asked: Asked, aws: FaultyAws) -> None:
    """Each region's parameter names that region's AMI; a region whose copy failed keeps what it has, and says so."""
    order = made_of(regions=list(ABROAD))
    template = registered(order)
    aws.fail("us-east-1 CopyImage$", times=1, status=400, code="ResourceLimitExceeded")
    copies = jobs_done(order, template)
    told: list[Event] = []
    with at_work(order, told) as (registrar, _):
        registrar.point(template, "stable")
        registrar.point(template, "stable")
        assert registrar.describe("web")[0].channels == ("stable",)
    puts = [params for name, params in asked if name == "PutParameter"]
    assert [put["Value"] for put in puts] == [copies["copy to eu-west-1"], template.id]
    for put in puts:
        assert (put["Name"], put["DataType"], put["Overwrite"]) == ("/skyvypack/web/stable", "aws:ec2:image", True)
    assert any("us-east-1 has no copy" in event.text for event in told)
