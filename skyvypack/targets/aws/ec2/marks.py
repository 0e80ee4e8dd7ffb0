"""Tags: how AMIs, snapshots and instances of ours say what they are, and how they are found again."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from skyvypack.registrar.contract import Order
from skyvypack.targets.aws.ec2.region import Region

PREFIX = "skyvypack:"


def of(order: Order, run: str) -> dict[str, str]:
    """The tags of everything that is made for an order: the user's, ours, and a name for the console.

    Args:
        order: what is registered.
        run: id of the run.
    """
    # EC2 tells an AMI's age in whole seconds, which does not order two of them.
    marks = order.marks(run) | {"created": datetime.now(UTC).isoformat()}
    ours = {PREFIX + key: value for key, value in marks.items()}
    return {**order.settings["tags"], "Name": order.title, **ours}


def sent(tags: Mapping[str, str]) -> list[dict[str, str]]:
    """Tags as the API takes them."""
    return [{"Key": key, "Value": value} for key, value in tags.items()]


def specifications(tags: Mapping[str, str], *kinds: str) -> list[dict[str, Any]]:
    """Tags for things that are made by one call.

    Args:
        tags: the same for all.
        kinds: as in ``image``.
    """
    return [{"ResourceType": kind, "Tags": sent(tags)} for kind in kinds]


def read(described: Mapping[str, Any]) -> dict[str, str]:
    """The tags of something that was described; ours without their prefix, others as ``tag:…``."""
    tags = {tag["Key"]: tag["Value"] for tag in described.get("Tags", ())}
    return {key.removeprefix(PREFIX) if key.startswith(PREFIX) else f"tag:{key}": tags[key] for key in tags}


def filters(**wanted: str) -> list[dict[str, Any]]:
    """Filters of a describe call for tags of ours, such as ``run="…"``."""
    return [{"Name": f"tag:{PREFIX}{key}", "Values": [value]} for key, value in wanted.items()]


def images(region: Region, **wanted: str) -> Iterator[dict[str, Any]]:
    """AMIs of this account that carry our tags, such as ``name="web"``."""
    return region.pages("ec2", "describe_images", "Images", Owners=["self"], Filters=filters(**wanted))


def snapshots(region: Region, **wanted: str) -> Iterator[dict[str, Any]]:
    """Snapshots of this account that carry our tags."""
    return region.pages("ec2", "describe_snapshots", "Snapshots", OwnerIds=["self"], Filters=filters(**wanted))


def snapshots_of(image: Mapping[str, Any]) -> list[str]:
    """Ids of the snapshots that an AMI consists of."""
    mappings: Iterable[Mapping[str, Any]] = image.get("BlockDeviceMappings", ())
    return [one["Ebs"]["SnapshotId"] for one in mappings if one.get("Ebs", {}).get("SnapshotId")]
