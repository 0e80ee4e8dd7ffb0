"""A template of Packer's hyperv-iso builder → settings of the target hyperv: the way back of `source`."""

from __future__ import annotations

from collections.abc import Mapping

from skyvypack.importer import carry
from skyvypack.importer.carry import Carry, Draft, choice, into, own, setting

BUILDERS = ("hyperv-iso",)

ARGUMENTS: Mapping[str, Carry] = {
    **carry.COMMUNICATOR,
    **carry.SHUTDOWN,
    **carry.INSTALLATION,
    **carry.IMAGE,
    "generation": into("machine", "firmware", read=choice({1: "bios", 2: "uefi", "1": "bios", "2": "uefi"})),
    "cpus": into("machine", "cpus"),
    "cpu": into("machine", "cpus"),
    "memory": into("machine", "memory"),
    "ram_size": into("machine", "memory"),
    "enable_dynamic_memory": setting("dynamic_memory"),
    "switch_name": setting("switch"),
    "vlan_id": setting("vlan"),
    "enable_mac_spoofing": setting("mac_spoofing"),
    "enable_secure_boot": setting("secure_boot"),
    "secure_boot_template": own("MicrosoftUEFICertificateAuthority"),
    "enable_tpm": setting("tpm"),
    "enable_virtualization_extensions": setting("nested_virtualization"),
    "disk_size": carry.mebibytes_of_disk,
    "disk_block_size": setting("disk_block_size"),
    "vm_name": carry.name,
    "temp_path": setting("temp_path"),
    "output_directory": own("./output"),
    "headless": setting("headless"),
    "guest_additions_mode": own("disable"),
}


def finish(draft: Draft) -> None:
    """What only the whole template says.

    Args:
        draft: with what each argument became.
    """
    draft.starts_from("iso", "generation 1")
