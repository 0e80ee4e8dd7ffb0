"""What stands in the way of a registration in AWS, all of it at once; reads only.

DryRun asks AWS whether it would allow a call: ``DryRunOperation`` is yes and ``UnauthorizedOperation`` is no (EC2 API
reference, "Common query parameters"). Of an object that does not exist it may say neither, which counts as not told.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from skyvypack.cloudinit import first_boot_user_data
from skyvypack.errors import InputError
from skyvypack.registrar.contract import Obstacle, Order
from skyvypack.rules import nearest
from skyvypack.spec.model import User
from skyvypack.targets.aws.ec2 import images, instances, marks, policy
from skyvypack.targets.aws.ec2.region import AwsError, Region, camel, unanswered

# AMIs in a region (Service Quotas, service ec2).
_AMI_QUOTA = "L-B665C33B"
_NO_IMAGE, _NO_SNAPSHOT = "ami-00000000000000000", "snap-00000000000000000"


@dataclass(frozen=True, slots=True)
class Identity:
    """Who we are.

    Args:
        account: its number.
        arn: of the user or the role.
        alias: the account's name, empty when it has none or we may not know.
    """

    account: str
    arn: str
    alias: str = ""

    def __str__(self) -> str:
        return f"{self.arn} in account {self.account}" + (f" ({self.alias})" if self.alias else "")


def identity(region: Region) -> Identity:
    """Ask AWS who we are.

    Raises:
        AwsError: the credentials are missing, wrong or expired, or AWS cannot be reached.
    """
    answer = region.call("sts", "get_caller_identity")
    try:
        aliases = region.call("iam", "list_account_aliases")["AccountAliases"]
    except AwsError:
        aliases = []
    return Identity(answer["Account"], answer["Arn"], aliases[0] if aliases else "")


def obstacles(region: Region, order: Order) -> Iterator[Obstacle]:
    """All that would make a registration or a verification fail.

    Args:
        region: the AMI's own.
        order: what is to be registered.
    """
    try:
        identity(region)
    except AwsError as error:
        yield Obstacle("credentials", error.message, error.hint)
        return
    for look in (_user_data, _regions, _permissions, _name, _network, _keys, _quota, _public, _bucket):
        try:
            yield from look(region, order)
        except AwsError as error:
            yield Obstacle(look.__name__.strip("_"), error.message, error.hint)
            if unanswered(error.__cause__):  # nor will the rest be, each after as long a wait
                return


def _user_data(_region: Region, order: Order) -> Iterator[Obstacle]:
    """Of the instance that proves it, which gets an account besides the spec's own."""
    if not order.verify:
        return
    key = f"ssh-ed25519 {base64.b64encode(bytes(range(51))).decode()}"
    users = (*order.spec.users, User("verification", (key,), sudo=True))
    try:
        first_boot_user_data(order.spec, hostname=order.title, users=users, target=order.target)
    except InputError as error:
        yield Obstacle("user-data", error.message, error.hint)


def _regions(region: Region, order: Order) -> Iterator[Obstacle]:
    known = _known(region)
    for name in order.settings["regions"]:
        if name not in known:
            hint = nearest(name, known) or "switch it on for this account, or leave it out of `regions`"
            yield Obstacle("region", f"{name} is no region of this account", hint)


def _known(region: Region) -> list[str]:
    """The regions that are switched on for this account; others have no server that could be asked."""
    return [one["RegionName"] for one in region.call("ec2", "describe_regions")["Regions"]]


def _permissions(region: Region, order: Order) -> Iterator[Obstacle]:
    standing = next(marks.images(region, name=order.spec.name), None)
    asked = [*_making(order), *(_changing(order, standing) if standing else ())]
    refused = [f"ec2:{camel(action)}" for action, ask in asked if _refused(region, action, ask)]
    if refused:
        allowed = policy.text(order.settings, order.spec.name)
        yield Obstacle("permission", f"not allowed: {', '.join(refused)}", f"attach this policy:\n{allowed}")


