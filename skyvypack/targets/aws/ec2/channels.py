"""Channels: SSM parameters ``/skyvypack/<name>/<channel>`` that hold the id of an AMI.

A launch template names one as ``resolve:ssm:/skyvypack/web/stable`` and so follows it.
"""

from __future__ import annotations

from skyvypack.targets.aws.ec2.region import Region

ROOT = "/skyvypack"


def path(name: str, channel: str) -> str:
    """Name of a channel's parameter."""
    return f"{ROOT}/{name}/{channel}"


def read(region: Region, name: str) -> dict[str, str]:
    """The AMI that each channel of a name points to in a region."""
    found = region.pages("ssm", "get_parameters_by_path", "Parameters", Path=f"{ROOT}/{name}")
    return {str(one["Name"]).rpartition("/")[2]: str(one["Value"]) for one in found}


def point(region: Region, name: str, channel: str, image: str) -> None:
    """Make a channel mean an AMI in a region; nothing is written when it does already."""
    if read(region, name).get(channel) == image:
        return
    region.call(
        "ssm",
        "put_parameter",
        Name=path(name, channel),
        Description=f"AMI of {name} in channel {channel}, moved by skyvypack after verification",
        Value=image,
        Type="String",
        # EC2 itself then refuses an id that is no AMI of this account.
        DataType="aws:ec2:image",
        Overwrite=True,
    )
