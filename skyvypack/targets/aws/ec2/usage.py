"""Who uses an AMI: instances, launch templates and auto scaling groups of this account."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from skyvypack.targets.aws.ec2.region import Region


def of(region: Region, image: str) -> Iterator[str]:
    """What in a region would miss an AMI, in words.

    A template counts by its latest and its default version, and by the version that an auto scaling group names; older
    versions that nothing names start nothing by themselves.

    Args:
        region: where the AMI is.
        image: its id.

    Raises:
        AwsError: it cannot be told.
    """
    yield from _instances(region, image)
    yield from _templates(region, image)
    yield from _groups(region, image)


def _instances(region: Region, image: str) -> Iterator[str]:
    filters = [{"Name": "image-id", "Values": [image]}]
    for reservation in region.pages("ec2", "describe_instances", "Reservations", Filters=filters):
        for instance in reservation["Instances"]:
            state = instance["State"]["Name"]
            if state not in ("terminated", "shutting-down"):
                yield f"instance {instance['InstanceId']} in {region.name} ({state})"


def _templates(region: Region, image: str) -> Iterator[str]:
    for template in region.pages("ec2", "describe_launch_templates", "LaunchTemplates"):
        id = template["LaunchTemplateId"]
        if image in {_image(region, {"LaunchTemplateId": id, "Version": which}) for which in ("$Latest", "$Default")}:
            yield f"launch template {template['LaunchTemplateName']} in {region.name}"


def _image(region: Region, named: dict[str, Any]) -> str:
    """The AMI of a launch template's version, named as in an auto scaling group."""
    key = next(key for key in ("LaunchTemplateId", "LaunchTemplateName") if named.get(key))
    found = region.call(
        "ec2",
        "describe_launch_template_versions",
        **{key: named[key], "Versions": [named.get("Version") or "$Default"]},
    )["LaunchTemplateVersions"]
    return str(found[0]["LaunchTemplateData"].get("ImageId", "")) if found else ""


def _groups(region: Region, image: str) -> Iterator[str]:
    configurations = {
        one["LaunchConfigurationName"]: one["ImageId"]
        for one in region.pages("autoscaling", "describe_launch_configurations", "LaunchConfigurations")
    }
    for group in region.pages("autoscaling", "describe_auto_scaling_groups", "AutoScalingGroups"):
        mixed = group.get("MixedInstancesPolicy", {}).get("LaunchTemplate", {}).get("LaunchTemplateSpecification")
        named = group.get("LaunchTemplate") or mixed
        used = _image(region, named) if named else configurations.get(group.get("LaunchConfigurationName", ""))
        if used == image:
            yield f"auto scaling group {group['AutoScalingGroupName']} in {region.name}"
