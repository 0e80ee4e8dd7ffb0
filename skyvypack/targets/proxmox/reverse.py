"""A template of one of Packer's Proxmox builders → settings of the target proxmox: the way back of `source`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from skyvypack.importer import carry
from skyvypack.importer.carry import Carry, Draft, choice, into, own, secret, setting
from skyvypack.importer.found import Given

BUILDERS = ("proxmox-iso", "proxmox-clone")


def _serial(ports: Any) -> bool:
    if ports not in ([], ["socket"]):
        raise ValueError("names other ports than one socket")
    return bool(ports)


def _tags(text: str) -> list[str]:
    return [tag for tag in text.replace(",", ";").split(";") if tag]


def _stored(draft: Draft, given: Given) -> None:
    """An image that Proxmox holds: it is uploaded by nobody, so nothing but its name is known."""
    into("base", "url")(draft, given)
    # A spec wants a checksum; of a stored image Proxmox checks none.
    if ("base", "checksum") not in draft.places:
        draft.put(("base", "checksum"), f"sha256:{'0' * 64}", "nobody checks an image that Proxmox holds")


def _with_tpm(draft: Draft, given: Given) -> None:
    draft.put_setting("tpm", True, f"{given.where} {given.path}")
    setting("efi_storage")(draft, given)


def _unless_source(draft: Draft, given: Given) -> None:
    """A clone's disk is its source's."""
    if draft.builder == "proxmox-clone":
        draft.leave("lost", given, "is the source's: a clone keeps it")
        return
    carry.size_of_disk(draft, given)


ARGUMENTS: Mapping[str, Carry] = {
    **carry.COMMUNICATOR,
    **carry.INSTALLATION,
    "proxmox_url": setting("url", environment="PROXMOX_URL"),
    "username": setting("username", environment="PROXMOX_USERNAME"),
    "password": secret("PROXMOX_PASSWORD"),
    "token": secret("PROXMOX_TOKEN"),
    "insecure_skip_tls_verify": setting("insecure"),
    "task_timeout": setting("task_timeout"),
    "node": setting("node"),
    "pool": setting("pool"),
    "vm_id": setting("vm_id"),
    "vm_name": carry.name,
    "template_name": carry.name,
    "template_description": setting("description"),
    "tags": setting("tags", _tags),
    "cores": into("machine", "cpus"),
    "memory": into("machine", "memory"),
    "cpu_type": setting("cpu_type"),
    "numa": setting("numa"),
    "os": own("l26"),
    "scsi_controller": setting("scsi_controller"),
    "qemu_agent": setting("agent"),
    "serials": setting("serial_console", _serial),
    "onboot": setting("onboot"),
    "boot": setting("boot_order"),
    "machine": setting("machine_type"),
    "bios": into("machine", "firmware", read=choice({"ovmf": "uefi", "seabios": "bios"})),
    "efidisk": setting("efi_storage"),
    "efi_config.efi_storage_pool": setting("efi_storage"),
    "efi_config.efi_type": own("4m"),
    "efi_config.pre_enrolled_keys": setting("secure_boot"),
    "tpm_config.tpm_storage_pool": _with_tpm,
    "tpm_config.tpm_version": own("v2.0"),
    "vga.type": setting("vga"),
    "disks.type": setting("disk_type"),
    "disks.disk_size": _unless_source,
    "disks.storage_pool": setting("storage"),
    "disks.storage_pool_type": setting("storage_type"),
    "disks.format": setting("disk_format"),
    "disks.cache_mode": setting("cache_mode"),
    "disks.io_thread": setting("io_thread"),
    "disks.discard": setting("discard"),
    "disks.ssd": setting("ssd"),
    "network_adapters.model": setting("network_model"),
    "network_adapters.bridge": setting("bridge"),
    "network_adapters.vlan_tag": setting("vlan"),
    "network_adapters.firewall": setting("firewall"),
    **{f"{within}{name}": act for within in ("", "boot_iso.") for name, act in carry.IMAGE.items()},
    **{f"{within}iso_file": _stored for within in ("", "boot_iso.")},
    **{f"{within}iso_storage_pool": setting("iso_storage") for within in ("", "boot_iso.")},
    "boot_iso.unmount": own(True),
    "unmount_iso": own(True),
    "cloud_init": own(True),
    "cloud_init_storage_pool": setting("cloud_init_storage"),
    "clone_vm": into("base", "source"),
    "clone_vm_id": into("base", "source"),
    "full_clone": setting("full_clone"),
}


def finish(draft: Draft) -> None:
    """What only the whole template says.

    Args:
        draft: with what each argument became.
    """
    clone = draft.builder == "proxmox-clone"
    draft.starts_from("clone" if clone else "iso", "" if clone else "Proxmox")
    for name in ("efi_storage", "cloud_init_storage"):
        # Both are the disk's by themselves.
        if draft.setting(name) == draft.setting("storage"):
            draft.places.pop(("targets", draft.target, name), None)