def _making(order: Order) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Each EC2 operation that makes something, with arguments that need nothing to exist."""
    tags = marks.of(order, "preflight")
    if not order.standing:
        yield "register_image", images.request(order, _NO_SNAPSHOT, order.spec.machine.disk, "preflight")
    yield "create_tags", {"Resources": [_NO_IMAGE], "Tags": marks.sent(tags)}
    if order.verify:
        yield "create_security_group", instances.group_request("skyvypack-preflight", "vpc-00000000000000000", tags)
        groups = ["sg-00000000000000000"]
        yield "run_instances", instances.request(order.settings, _NO_IMAGE, groups, b"", tags, "preflight")
    if order.settings["regions"]:
        home = order.settings["region"] or "eu-central-1"
        yield "copy_image", {"Name": order.title, "SourceImageId": _NO_IMAGE, "SourceRegion": home}
    if order.settings["upload"] == "s3" and not order.standing:
        container = {"Format": "VMDK", "UserBucket": {"S3Bucket": order.settings["bucket"] or "none", "S3Key": "none"}}
        yield "import_snapshot", {"DiskContainer": container}


def _changing(order: Order, standing: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Each operation on what is ours, asked of an earlier version: the policy allows them on nothing else."""
    image = {"ImageId": standing["ImageId"]}
    yield "deregister_image", image
    for snapshot in marks.snapshots_of(standing):
        yield "delete_snapshot", {"SnapshotId": snapshot}
    if order.settings["users"] or order.settings["organizations"] or order.settings["public"]:
        yield "modify_image_attribute", {**image, "LaunchPermission": {"Add": [{"Group": "all"}]}}


def _refused(region: Region, operation: str, arguments: Mapping[str, Any]) -> bool:
    try:
        region.call("ec2", operation, DryRun=True, **arguments)
    except AwsError as error:
        return error.code == "UnauthorizedOperation"
    return False


def _name(region: Region, order: Order) -> Iterator[Obstacle]:
    filters = [{"Name": "name", "Values": [order.title]}]
    abroad = {*order.settings["regions"]} & {*_known(region)}
    for place in [region, *(region.elsewhere(name) for name in sorted(abroad))]:
        for image in place.pages("ec2", "describe_images", "Images", Owners=["self"], Filters=filters):
            if marks.read(image).get("name") != order.spec.name:
                where = f"{image['ImageId']} in {place.name}"
                hint = "rename the spec or that AMI: a name is given once in each region"
                yield Obstacle("name", f"{where} is called {order.title} and is not ours", hint)


def _network(region: Region, order: Order) -> Iterator[Obstacle]:
    if order.verify:
        instances.network(region, order.settings)
        if order.settings["access"] == "ssm" and not order.settings["instance_profile"]:
            message = "access ssm needs an instance_profile: without it the agent on the instance may not work"
            yield Obstacle("network", message, "set one whose role has the policy AmazonSSMManagedInstanceCore")


def _keys(region: Region, order: Order) -> Iterator[Obstacle]:
    settings = order.settings
    keys = {region.name: settings["kms_key"], **settings["region_kms_keys"]} if settings["encrypt"] else {}
    known = _known(region) if keys else []
    for name, key in keys.items():
        if key and name in known:
            found = region.elsewhere(name).call("kms", "describe_key", KeyId=key)["KeyMetadata"]
            if not found["Enabled"]:
                yield Obstacle("key", f"{key} in {name} is {found['KeyState']}", "enable it, or name another")
    shared = settings["users"] or settings["organizations"]
    if settings["encrypt"] and shared and not all(keys.values()):
        message = "an AMI that is encrypted with the account's default key cannot be shared"
        yield Obstacle("key", message, "set kms_key and region_kms_keys to keys that those accounts may use")


def _quota(region: Region, order: Order) -> Iterator[Obstacle]:
    if order.standing:
        return
    try:
        asked = region.call("service-quotas", "get_service_quota", ServiceCode="ec2", QuotaCode=_AMI_QUOTA)
    except AwsError:
        return  # Not told: RegisterImage will say it in time, and nothing stays behind then.
    most = int(asked["Quota"]["Value"])
    have = sum(1 for _ in region.pages("ec2", "describe_images", "Images", Owners=["self"]))
    if have >= most:
        yield Obstacle(
            "quota", f"{region.name} has {have} AMIs, and {most} are allowed", "retire some, or ask for more"
        )


def _public(region: Region, order: Order) -> Iterator[Obstacle]:
    if not order.settings["public"]:
        return
    if order.settings["encrypt"]:
        yield Obstacle("public", "an encrypted AMI cannot be public", "set encrypt: false, or public: false")
    state = region.call("ec2", "get_image_block_public_access_state")["ImageBlockPublicAccessState"]
    if state == "block-new-sharing":
        hint = "if it is really meant for everybody: aws ec2 disable-image-block-public-access"
        yield Obstacle("public", f"this account lets no AMI be public in {region.name}", hint)


def _bucket(region: Region, order: Order) -> Iterator[Obstacle]:
    if order.settings["upload"] != "s3" or order.standing:
        return
    bucket = order.settings["bucket"]
    if not bucket:
        yield Obstacle("bucket", "upload: s3 needs a bucket", "set bucket under `targets: aws:`")
        return
    where = region.call("s3", "get_bucket_location", Bucket=bucket).get("LocationConstraint") or "us-east-1"
    if where != region.name:
        message = f"bucket {bucket} is in {where}; what is imported comes from the AMI's own region"
        yield Obstacle("bucket", message, f"name a bucket in {region.name}")
