"""A Proxmox VE whose VMs are guests: they boot from the very bytes that were uploaded to it.

Added to `simulators.pve`: uploads are kept, an imported disk is the file that was uploaded, a clone is an overlay of
its template's, a start boots it, and the agent that is asked is the guest's own. A guest that switches itself off is
a stopped VM. A cloud-init drive holds what Proxmox VE writes there, but for the upgrade of every package: its guests
have no way to a mirror.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from simulators.hypervisor import Guest, Hardware
from simulators.pve import Served, SimulatedPve, serving

from skyvypack import command, disk, seed

_SHUTDOWN_SECONDS = 120.0


class HostingPve(SimulatedPve):
    """See the module.

    Args:
        folder: for uploads and guests.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder
        self.keep = folder / "uploads"
        self.keep.mkdir(parents=True)
        self.disks: dict[int, Path] = {}
        self.guests: dict[int, Guest] = {}
        self.started: list[int] = []

    def _size_of(self, source: str) -> int:
        super()._size_of(source)
        return int(disk.info(self._kept(source))["virtual-size"])

    def _kept(self, volume: str) -> Path:
        return self.keep / volume.rpartition("/")[2]

    def _qm_new_drive(self, vmid: int, key: str, value: str, default: str) -> tuple[str, list[str]]:
        made = super()._qm_new_drive(vmid, key, value, default)
        if source := re.search(r",import-from=([^,]+)", str(value)):
            self.disks[vmid] = self._kept(source[1])
        return made

    async def _qm_clone(self, given: Any, user: str) -> Any:
        upid = await super()._qm_clone(given, user)
        self.own(int(given["newid"]), self.disks[int(given["vmid"])])
        return upid

    def own(self, vmid: int, source: Path) -> None:
        """Give a VM an overlay of a disk."""
        overlay = self.folder / f"vm-{vmid}.qcow2"
        overlay.unlink(missing_ok=True)
        command.run(["qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", source, overlay])
        self.disks[vmid] = overlay

    async def _do_start(self, vm: Any, user: str, given: Any) -> Any:
        upid = await super()._do_start(vm, user, given)
        if vm.vmid in self.disks and vm.vmid not in self.guests:
            number = len(self.started)
            self.started.append(vm.vmid)
            folder = self.folder / f"guest-{number}"
            self.guests[vm.vmid] = Guest(self.disks[vm.vmid], self._disc(vm, folder), _hardware(vm), folder)
            self._watched = asyncio.ensure_future(self._watch(vm))
        return upid

    async def _watch(self, vm: Any) -> None:
        while vm.vmid in self.guests and self.guests[vm.vmid].runs:
            await asyncio.sleep(0.2)
        if self.guests.pop(vm.vmid, None):
            vm.status = vm.qmpstatus = "stopped"

    async def _do_stop(self, vm: Any, user: str, given: Any) -> Any:
        if guest := self.guests.pop(vm.vmid, None):
            guest.stop()
        return await super()._do_stop(vm, user, given)

    async def _powerdown(self, vm: Any, given: Any) -> None:
        """A shutdown ends when the guest has: until then its disk is in use. Packer's guest is on its way by itself."""
        deadline = asyncio.get_running_loop().time() + _SHUTDOWN_SECONDS
        while vm.vmid in self.guests and asyncio.get_running_loop().time() < deadline:
            await asyncio.sleep(0.2)
        if guest := self.guests.pop(vm.vmid, None):
            guest.stop()
        await super()._powerdown(vm, given)

    async def _agent_call(self, match: Any, values: Any) -> Any:
        guest = self.guests.get(int(values["vmid"]))
        if guest and match.template.endswith("network-get-interfaces"):
            told = await asyncio.to_thread(guest.interfaces)
            self.find(values["node"], values["vmid"]).agent = None if told is None else {"interfaces": told}
        return await super()._agent_call(match, values)

    def _disc(self, vm: Any, folder: Path) -> Path | None:
        """What is in the VM's drive."""
        drives = [str(value).partition(",")[0] for value in vm.config.values() if "media=cdrom" in str(value)]
        if not drives:
            return None
        if ":iso/" in drives[0]:
            return self._kept(drives[0])
        config = vm.config
        user_data: dict[str, Any] = {"hostname": vm.name, "manage_etc_hosts": True, "users": ["default"]}
        user_data |= {"user": config["ciuser"]} if "ciuser" in config else {}
        keys = urllib.parse.unquote(config.get("sshkeys", "")).splitlines()
        text = json.dumps(user_data | {"ssh_authorized_keys": keys, "chpasswd": {"expire": False}})
        return seed.make(folder, f"#cloud-config\n{text}\n", f"instance-id: {vm.name}-{vm.vmid}\n")


def _hardware(vm: Any) -> Hardware:
    mac = re.search(r"(?:[0-9A-F]{2}:){5}[0-9A-F]{2}", str(vm.config["net0"]))
    assert mac
    firmware = "uefi" if vm.config.get("bios") == "ovmf" else "bios"
    return Hardware(mac[0].lower(), firmware=firmware, memory=int(vm.config["memory"]))


@contextmanager
def hosting(folder: Path) -> Iterator[Served]:
    """A Proxmox VE that hosts guests, on `simulators.lan`; they end with the block."""
    pve = HostingPve(folder / "pve")
    with serving(folder, pve) as served:
        try:
            yield served
        finally:
            for guest in list(pve.guests.values()):
                with contextlib.suppress(OSError):
                    guest.stop()
