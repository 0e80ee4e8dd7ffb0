"""A disk becomes a machine: OVF descriptor, import spec, lease, upload.

Source: vSphere Web Services SDK Programming Guide, "Importing an OVF Template".
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from skyvypack import ova, ovf, vmdk
from skyvypack.artifact import DiskFile
from skyvypack.registrar.contract import Order, RegistrarError
from skyvypack.targets.vsphere.vcenter import lease as leases
from skyvypack.targets.vsphere.vcenter.inventory import Where
from skyvypack.targets.vsphere.vcenter.marks import RUN_KEY
from skyvypack.targets.vsphere.vcenter.session import Session
from skyvypack.targets.vsphere.vcenter.upload import Digest, Place, Source


@dataclass(frozen=True, slots=True)
class Payload:
    """A disk that is to be imported.

    Args:
        source: what to send.
        extent: what it holds.
    """

    source: Source
    extent: vmdk.Extent


def payload(disk: DiskFile) -> Payload:
    """What an OVA holds.

    Raises:
        InputError: it is no OVA with one VMDK.
    """
    offset, size = ova.locate(disk.path)
    return Payload(Source(disk.path, disk.sha256, offset, size), vmdk.read(disk.path, offset, size))


def hardware(settings: Mapping[str, Any], version: int) -> ovf.Hardware:
    """What VMware gives the machine, by the target's settings.

    Args:
        settings: of the target.
        version: of the virtual hardware, when the settings leave it to us.
    """
    return ovf.Hardware(
        version=settings["vm_version"] or version,
        guest=settings["guest_os_type"],
        secure_boot=settings["secure_boot"],
        controller=settings["disk_controller"],
        network_card=settings["network_card"],
    )


@dataclass(frozen=True, slots=True)
class Importer:
    """One import.

    Args:
        session: to ask by.
        order: what is registered.
        place: where it goes.
        payload: the disk.
        hardware: what VMware gives the machine.
        notes: text that people see beside the template.
        run: id of the run, which the machine carries from its first moment.
    """

    session: Session
    order: Order
    place: Where
    payload: Payload
    hardware: ovf.Hardware
    notes: str
    run: str

    @contextmanager
    def machine(self, remove_earlier: Callable[[], None]) -> Iterator[Any]:
        """The machine, whose disk is still to be sent (`fill`); its lease is aborted when the block breaks off.

        Args:
            remove_earlier: removes what an earlier try made whose answer was lost.

        Raises:
            RegistrarError: vSphere refused.
        """
        spec = self._spec()
        tries = 0

        def begin() -> Any:
            nonlocal tries
            tries += 1
            if tries > 1:
                remove_earlier()
            return self.place.pool.ImportVApp(spec, self.place.folder, self.place.host)

        lease = self.session.call(f"import {self.order.title}", begin)
        try:
            yield leases.wait(lease, call=self.session.call), lease
        except BaseException:
            with contextlib.suppress(Exception):
                lease.HttpNfcLeaseAbort()
            raise

    def fill(self, info: Any, lease: Any, digest: Digest) -> None:
        """Send the disk.

        Args:
            info: of the lease.
            lease: as `machine` gives it.
            digest: of the disk, entered.
        """
        session = self.session
        leases.fill(lease, info, self.payload.source, self._place, session.progress, session.call, digest)

    def _place(self, device: Any) -> Place:
        login = self.session.login
        # An ESXi host that is asked itself names itself `*`.
        url = device.url.replace("://*", f"://{login.server}:{login.port}", 1)
        return Place(url, self.session.context, device.sslThumbprint or "")

    def _spec(self) -> Any:
        from pyVmomi import vim

        place, settings = self.place, self.order.settings
        disk = ovf.Disk(f"{self.order.title}.vmdk", self.payload.source.size, self.payload.extent.capacity)
        descriptor = ovf.descriptor(self.order.spec, disk, self.hardware)
        params = vim.OvfManager.CreateImportSpecParams(
            entityName=self.order.title,
            locale="US",
            deploymentOption="",
            hostSystem=place.host,
            diskProvisioning="thin" if settings["thin_disk"] else "thick",
            networkMapping=[vim.OvfManager.NetworkMapping(name=ovf.NETWORK, network=place.network)],
        )
        result = self.session.call(
            "check the OVF",
            lambda: self.session.content.ovfManager.CreateImportSpec(descriptor, place.pool, place.datastore, params),
        )
        if result.error:
            raise RegistrarError(f"vSphere refuses the OVF: {'; '.join(error.msg for error in result.error)}")
        for warning in result.warning or ():
            self.session.progress.note("register", f"vSphere says of the OVF: {warning.msg}")
        self._complete(result.importSpec.configSpec)
        return result.importSpec

    def _complete(self, config: Any) -> None:
        """What the OVF cannot say, or not every vSphere reads from it."""
        from pyVmomi import vim

        settings, machine = self.order.settings, self.order.spec.machine
        config.annotation = self.notes
        config.firmware = "efi" if machine.firmware == "uefi" else "bios"
        config.bootOptions = vim.vm.BootOptions(efiSecureBootEnabled=settings["secure_boot"])
        config.cpuHotAddEnabled = settings["cpu_hot_add"]
        config.memoryHotAddEnabled = settings["memory_hot_add"]
        if settings["cpu_cores"]:
            config.numCoresPerSocket = settings["cpu_cores"]
        if settings["tpm"]:
            add = vim.vm.device.VirtualDeviceSpec.Operation.add
            tpm = vim.vm.device.VirtualTPM(key=-100)
            config.deviceChange.append(vim.vm.device.VirtualDeviceSpec(operation=add, device=tpm))
        options = settings["configuration_parameters"] | {RUN_KEY: self.run}
        config.extraConfig = [
            *(config.extraConfig or ()),
            *(vim.option.OptionValue(key=key, value=value) for key, value in options.items()),
        ]
