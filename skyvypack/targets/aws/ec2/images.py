"""AMIs: registered, found, waited for, copied, shared, removed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from skyvypack.registrar import retry
from skyvypack.registrar.contract import Order, RegistrarError
from skyvypack.targets.aws.ec2 import marks, snapshots
from skyvypack.targets.aws.ec2.region import AwsError, Region

# A copy into another region can take an hour.
COPY_SECONDS = 7200.0
SHOWN_SECONDS = 20.0
PAUSE = 10.0
_GONE = ("InvalidAMIID.NotFound", "InvalidAMIID.Unavailable")


def boot_mode(order: Order) -> str:
    """UEFI where an instance type has it and BIOS elsewhere; only UEFI with a TPM (EC2 user guide, "Boot modes")."""
    if order.settings["tpm"]:
        return "uefi"
    return "uefi-preferred" if order.spec.machine.firmware == "uefi" else "legacy-bios"


def request(order: Order, snapshot: str, size: int, run: str) -> dict[str, Any]:
    """The arguments of RegisterImage.

    Args:
        order: what is registered.
        snapshot: of the root volume.
        size: of the root volume, in GiB.
        run: id of the run.
    """
    settings = order.settings
    volume = {"SnapshotId": snapshot, "VolumeSize": size, "VolumeType": settings["volume_type"]}
    volume |= {key: settings[name] for key, name in (("Iops", "iops"), ("Throughput", "throughput")) if settings[name]}
    return {
        "Name": order.title,
        "Description": settings["description"] or order.spec.title,
        "Architecture": "x86_64",
        "VirtualizationType": "hvm",
        "EnaSupport": True,
        "SriovNetSupport": "simple",
        "BootMode": boot_mode(order),
        "RootDeviceName": settings["root_device"],
        "BlockDeviceMappings": [
            {"DeviceName": settings["root_device"], "Ebs": {**volume, "DeleteOnTermination": True}}
        ],
        "TagSpecifications": marks.specifications(marks.of(order, run), "image"),
        **({"ImdsSupport": "v2.0"} if settings["imdsv2"] else {}),
        **({"TpmSupport": "v2.0"} if settings["tpm"] else {}),
    }


def register(region: Region, order: Order, snapshot: str, size: int, run: str) -> str:
    """Register an AMI; one that an earlier try of this run made is found, not made again.

    Returns:
        Its id.

    Raises:
        AwsError: AWS refused; another AMI may have the name.
    """
    try:
        return str(region.call("ec2", "register_image", **request(order, snapshot, size, run))["ImageId"])
    except AwsError as error:
        ours = error.code == "InvalidAMIName.Duplicate" and find(region, order.title, run)
        if not ours:
            raise
        return str(ours["ImageId"])


def find(region: Region, name: str, run: str) -> dict[str, Any] | None:
    """The AMI of a name that a run has made; None when there is none."""
    return next((image for image in marks.images(region, run=run) if image["Name"] == name), None)


def look(region: Region, image: str) -> dict[str, Any] | None:
    """One AMI of this account by its id; None when there is none."""
    try:
        found = region.call("ec2", "describe_images", ImageIds=[image], Owners=["self"])["Images"]
    except AwsError as error:
        if error.code in _GONE:
            return None
        raise
    return dict(found[0]) if found else None


def available(region: Region, image: str, seconds: float = COPY_SECONDS) -> dict[str, Any]:
    """Wait until an AMI can be launched; returns what AWS says of it.

    Raises:
        AwsError: it came to nothing.
        RegistrarError: it takes too long.
    """

    def ready() -> dict[str, Any] | None:
        found = look(region, image)
        # Right after it is made, some of EC2's servers do not know it yet.
        if found is None or found["State"] == "pending":
            return None
        if found["State"] != "available":
            reason = found.get("StateReason", {}).get("Message", "")
            raise AwsError(f"{image} in {region.name} is {found['State']}: {reason}", "run the same command again")
        return found

    return retry.until(ready, seconds=seconds, pause=PAUSE, what=f"{image} in {region.name}")


def shown(region: Region, image: str, run: str, snapshot: str = "") -> dict[str, Any]:
    """Wait until an AMI can be launched and shows what it was made with; returns what AWS says of it.

    EC2's servers agree after a while; what only resembles EC2 may never.

    Args:
        region: where.
        image: its id.
        run: id of the run, in its tags.
        snapshot: that it consists of; empty where Packer has made it.

    Raises:
        AwsError: it came to nothing, or does not show it.
        RegistrarError: it takes too long until it can be launched.
    """
    found = available(region, image)

    def whole() -> dict[str, Any] | None:
        seen = look(region, image) or found
        right = marks.read(seen).get("run") == run and snapshot in ("", *marks.snapshots_of(seen))
        return seen if right else None

    try:
        return retry.until(whole, seconds=SHOWN_SECONDS, pause=PAUSE, what=image)
    except AwsError:
        raise
    except RegistrarError as error:
        missing = f"the snapshot {snapshot}" if marks.read(found).get("run") == run else "the tags"
        hint = "register it again; if that ends the same way, look at the AMIs in EC2's console"
        if region.endpoint:
            hint = f"{region.endpoint} does not keep what RegisterImage is told, as AWS does: use one that does"
        raise AwsError(f"{image} in {region.name} is without {missing} that it was registered with", hint) from error


def copy(region: Region, order: Order, image: str, home: str, *, token: str, run: str) -> str:
    """Copy an AMI from another region; the same token gives the same copy.

    Args:
        region: where the copy shall be.
        order: what it is a copy of.
        image: id of the original.
        home: region of the original.
        token: of at most 64 characters.
        run: id of the run.
    """
    settings = order.settings
    encrypted: dict[str, Any] = {}
    if settings["encrypt"]:
        key = settings["region_kms_keys"].get(region.name)
        encrypted = {"Encrypted": True, **({"KmsKeyId": key} if key else {})}
    answer = region.call(
        "ec2",
        "copy_image",
        Name=order.title,
        Description=settings["description"] or order.spec.title,
        SourceImageId=image,
        SourceRegion=home,
        ClientToken=token,
        TagSpecifications=marks.specifications(marks.of(order, run), "image", "snapshot"),
        **encrypted,
    )
    return str(answer["ImageId"])


def permit(region: Region, image: Mapping[str, Any], settings: Mapping[str, Any]) -> None:
    """Let the accounts and organisations of the settings launch an AMI; accounts may also copy its snapshots."""
    grants = [{"UserId": user} for user in settings["users"]]
    grants += [{"OrganizationArn": arn} for arn in settings["organizations"]]
    region.call("ec2", "modify_image_attribute", ImageId=image["ImageId"], LaunchPermission={"Add": grants})
    if not settings["users"]:
        return
    for snapshot in marks.snapshots_of(image):
        region.call(
            "ec2",
            "modify_snapshot_attribute",
            SnapshotId=snapshot,
            Attribute="createVolumePermission",
            OperationType="add",
            UserIds=list(settings["users"]),
        )


def publish(region: Region, image: Mapping[str, Any]) -> None:
    """Let everybody launch an AMI."""
    region.call("ec2", "modify_image_attribute", ImageId=image["ImageId"], LaunchPermission={"Add": [{"Group": "all"}]})


def remove(region: Region, image: Mapping[str, Any] | None, run: str, left: tuple[str, ...] = ()) -> None:
    """Deregister an AMI and delete its snapshots, together; what is gone already is fine.

    Args:
        region: where.
        image: as AWS describes it; None when it is gone.
        run: id of the run that made it: further snapshots with its tag go too.
        left: ids of snapshots that were its own, in case it is gone already.
    """
    doomed = dict.fromkeys(left)
    if image is not None:
        doomed |= dict.fromkeys(marks.snapshots_of(image))
        try:
            region.call("ec2", "deregister_image", ImageId=image["ImageId"])
        except AwsError as error:
            if error.code not in _GONE:
                raise
    doomed |= dict.fromkeys(str(one["SnapshotId"]) for one in marks.snapshots(region, run=run))
    for snapshot in doomed:
        snapshots.delete(region, snapshot)
