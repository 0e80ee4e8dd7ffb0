"""An instance of an AMI for the time of its verification, in a security group of its own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from skyvypack.registrar import retry
from skyvypack.registrar.contract import Guest
from skyvypack.targets.aws.ec2 import marks
from skyvypack.targets.aws.ec2.region import AwsError, Region

ADDRESS_SECONDS = 600.0
GONE_SECONDS = 600.0
PAUSE = 5.0
_NOT_YET = frozenset(["InvalidInstanceID.NotFound", "InvalidGroup.NotFound"])


def subnet(region: Region, settings: Mapping[str, Any]) -> dict[str, Any] | None:
    """The subnet that the settings name, by its id or its tags; None for one of the default VPC.

    Raises:
        AwsError: there is none, or several have the tags.
    """
    if settings["subnet_id"]:
        found = region.call("ec2", "describe_subnets", SubnetIds=[settings["subnet_id"]])["Subnets"]
    elif settings["subnet_tags"]:
        filters = [{"Name": f"tag:{key}", "Values": [value]} for key, value in settings["subnet_tags"].items()]
        found = list(region.pages("ec2", "describe_subnets", "Subnets", Filters=filters))
    else:
        return None
    if len(found) != 1:
        raise AwsError(f"{len(found)} subnets in {region.name} have the tags of `subnet_tags`", "name one: subnet_id")
    return dict(found[0])


def network(region: Region, settings: Mapping[str, Any]) -> str:
    """Id of the VPC that instances of ours live in.

    Raises:
        AwsError: the settings name none, and the region has no default VPC.
    """
    if chosen := subnet(region, settings):
        return str(chosen["VpcId"])
    if settings["vpc_id"]:
        return str(settings["vpc_id"])
    default = [{"Name": "is-default", "Values": ["true"]}]
    found = region.call("ec2", "describe_vpcs", Filters=default)["Vpcs"]
    if not found:
        raise AwsError(f"{region.name} has no default VPC", "set subnet_id under `targets: aws:`")
    return str(found[0]["VpcId"])


def group_request(name: str, vpc: str, tags: Mapping[str, str]) -> dict[str, Any]:
    """The arguments of CreateSecurityGroup."""
    return {
        "GroupName": name,
        "Description": "skyvypack: verification of an AMI, removed with it",
        "VpcId": vpc,
        "TagSpecifications": marks.specifications(tags, "security-group"),
    }


def make_group(region: Region, name: str, vpc: str, tags: Mapping[str, str]) -> str:
    """Make a security group that lets nothing in.

    Args:
        region: where.
        name: of the group.
        vpc: id of its VPC.
        tags: of the group; ``run`` among them.

    Returns:
        Its id.
    """
    try:
        return str(region.call("ec2", "create_security_group", **group_request(name, vpc, tags))["GroupId"])
    except AwsError as error:
        found = find_group(region, tags[marks.PREFIX + "run"]) if error.code == "InvalidGroup.Duplicate" else None
        if found is None:
            raise
        return found


def open_group(region: Region, group: str) -> None:
    """Let TCP into a security group, so that what keeps ports closed is the guest's own firewall."""
    rule = {"IpProtocol": "tcp", "FromPort": 0, "ToPort": 65535, "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}
    try:
        region.call("ec2", "authorize_security_group_ingress", GroupId=group, IpPermissions=[rule], passing=_NOT_YET)
    except AwsError as error:
        if error.code != "InvalidPermission.Duplicate":
            raise


def find_group(region: Region, run: str) -> str | None:
    """Id of the security group that a run made; None when there is none."""
    found = region.call("ec2", "describe_security_groups", Filters=marks.filters(run=run))["SecurityGroups"]
    return str(found[0]["GroupId"]) if found else None


def request(
    settings: Mapping[str, Any], image: str, groups: list[str], user_data: bytes, tags: Mapping[str, str], token: str
) -> dict[str, Any]:
    """The arguments of RunInstances.

    Args:
        settings: of the target.
        image: id of the AMI.
        groups: ids of security groups.
        user_data: at most 16 KiB.
        tags: of instance and volume.
        token: the same token never starts two.
    """
    card: dict[str, Any] = {
        "DeviceIndex": 0,
        "Groups": groups,
        "AssociatePublicIpAddress": settings["public_ip"],
        "DeleteOnTermination": True,
    }
    if settings["subnet_id"]:
        card["SubnetId"] = settings["subnet_id"]
    return {
        "ImageId": image,
        "InstanceType": settings["instance_type"],
        "MinCount": 1,
        "MaxCount": 1,
        "ClientToken": token,
        "UserData": user_data,
        "NetworkInterfaces": [card],
        "MetadataOptions": {"HttpTokens": "required" if settings["imdsv2"] else "optional", "HttpEndpoint": "enabled"},
        "InstanceInitiatedShutdownBehavior": "terminate",
        "TagSpecifications": marks.specifications(tags, "instance", "volume"),
        **({"IamInstanceProfile": {"Name": settings["instance_profile"]}} if settings["instance_profile"] else {}),
    }


def launch(region: Region, wanted: Mapping[str, Any]) -> str:
    """Start an instance; returns its id."""
    return str(region.call("ec2", "run_instances", passing=_NOT_YET, **wanted)["Instances"][0]["InstanceId"])


def reached(region: Region, instance: str, *, public: bool) -> Guest:
    """Wait until an instance runs and has an address.

    Raises:
        AwsError: it ended by itself.
        RegistrarError: it takes too long.
    """

    def look() -> Guest | None:
        found = describe(region, instance)
        state = found.get("State", {}).get("Name", "pending")
        if state not in ("pending", "running"):
            reason = found.get("StateReason", {}).get("Message", "")
            raise AwsError(f"instance {instance} is {state}: {reason}")
        address = found.get("PublicIpAddress" if public else "PrivateIpAddress")
        return Guest(instance, address) if state == "running" and address else None

    return retry.until(look, seconds=ADDRESS_SECONDS, pause=PAUSE, what=f"an address of instance {instance}")


def describe(region: Region, instance: str) -> dict[str, Any]:
    """What AWS says of an instance; nothing when it does not know it."""
    try:
        found = region.call("ec2", "describe_instances", InstanceIds=[instance])["Reservations"]
    except AwsError as error:
        if error.code in _NOT_YET:
            return {}
        raise
    return dict(found[0]["Instances"][0]) if found else {}


def of_run(region: Region, run: str) -> list[str]:
    """Ids of the instances that a run started and that still are something."""
    alive = {"Name": "instance-state-name", "Values": ["pending", "running", "stopping", "stopped", "shutting-down"]}
    filters = [*marks.filters(run=run), alive]
    return [
        str(instance["InstanceId"])
        for reservation in region.pages("ec2", "describe_instances", "Reservations", Filters=filters)
        for instance in reservation["Instances"]
    ]


def terminate(region: Region, instance: str) -> None:
    """End an instance and wait until it is gone, as its security group cannot go before."""

    def state() -> str:
        return str(describe(region, instance).get("State", {}).get("Name", "terminated"))

    def gone() -> bool | None:
        return state() == "terminated" or None

    try:
        region.call("ec2", "terminate_instances", InstanceIds=[instance])
    except AwsError:
        # The answer to an earlier try may have been lost: what the instance says decides.
        if state() not in ("shutting-down", "terminated"):
            raise
    retry.until(gone, seconds=GONE_SECONDS, pause=PAUSE, what=f"the end of instance {instance}")


def delete_group(region: Region, group: str) -> None:
    """Delete a security group, once the network card of its instance is gone; fine when it is gone itself."""
    try:
        region.call("ec2", "delete_security_group", GroupId=group, passing=frozenset(["DependencyViolation"]))
    except AwsError as error:
        if error.code != "InvalidGroup.NotFound":
            raise
