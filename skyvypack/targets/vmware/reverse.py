"""A template of Packer's vmware-iso builder → settings of the target vmware: the way back of `source`."""

from __future__ import annotations

from collections.abc import Mapping

from skyvypack.importer import carry
from skyvypack.importer.carry import Carry, Draft, Refused, into, own, refused, secret, setting
from skyvypack.importer.found import Given

BUILDERS = ("vmware-iso",)

_ESXI = "is of a build on ESXi, which is the target vsphere's"


def _lines(draft: Draft, given: Given) -> None:
    """Lines of the VMX; some say what settings say."""
    lines = carry.known(given)
    if not isinstance(lines, dict):
        raise Refused("is no map of lines")
    kept = {name: str(value) for name, value in lines.items()}
    note = f"{given.where} {given.path}"
    if kept.pop("firmware", "") == "efi":
        draft.put(("machine", "firmware"), "uefi", note)
    if kept.pop("uefi.secureBoot.enabled", "").upper() == "TRUE":
        draft.put_setting("secure_boot", True, note)
    if kept.pop("vhv.enable", "").upper() == "TRUE":
        draft.put_setting("nested_virtualization", True, note)
    if kept:
        draft.put_setting("vmx_data", kept, note)


ARGUMENTS: Mapping[str, Carry] = {
    **carry.COMMUNICATOR,
    **carry.SHUTDOWN,
    **carry.INSTALLATION,
    **carry.IMAGE,
    "guest_os_type": setting("guest_os_type"),
    "version": setting("hardware_version"),
    "cpus": into("machine", "cpus"),
    "cores": setting("cpu_cores"),
    "memory": into("machine", "memory"),
    "firmware": carry.firmware,
    "vhv_enabled": setting("nested_virtualization"),
    "network": setting("network"),
    "network_adapter_type": setting("network_card"),
    "vmx_data": _lines,
    "disk_size": carry.mebibytes_of_disk,
    "disk_adapter_type": setting("disk_controller"),
    "disk_type_id": setting("disk_type"),
    "vm_name": carry.name,
    "output_directory": own("./output"),
    "format": setting("export_format"),
    "headless": setting("headless"),
    **{f"remote_{name}": refused(_ESXI) for name in ("type", "host", "port", "datastore", "username")},
    "remote_password": secret(),
}


def finish(draft: Draft) -> None:
    """What only the whole template says.

    Args:
        draft: with what each argument became.
    """
    draft.starts_from("iso", "VMware")
