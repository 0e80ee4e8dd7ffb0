"""Deprecation: an AMI that counts as deprecated is not offered any more, and can still be launched by its id.

Source: EC2 user guide, "Deprecate an Amazon EC2 AMI".
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from skyvypack.targets.aws.ec2 import channels, marks
from skyvypack.targets.aws.ec2.region import Region


def at(region: Region, image: str, when: str) -> None:
    """Let an AMI count as deprecated from a moment on (ISO 8601)."""
    region.call("ec2", "enable_image_deprecation", ImageId=image, DeprecateAt=when)


def follow(region: Region, name: str, days: int) -> list[str]:
    """Bring the AMIs of a name into line with its channels.

    Those older than what the channels point to are deprecated some days from now, unless a time was set before; one
    that a channel points to again is not deprecated any more.

    Args:
        region: where.
        name: of the template.
        days: until they count as deprecated; at least one, as EC2 takes no time that is past.

    Returns:
        What was done, in words.
    """
    pointed = {*channels.read(region, name).values()}
    images = [image for image in marks.images(region, name=name) if image["State"] == "available"]
    newest = max((_made(image) for image in images if image["ImageId"] in pointed), default="")
    when = (datetime.now(UTC) + timedelta(days=days)).strftime("%Y-%m-%dT%H:%M:00Z")
    done = []
    for image in images:
        id, deprecated = str(image["ImageId"]), bool(image.get("DeprecationTime"))
        if id in pointed and deprecated:
            region.call("ec2", "disable_image_deprecation", ImageId=id)
            done.append(f"{image['Name']} in {region.name} is no longer deprecated")
        elif id not in pointed and not deprecated and _made(image) < newest:
            at(region, id, when)
            done.append(f"{image['Name']} in {region.name} is deprecated from {when}")
    return done


def _made(image: dict[str, Any]) -> str:
    return marks.read(image).get("created", "")
