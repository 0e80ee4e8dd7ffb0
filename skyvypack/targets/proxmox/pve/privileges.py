"""The privileges that a registration needs, and the commands that grant them.

What each call needs is said by Proxmox VE's own schema; how `pveum` is called, by its manual page. VM.GuestAgent.Audit
came with Proxmox VE 9, in place of VM.Monitor; SDN.Use with 8.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_VM = (
    "VM.Allocate",
    "VM.Audit",
    "VM.Clone",
    "VM.Config.CDROM",
    "VM.Config.CPU",
    "VM.Config.Cloudinit",
    "VM.Config.Disk",
    "VM.Config.HWType",
    "VM.Config.Memory",
    "VM.Config.Network",
    "VM.Config.Options",
    "VM.PowerMgmt",
)
_DISKS = ("Datastore.AllocateSpace", "Datastore.Audit")
# Datastore.Allocate: without it an upload can be made, yet not removed.
_UPLOADS = ("Datastore.Allocate", "Datastore.AllocateSpace", "Datastore.AllocateTemplate", "Datastore.Audit")


@dataclass(frozen=True, slots=True)
class Need:
    """Privileges on one path.

    Args:
        path: as ``/storage/local``.
        role: that holds them.
        privileges: all that are needed there.
    """

    path: str
    role: str
    privileges: tuple[str, ...]

    def grant(self, account: str) -> str:
        """The commands, to be run as root on a node, that give an account all of this.

        Args:
            account: a user, or a token as ``user@realm!token``.
        """
        option = "--tokens" if "!" in account else "--users"
        return (
            f'pveum role add {self.role} --privs "{" ".join(self.privileges)}"; '
            f"pveum acl modify {self.path} {option} '{account}' --roles {self.role}"
        )


def needs(settings: Mapping[str, Any], release: tuple[int, ...]) -> list[Need]:
    """What is needed where.

    Args:
        settings: of the target.
        release: of Proxmox VE, as ``(9, 0)``.
    """
    agent = "VM.GuestAgent.Audit" if release >= (9,) else "VM.Monitor"
    vms = f"/pool/{settings['pool']}" if settings["pool"] else "/vms"
    uploads = settings["iso_storage"]
    disks = {settings["storage"], settings["cloud_init_storage"], settings["efi_storage"]} - {"", uploads}
    found = [Need(vms, "SkyvypackVM", tuple(sorted((*_VM, agent))))]
    found += [Need(f"/storage/{storage}", "SkyvypackDisk", _DISKS) for storage in sorted(disks)]
    found.append(Need(f"/storage/{uploads}", "SkyvypackUpload", _UPLOADS))
    if release >= (8,):
        path = f"/sdn/zones/localnetwork/{settings['bridge']}"
        found.append(Need(f"{path}/{settings['vlan']}" if settings["vlan"] else path, "SkyvypackNetwork", ("SDN.Use",)))
    return found
