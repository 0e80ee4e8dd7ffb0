"""`Spec` → the Packer document of the target aws.

Bootstrap and cloud-image are baked on this machine, for the registrar to import, or with the setting `surrogate` for
Packer to write to a volume of a helper instance; an AMI is started and configured on EC2 itself. Facts about the
builders are from the source of Packer 1.6.6 and of the plugin 1.8.2:

- With `disable_stop_instance` the builder waits for an instance that stops by itself, as sealing makes it.
- A gp3 volume of 1.6.6 wants its IOPS and throughput named; the plugin leaves them to EC2.
- Firmware and TPM are a matter of the AMI that amazon-ebs starts from; only amazon-ebssurrogate registers them anew.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TypeAlias

from skyvypack.dialect import Dialect
from skyvypack.hcl import Attribute, Block, Document, Ref, Value, template, variable
from skyvypack.spec.model import Spec
from skyvypack.targets import pieces
from skyvypack.targets.bases import LOCAL, builder_of
from skyvypack.targets.qemu import source as local
from skyvypack.targets.wishes import Setting, Wishes

_SURROGATE = "amazon-ebssurrogate"
_BY_BASE = {**LOCAL, "clone": "amazon-ebs"}
BUILDERS = (*dict.fromkeys(_BY_BASE.values()), _SURROGATE)

# Where the helper instance has the volume that becomes the AMI.
_VOLUME = "/dev/xvdf"
# What each type lets one choose, and the most IOPS for each GiB, as both versions of the builder check it.
_SPEEDS: Mapping[str, Mapping[str, tuple[int, int]]] = {
    "gp3": {"iops": (3000, 16000), "throughput": (125, 1000)},
    "io1": {"iops": (100, 64000)},
    "io2": {"iops": (100, 64000)},
}
_RATIOS = {"io1": 50, "io2": 500}
# What EC2 gives a gp3 volume by itself.
_GP3 = {"iops": 3000, "throughput": 125}

Body: TypeAlias = "list[Attribute | Block]"


def builder(spec: Spec) -> str:
    """The builder for a spec.

    Args:
        spec: what to bake.

    Raises:
        InputError: the target cannot start from the spec's base.
    """
    chosen = builder_of(spec, "aws", _BY_BASE)
    written = spec.base.kind in LOCAL and spec.target_settings("aws")["surrogate"]
    return _SURROGATE if written else chosen


def baked_here(spec: Spec) -> Spec:
    """The spec of the disk that is baked on this machine, for the registrar or for a helper instance to write."""
    settings = {**spec.target_settings("aws"), "surrogate": False}
    return replace(spec, targets={**spec.targets, "aws": settings})


def scripts(spec: Spec) -> list[str]:
    """The scripts that run in the guest, by their paths in the bundle."""
    if builder(spec) == _SURROGATE:
        return ["scripts/write-disk.sh"]
    if spec.base.kind in LOCAL:
        return local.scripts(spec)
    return ["scripts/apply.sh", "scripts/wait.sh", "scripts/seal.sh"]


def document(spec: Spec, dialect: Dialect) -> Document:
    """The document: variables, locals, source and build.

    Args:
        spec: what to bake.
        dialect: the Packer to write for.

    Raises:
        InputError: the target cannot start from the spec's base, or the dialect cannot express a setting.
    """
    name = builder(spec)
    if name not in (_SURROGATE, "amazon-ebs"):
        return local.document(spec, dialect)
    wishes = Wishes(spec, "aws", name, dialect)
    written = name == _SURROGATE
    disks = _written_disks(wishes) if written else _disk(wishes)
    body = [*_access(wishes), *_ami(wishes), *_instance(wishes), *_source_ami(wishes), *disks, *_end(wishes)]
    tags = Attribute("tags", {"Name": pieces.versioned_name(spec), **wishes.settings["tags"]})
    if written:
        disk = Attribute("disk", pieces.given("disk", template("${local.seed}/disk.raw.gz")))
        return pieces.document(wishes, _variables(wishes), body, _writing(), [disk, tags])
    return pieces.document(wishes, _variables(wishes), body, _configuring(spec), [tags])


def _variables(wishes: Wishes) -> list[Block]:
    settings = wishes.settings
    about = "VPC subnet of the instance; empty for one of the default VPC."
    disk = "The finished disk: raw, compressed by gzip. Empty: build/disk.raw.gz."
    return [
        pieces.needed("region", settings["region"], "Where the AMI is made.", "AWS_REGION"),
        pieces.needed("instance_type", settings["instance_type"], "Of the instance that makes the AMI."),
        *([] if settings["subnet_tags"] else [variable("subnet_id", default=settings["subnet_id"], description=about)]),
        *([variable("disk", default="", description=disk)] if wishes.builder == _SURROGATE else []),
    ]


def _access(wishes: Wishes) -> Body:
    about = "Credentials come from AWS's own variables of the environment, profiles or roles."
    return [
        *wishes.group(
            about,
            region=Ref("var.region"),
            profile=wishes.setting("profile"),
            custom_endpoint_ec2=wishes.setting("endpoint"),
        ),
        *wishes.block("assume_role", role_arn=wishes.setting("role_arn")),
    ]


def _ami(wishes: Wishes) -> Body:
    spec, settings = wishes.spec, wishes.settings
    tags = Ref("local.tags")
    return [
        *wishes.group(
            "A name of its own for each version: the last one stays until this one is proven.",
            ami_name=pieces.versioned_name(spec),
            ami_description=settings["description"] or spec.title,
            ami_virtualization_type="hvm",
            ena_support=True,
            imds_support=wishes.setting("imdsv2", lambda wanted: "v2.0" if wanted else None),
            **_registration(wishes),
        ),
        *wishes.group(
            "Where it is known, and who may launch it.",
            ami_regions=wishes.setting("regions"),
            ami_users=wishes.setting("users"),
            ami_org_arns=wishes.setting("organizations"),
            deprecate_at=wishes.setting("deprecate_at"),
            tags=tags,
            snapshot_tags=tags,
            run_tags=tags,
        ),
        *wishes.block("deregistration_protection", enabled=wishes.setting("protect")),
        *_encryption(wishes),
    ]


def _registration(wishes: Wishes) -> dict[str, Value]:
    """What only a new registration can say; a copy of an AMI keeps what that has."""
    uefi, tpm = wishes.spec.machine.firmware == "uefi", wishes.settings["tpm"]
    if wishes.builder != _SURROGATE:
        if tpm:
            about = "the AMI that base.source names decides it; bootstrap with surrogate registers one anew"
            wishes.refuse(f"targets.aws.tpm cannot be given to {wishes.builder}", about)
        return {}
    if tpm and not uefi:
        wishes.refuse("targets.aws.tpm needs machine.firmware uefi")
    written: dict[str, Value] = {"ami_architecture": "x86_64"}
    if uefi and wishes.require("boot_mode", "machine.firmware uefi"):
        written["boot_mode"] = "uefi"
    if tpm and wishes.require("tpm_support", "targets.aws.tpm"):
        written["tpm_support"] = "v2.0"
    return written


def _encryption(wishes: Wishes) -> Body:
    settings = wishes.settings
    keys = settings["region_kms_keys"]
    if not settings["encrypt"] and (settings["kms_key"] or keys):
        wishes.refuse("targets.aws.kms_key and region_kms_keys need targets.aws.encrypt")
    if missing := sorted({*keys} ^ {*settings["regions"]}) if keys else []:
        both = ", ".join(missing)
        wishes.refuse(f"targets.aws.region_kms_keys and regions must name the same regions; only one has {both}")
    shared = settings["users"] or settings["organizations"]
    given = [settings["kms_key"], *(keys.get(region, "") for region in settings["regions"])]
    if settings["encrypt"] and shared and not all(given):
        about = "give targets.aws.kms_key, and region_kms_keys for each of targets.aws.regions"
        wishes.refuse("an AMI that an account's own default key encrypts cannot be shared", about)
    return [
        *wishes.group(
            "The copy for each region is encrypted by that region's key.",
            encrypt_boot=wishes.setting("encrypt"),
            kms_key_id=wishes.setting("kms_key"),
            region_kms_key_ids=wishes.setting("region_kms_keys"),
        )
    ]


def _instance(wishes: Wishes) -> Body:
    settings = wishes.settings
    if settings["subnet_id"] and settings["subnet_tags"]:
        wishes.refuse("give either targets.aws.subnet_id or subnet_tags, not both")
    tags: Value = {f"tag:{name}": value for name, value in settings["subnet_tags"].items()}
    required = settings["imdsv2"] and wishes.accepts("metadata_options")
    tokens: dict[str, Value] = {"http_endpoint": "enabled", "http_tokens": "required"} if required else {}
    public, by_ssm = settings["public_ip"], settings["access"] == "ssm"
    if by_ssm and not settings["instance_profile"]:
        about = "give one whose role has the policy AmazonSSMManagedInstanceCore"
        wishes.refuse("targets.aws.access ssm needs targets.aws.instance_profile", about)
    return [
        *wishes.group(
            "The instance that makes it, gone when it is there.",
            instance_type=Ref("var.instance_type"),
            vpc_id=wishes.setting("vpc_id"),
            subnet_id=None if tags else Ref("var.subnet_id"),
            security_group_ids=wishes.setting("security_group_ids"),
            associate_public_ip_address=True if public else None,
            ssh_interface="session_manager" if by_ssm else "public_ip" if public else "private_ip",
            iam_instance_profile=wishes.setting("instance_profile"),
        ),
        *(wishes.block("subnet_filter", filters=tags, most_free=True) if tags else []),
        *wishes.block("metadata_options", **tokens),
        *wishes.group(
            "Only the build account: the configuration may be larger than EC2 takes.",
            user_data_file=template("${local.seed}/vendor-data"),
        ),
    ]


def _source_ami(wishes: Wishes) -> Body:
    spec = wishes.spec
    # The helper of a surrogate runs the release that it writes.
    wanted = spec.base.source if spec.base.kind == "clone" else f"debian-{spec.release_number}-amd64-*"
    if wanted.startswith("ami-"):
        return [*wishes.group(source_ami=wanted)]
    filters: Value = {
        "name": wanted,
        "architecture": "x86_64",
        "root-device-type": "ebs",
        "virtualization-type": "hvm",
    }
    owners = wishes.settings["source_owners"]
    return [*wishes.block("source_ami_filter", filters=filters, owners=owners, most_recent=True)]


def _volume(wishes: Wishes, device: str) -> dict[str, Setting | Value]:
    """A volume of the spec's size and the settings' kind."""
    kind = wishes.settings["volume_type"]
    named = {name: wishes.settings[name] for name in ("iops", "throughput") if wishes.settings[name]}
    _check_speed(wishes, kind, named)
    if kind == "gp3" and not wishes.dialect.has("required_plugins"):
        named = _GP3 | named
    size = {"volume_type": kind, "volume_size": wishes.spec.machine.disk}
    return {"device_name": device, **size, **named, "delete_on_termination": True}


def _check_speed(wishes: Wishes, kind: str, named: Mapping[str, int]) -> None:
    limits = _SPEEDS.get(kind, {})
    for name, value in named.items():
        if name not in limits:
            wishes.refuse(f"targets.aws.{name} is not for a volume of type {kind}")
        elif not limits[name][0] <= value <= limits[name][1]:
            low, high = limits[name]
            wishes.refuse(f"targets.aws.{name} of a {kind} volume is between {low} and {high}, not {value}")
    if kind in _RATIOS and "iops" not in named:
        wishes.refuse(f"a volume of type {kind} needs targets.aws.iops")
    size = wishes.spec.machine.disk
    if kind in _RATIOS and named.get("iops", 0) // size > _RATIOS[kind]:
        wishes.refuse(f"a {kind} volume of {size} GiB takes at most {_RATIOS[kind] * size} targets.aws.iops")


def _disk(wishes: Wishes) -> Body:
    return [*wishes.block("launch_block_device_mappings", **_volume(wishes, wishes.settings["root_device"]))]


def _written_disks(wishes: Wishes) -> Body:
    settings = wishes.settings
    about = "The disk is written to this volume, which becomes the AMI's root."
    root: dict[str, Setting | Value] = {
        "source_device_name": _VOLUME,
        "device_name": settings["root_device"],
        "volume_type": settings["volume_type"],
        "volume_size": wishes.spec.machine.disk,
        "iops": settings["iops"] or None,
        "delete_on_termination": True,
    }
    return [
        *wishes.block("launch_block_device_mappings", about, **_volume(wishes, _VOLUME)),
        *wishes.block("ami_root_device", **root),
    ]


def _end(wishes: Wishes) -> Body:
    if wishes.builder == _SURROGATE:
        return [*pieces.communicator()]
    about = "Sealing stops the instance; the builder waits for that."
    return [
        *pieces.communicator(),
        *wishes.group(about, disable_stop_instance=True, shutdown_behavior="stop"),
    ]


def _configuring(spec: Spec) -> list[Block]:
    waiting = pieces.sealed(scripts(spec)[-2:], restarted=True)
    return [*pieces.handed_over(), *waiting, pieces.seal_and_wait()]


def _writing() -> list[Block]:
    about = "The disk was baked and sealed elsewhere; this instance only writes it."
    return [
        pieces.upload(about, "${local.disk}", "/home/packer/disk.raw.gz"),
        pieces.shell(
            "Fails unless just one disk is empty, and what it wrote can be read again.", ["scripts/write-disk.sh"]
        ),
    ]
