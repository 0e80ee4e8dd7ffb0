"""Older AMIs: who uses one, and what goes with it."""

from __future__ import annotations

from typing import Any

import pytest
from aws.conftest import HOME
from aws.orders import at_work, jobs_done, registered

from skyvypack.progress import Progress
from skyvypack.targets.aws.registrar import connect

pytestmark = pytest.mark.tool


@pytest.mark.parametrize("by", ["instance", "launch template", "auto scaling group", "mixed", "configuration"])
def test_what_uses_an_ami_is_named(by: str, made_of: Any, session: Any) -> None:
    """Instances, launch templates and auto scaling groups, in every region that has it."""
    order = made_of()
    template = registered(order)
    ec2 = session.client("ec2", HOME, endpoint_url=order.settings["endpoint"])
    scaling = session.client("autoscaling", HOME, endpoint_url=order.settings["endpoint"])
    with connect(order.settings, Progress()) as registrar:
        assert registrar.in_use(template) == []
    group = {"AutoScalingGroupName": "fleet", "MinSize": 0, "MaxSize": 0, "AvailabilityZones": [f"{HOME}a"]}
    if by == "instance":
        ec2.run_instances(ImageId=template.id, MinCount=1, MaxCount=1)
    elif by == "configuration":
        scaling.create_launch_configuration(LaunchConfigurationName="old", ImageId=template.id, InstanceType="t3.nano")
        scaling.create_auto_scaling_group(**group, LaunchConfigurationName="old")
    else:
        ec2.create_launch_template(LaunchTemplateName="web", LaunchTemplateData={"ImageId": template.id})
        named = {"LaunchTemplateName": "web", "Version": "1"}
        if by == "auto scaling group":
            scaling.create_auto_scaling_group(**group, LaunchTemplate=named)
        elif by == "mixed":
            mixed = {"LaunchTemplate": {"LaunchTemplateSpecification": named}}
            scaling.create_auto_scaling_group(**group, MixedInstancesPolicy=mixed)
        if by != "launch template":
            # Its newest version starts another AMI: only the group holds on to the old one.
            other = registered(made_of("1.1.0")).id
            ec2.create_launch_template_version(LaunchTemplateName="web", LaunchTemplateData={"ImageId": other})
            ec2.modify_launch_template(LaunchTemplateName="web", DefaultVersion="2")
    words = {
        "mixed": "auto scaling group fleet",
        "configuration": "auto scaling group fleet",
        "launch template": "launch template web",
    }
    with connect(order.settings, Progress()) as registrar:
        (reason,) = registrar.in_use(template)
    assert words.get(by, by) in reason
    assert HOME in reason


def test_retirement_takes_copies_and_snapshots_along(made_of: Any, session: Any) -> None:
    """In every region the AMI and its snapshots go together; another version's stay."""
    old, new = made_of(regions=["eu-west-1"]), made_of("2.0.0", regions=["eu-west-1"])
    template, other = registered(old), registered(new)
    jobs_done(old, template)
    jobs_done(new, other)
    with at_work(old, []) as (registrar, run):
        registrar.retire(template, run)
    for place in (HOME, "eu-west-1"):
        ec2 = session.client("ec2", place)
        assert [image["Name"] for image in ec2.describe_images(Owners=["self"])["Images"]] == ["web-2.0.0"]
        assert len(ec2.describe_snapshots(OwnerIds=["self"])["Snapshots"]) == 1


def test_a_copy_in_use_keeps_the_template(made_of: Any, session: Any) -> None:
    """What is used in one region is used."""
    order = made_of(regions=["eu-west-1"])
    template = registered(order)
    copy = jobs_done(order, template)["copy to eu-west-1"]
    session.client("ec2", "eu-west-1").run_instances(ImageId=copy, MinCount=1, MaxCount=1)
    with connect(order.settings, Progress()) as registrar:
        (reason,) = registrar.in_use(template)
    assert "in eu-west-1" in reason
