"""A template of one of Packer's Amazon builders → settings of the target aws: the way back of `source`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from skyvypack.importer import carry
from skyvypack.importer.carry import Carry, Draft, choice, into, own, refused, secret, setting
from skyvypack.importer.found import Given

SURROGATE = "amazon-ebssurrogate"
BUILDERS = ("amazon-ebs", SURROGATE)

# What the bundle asks of a source AMI beside its name.
_FILTERS = {"architecture": "x86_64", "root-device-type": "ebs", "virtualization-type": "hvm"}
_HELPER = "/dev/xvdf"
# What EC2 gives a gp3 volume by itself, which Packer 1.6.6 wants named.
_GP3 = {"iops": 3000, "throughput": 125}
_REQUIRED = {"required": True, "optional": False}


def _filters(draft: Draft, given: Given) -> None:
    filters: Mapping[str, Any] = carry.known(given)
    if not isinstance(filters, dict):
        raise carry.Refused("is no map of filters")
    for name, value in filters.items():
        one = Given(f"{given.path}.{name}", value, given.file, given.line)
        if name == "name" and draft.builder != SURROGATE:
            into("base", "source")(draft, one)
        elif name != "name" and _FILTERS.get(name) != value:
            draft.leave("lost", one, "is a filter for which a spec has no word")


def _source_ami(draft: Draft, given: Given) -> None:
    if draft.builder == SURROGATE:
        own(why="the helper instance runs the Debian that it writes")(draft, given)
    else:
        into("base", "source")(draft, given)


def _subnet(draft: Draft, given: Given) -> None:
    filters = carry.known(given)
    if not isinstance(filters, dict) or not all(str(name).startswith("tag:") for name in filters):
        raise carry.Refused("filters by more than tags")
    tags = {name.removeprefix("tag:"): str(value) for name, value in filters.items()}
    draft.put_setting("subnet_tags", tags, f"{given.where} {given.path}")


def _interface(draft: Draft, given: Given) -> None:
    """By which address SSH goes; through Session Manager, that the instance has a public one is said elsewhere."""
    if carry.known(given) != "session_manager":
        setting("public_ip", choice({"public_ip": True, "private_ip": False}))(draft, given)
        return
    where = f"{given.where} {given.path}"
    draft.put_setting("access", "ssm", where)
    draft.put_setting("public_ip", draft.setting("public_ip") or False, where)


def _tags(draft: Draft, given: Given) -> None:
    """All tags but the name, which the bundle gives itself."""
    tags = carry.known(given)
    if not isinstance(tags, dict):
        raise carry.Refused("is no map of tags")
    kept = {name: str(value) for name, value in tags.items() if name != "Name"}
    if any("{{" in value for value in kept.values()):
        raise carry.Refused("holds a template that Packer fills in when it runs")
    if kept:
        draft.put_setting("tags", kept, f"{given.where} {given.path}")


def _device(draft: Draft, given: Given) -> None:
    if draft.builder != SURROGATE:
        setting("root_device")(draft, given)
    elif given.value != _HELPER:
        draft.leave("own", given, "the bundle chooses the helper's device")


ARGUMENTS: Mapping[str, Carry] = {
    **carry.COMMUNICATOR,
    "region": setting("region", environment="AWS_REGION"),
    "profile": setting("profile"),
    "access_key": secret("AWS_ACCESS_KEY_ID"),
    "secret_key": secret("AWS_SECRET_ACCESS_KEY"),
    "token": secret("AWS_SESSION_TOKEN"),
    "mfa_code": secret(),
    "custom_endpoint_ec2": setting("endpoint"),
    "assume_role.role_arn": setting("role_arn"),
    "ami_name": carry.name,
    "ami_description": setting("description"),
    "ami_virtualization_type": own("hvm"),
    "ami_architecture": own("x86_64"),
    "ena_support": own(True),
    "imds_support": setting("imdsv2", choice({"v2.0": True})),
    "metadata_options.http_endpoint": own("enabled"),
    "metadata_options.http_tokens": setting("imdsv2", choice(_REQUIRED)),
    "boot_mode": into(
        "machine", "firmware", read=choice({"uefi": "uefi", "uefi-preferred": "uefi", "legacy-bios": "bios"})
    ),
    "tpm_support": setting("tpm", choice({"v2.0": True})),
    "ami_regions": setting("regions"),
    "ami_users": setting("users"),
    "ami_org_arns": setting("organizations"),
    "deprecate_at": setting("deprecate_at"),
    "tags": _tags,
    "run_tags": own(why="the AMI's tags go on all that is made"),
    "snapshot_tags": own(why="the AMI's tags go on all that is made"),
    "deregistration_protection.enabled": setting("protect"),
    "encrypt_boot": setting("encrypt"),
    "kms_key_id": setting("kms_key"),
    "region_kms_key_ids": setting("region_kms_keys"),
    "instance_type": setting("instance_type"),
    "vpc_id": setting("vpc_id"),
    "subnet_id": setting("subnet_id"),
    "subnet_filter.filters": _subnet,
    "subnet_filter.most_free": own(True),
    "security_group_ids": setting("security_group_ids"),
    "security_group_id": setting("security_group_ids"),
    "associate_public_ip_address": setting("public_ip"),
    "ssh_interface": _interface,
    "iam_instance_profile": setting("instance_profile"),
    "user_data": refused("is the build's alone: what the template is to have belongs in roles, files or commands"),
    "user_data_file": own("./build/vendor-data"),
    "source_ami": _source_ami,
    "source_ami_filter.filters": _filters,
    "source_ami_filter.owners": setting("source_owners"),
    "source_ami_filter.most_recent": own(True),
    "launch_block_device_mappings.device_name": _device,
    "launch_block_device_mappings.volume_type": setting("volume_type"),
    "launch_block_device_mappings.volume_size": into("machine", "disk"),
    "launch_block_device_mappings.iops": setting("iops"),
    "launch_block_device_mappings.throughput": setting("throughput"),
    "launch_block_device_mappings.encrypted": setting("encrypt"),
    "launch_block_device_mappings.kms_key_id": setting("kms_key"),
    "launch_block_device_mappings.delete_on_termination": own(True),
    "ami_root_device.source_device_name": own(_HELPER),
    "ami_root_device.device_name": setting("root_device"),
    "ami_root_device.volume_type": setting("volume_type"),
    "ami_root_device.volume_size": into("machine", "disk"),
    "ami_root_device.iops": setting("iops"),
    "ami_root_device.delete_on_termination": own(True),
    "disable_stop_instance": own(True),
    "shutdown_behavior": own("stop"),
}


def finish(draft: Draft) -> None:
    """What only the whole template says.

    Args:
        draft: with what each argument became.
    """
    written = draft.builder == SURROGATE
    draft.starts_from("bootstrap" if written else "clone", "EC2" if written else "")
    if written:
        draft.put_setting("surrogate", True, f"the builder {SURROGATE}")
    if draft.setting("volume_type") in (None, "gp3"):
        for name, value in _GP3.items():
            if draft.setting(name) == value:
                del draft.places["targets", draft.target, name]
