"""A vCenter whose machines are guests: they boot from the very bytes that were uploaded to it.

It stands in front of vcsim, which throws disks away and runs nothing. One machine runs at a time: what is switched on
is the newest clone. A guest finds VMware's own devices as far as QEMU has
them (pvscsi, vmxnet3; BIOS, because Debian's OVMF cannot read from pvscsi), but neither VMware Tools nor guestinfo: the
user-data of the clone's settings is put on a NoCloud disc, and vcsim tells its address.
"""

from __future__ import annotations

import base64
import gzip
import re
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from xml.etree import ElementTree

from simulators import vcsim
from simulators.certificates import Authority
from simulators.hypervisor import Guest, Hardware
from simulators.lan import GUEST
from simulators.vcenter import VCenter, vcenter

from skyvypack import command, disk, seed

_MAC = "00:50:56:00:00:77"
_SIZE = re.compile(rb"<capacityInKB>(\d+)<")


class Host:
    """Watches what vcsim is told, and lets guests live accordingly.

    Args:
        center: in front of vcsim.
        folder: for disks and guests.
    """

    def __init__(self, center: VCenter, folder: Path) -> None:
        self.center = center
        self.folder = folder
        self.template = folder / "template.qcow2"
        self.guest: Guest | None = None
        self.started = 0
        self._disc: Path | None = None
        self._options: dict[str, str] = {}
        self._names: list[str] = []
        center.moods.keep = folder / "upload.vmdk"
        center.moods.after = self._after

    @property
    def _clone(self) -> Path:
        return self.folder / f"clone-{len(self._names)}.qcow2"

    def _after(self, call: str, path: str, body: bytes) -> None:
        if call == "HttpNfcLeaseComplete":
            disk.convert(self.folder / "upload.vmdk", self.template, "qcow2", source_format="vmdk")
        elif call.startswith("PUT /folder/") and call.endswith(".iso"):
            self._disc = self.folder / "uploaded.iso"
            self._disc.write_bytes(body)
        elif call == "CloneVM_Task":
            self._cloned(ElementTree.fromstring(body))
        elif call == "ReconfigVM_Task" and (size := _SIZE.search(body)):
            command.run(["qemu-img", "resize", "-q", self._clone, f"{size[1].decode()}K"])
        elif call == "PowerOnVM_Task":
            self._start()
        elif call in ("PowerOffVM_Task", "Destroy_Task"):
            self._stop()
        elif call == "MarkAsTemplate" and self._names:
            self.template = self._clone

    def _cloned(self, request: ElementTree.Element) -> None:
        fields = {one.tag.rpartition("}")[2]: one for one in request.iter()}
        self._names.append(fields["name"].text or "")
        pairs = [one for one in request.iter() if one.tag.endswith("}extraConfig")]
        self._options = {one[0].text or "": one[1].text or "" for one in pairs}
        create = ["qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", self.template, self._clone]
        command.run(create)

    def _start(self) -> None:
        if not self._names:
            return
        self.started += 1
        folder = self.folder / f"guest-{self.started}"
        disc = self._disc
        if "guestinfo.userdata" in self._options:
            read = {name: _read(self._options[f"guestinfo.{name}"]) for name in ("userdata", "metadata")}
            disc = seed.make(folder, read["userdata"], read["metadata"])
        self.guest = Guest(self._clone, disc, Hardware(_MAC, "pvscsi", "vmxnet3"), folder)
        threading.Thread(target=self._watch, args=(self.guest, self._names[-1]), daemon=True).start()

    def _watch(self, guest: Guest, name: str) -> None:
        """A guest that switches itself off is a machine that is off."""
        while guest.runs:
            time.sleep(0.2)
        if self.guest is guest:
            self.guest = None
            argv = [vcsim.program("govc"), "vm.power", "-off", "-force", name]
            subprocess.run(argv, env=self.center.behind.environment, check=True, capture_output=True)

    def _stop(self) -> None:
        guest, self.guest = self.guest, None
        if guest:
            guest.stop()

    def close(self) -> None:
        """End what still runs."""
        self._stop()


def _read(value: str) -> str:
    return gzip.decompress(base64.b64decode(value)).decode()


@contextmanager
def hosting(folder: Path, *options: str) -> Iterator[Host]:
    """A vCenter that hosts guests, on `simulators.lan`; they end with the block.

    Args:
        folder: for certificates, disks and guests.
        options: of vcsim.
    """
    authority = Authority(folder)
    with vcsim.running(authority, f"-address={GUEST}", *options) as behind, vcenter(behind, authority) as center:
        host = Host(center, folder)
        try:
            yield host
        finally:
            host.close()
