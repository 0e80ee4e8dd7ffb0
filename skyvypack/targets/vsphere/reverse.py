"""A template of one of Packer's vSphere builders → settings of the target vsphere: the way back of `source`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from skyvypack.importer import carry
from skyvypack.importer.carry import Carry, Draft, into, own, secret, setting
from skyvypack.importer.found import Given

BUILDERS = ("vsphere-iso", "vsphere-clone")


def _controller(names: Any) -> str:
    if not isinstance(names, list) or len(names) != 1:
        raise ValueError("names several; a spec has one disk")
    return str(names[0])


def _stored(draft: Draft, given: Given) -> None:
    """Images in a datastore, such as ``[nfs1] iso/debian.iso``: the first is the installer's."""
    paths = carry.known(given)
    first, *others = paths if isinstance(paths, list) and paths else [str(paths)]
    draft.put(("base", "url"), str(first).replace("] ", "]", 1), f"{given.where} {given.path}")
    # A spec wants a checksum; of a stored image vCenter checks none.
    if ("base", "checksum") not in draft.places:
        draft.put(("base", "checksum"), f"sha256:{'0' * 64}", "nobody checks an image that a datastore holds")
    if others:
        draft.leave("lost", given, "names further images; a spec has one")


ARGUMENTS: Mapping[str, Carry] = {
    **carry.COMMUNICATOR,
    **carry.SHUTDOWN,
    **carry.INSTALLATION,
    **carry.CLOUD_INIT_DISC,
    **carry.IMAGE,
    "vcenter_server": setting("server", environment="VSPHERE_SERVER"),
    "username": setting("username", environment="VSPHERE_USER"),
    "password": secret("VSPHERE_PASSWORD"),
    "insecure_connection": setting("insecure"),
    "datacenter": setting("datacenter"),
    "cluster": setting("cluster"),
    "host": setting("host"),
    "resource_pool": setting("resource_pool"),
    "datastore": setting("datastore"),
    "folder": setting("folder"),
    "vm_name": carry.name,
    "notes": setting("notes"),
    "CPUs": into("machine", "cpus"),
    "cpu_cores": setting("cpu_cores"),
    "CPU_hot_plug": setting("cpu_hot_add"),
    "RAM": into("machine", "memory"),
    "RAM_hot_plug": setting("memory_hot_add"),
    "firmware": carry.firmware,
    "vTPM": setting("tpm"),
    "configuration_parameters": setting("configuration_parameters"),
    "template": into("base", "source"),
    "linked_clone": setting("linked_clone"),
    "disk_size": carry.mebibytes_of_disk,
    "guest_os_type": setting("guest_os_type"),
    "vm_version": setting("vm_version"),
    "disk_controller_type": setting("disk_controller", _controller),
    "iso_paths": _stored,
    "storage.disk_size": carry.mebibytes_of_disk,
    "storage.disk_thin_provisioned": setting("thin_disk"),
    "network": setting("network"),
    "network_adapters.network": setting("network"),
    "network_adapters.network_card": setting("network_card"),
    "remove_cdrom": own(True),
    "create_snapshot": setting("snapshot"),
    "convert_to_template": own(True, False),
    "content_library_destination.library": setting("content_library"),
    "content_library_destination.name": own(why="the bundle names it after the spec's name and version"),
    "content_library_destination.ovf": own(True),
    "content_library_destination.destroy": own(True),
}


def finish(draft: Draft) -> None:
    """What only the whole template says.

    Args:
        draft: with what each argument became.
    """
    clone = draft.builder == "vsphere-clone"
    draft.starts_from("clone" if clone else "iso", "" if clone else "vSphere")
