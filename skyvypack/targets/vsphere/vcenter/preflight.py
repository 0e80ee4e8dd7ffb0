"""What would make a registration fail, found before anything is made.

Source of the privileges: vSphere Security, "Defined Privileges" and "Required Privileges for Common Tasks" (deploy an
OVF template, mark as template, clone, power on), and for tags and custom attributes "Tagging Objects Privileges" and
"Global Privileges".
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from skyvypack.ovf import HARDWARE_VERSION
from skyvypack.registrar.contract import Obstacle, Order
from skyvypack.rules import nearest
from skyvypack.targets.vsphere.vcenter.inventory import Finder, Where, properties, read, reference, takes_disks
from skyvypack.targets.vsphere.vcenter.session import Session

_OLDEST = (6, 5)
_MIB = 1 << 20
# By what they are needed on.
PRIVILEGES: Mapping[str, tuple[str, ...]] = {
    "folder": (
        "VirtualMachine.Inventory.Create",
        "VirtualMachine.Inventory.CreateFromExisting",
        "VirtualMachine.Inventory.Delete",
        "VirtualMachine.Config.AddNewDisk",
        "VirtualMachine.Config.AdvancedConfig",
        "VirtualMachine.Config.Annotation",
        "VirtualMachine.Interact.PowerOn",
        "VirtualMachine.Interact.PowerOff",
        "VirtualMachine.Provisioning.MarkAsTemplate",
        "VirtualMachine.Provisioning.DeployTemplate",
    ),
    "pool": ("Resource.AssignVMToPool", "VApp.Import"),
    "datastore": ("Datastore.AllocateSpace",),
    "network": ("Network.Assign",),
    "vCenter": (
        "Global.ManageCustomFields",
        "Global.SetCustomField",
        "InventoryService.Tagging.AttachTag",
        "InventoryService.Tagging.CreateCategory",
        "InventoryService.Tagging.CreateTag",
        "InventoryService.Tagging.DeleteTag",
    ),
}
_SNAPSHOT = "VirtualMachine.State.CreateSnapshot"
_MOVES = ("VirtualMachine.Inventory.Move", "VirtualMachine.Config.Rename")


@dataclass(frozen=True, slots=True)
class Preflight:
    """Looks for obstacles; reads only.

    Args:
        session: to ask by; it is open.
        order: what is to be registered.
        space: bytes that the template and the clone that proves it will take on the datastore.
    """

    session: Session
    order: Order
    space: int

    def obstacles(self) -> Sequence[Obstacle]:
        """All of them."""
        return self.session.call("preflight", lambda: list(self._look()))

    def _look(self) -> Iterator[Obstacle]:
        yield from self._version()
        yield from self._machine()
        finder = Finder(self.session, self.order.settings)
        place = finder.find()
        yield from finder.obstacles
        if place is None:
            return
        yield from self._hosts(place)
        yield from self._hardware(place)
        yield from self._datastore(place)
        yield from self._name(place)
        yield from self._source(place)
        yield from self._privileges(place)

    def _version(self) -> Iterator[Obstacle]:
        about = self.session.content.about
        if about.apiType != "VirtualCenter":
            yield Obstacle(
                "version",
                f"{about.fullName} is a host without vCenter: it has no templates and no tags",
                "name the vCenter in `server`",
            )
        numbers = tuple(int(part) for part in about.version.split(".")[:2] if part.isdigit())
        if numbers < _OLDEST:
            yield Obstacle("version", f"{about.fullName} is older than 6.5", "upgrade vCenter")

    def _machine(self) -> Iterator[Obstacle]:
        settings = self.order.settings
        if self.order.spec.machine.firmware == "bios":
            for name in ("secure_boot", "tpm"):
                if settings[name]:
                    yield Obstacle("machine", f"{name} needs UEFI, the spec says bios", "set machine.firmware: uefi")

    def _hosts(self, place: Where) -> Iterator[Obstacle]:
        hosts = [place.host] if place.host else list(place.compute.host)
        usable = [host for host in hosts if self._takes_machines(host)]
        if not usable:
            names = ", ".join(host.name for host in hosts) or "none"
            yield Obstacle("host", f"no host can take a machine now ({names})", "end a maintenance, or reconnect one")

    def _takes_machines(self, host: Any) -> bool:
        state = read(self.session, host, "runtime.connectionState", "runtime.inMaintenanceMode")
        connected = str(state.get("runtime.connectionState")) == "connected"
        return connected and not state.get("runtime.inMaintenanceMode")

    def _hardware(self, place: Where) -> Iterator[Obstacle]:
        wanted, newest = self.order.settings["vm_version"], newest_hardware(place)
        if newest and wanted > newest:
            yield Obstacle(
                "hardware",
                f"vm_version {wanted} is newer than the hosts know (vmx-{newest})",
                f"set vm_version to {newest}, or to 0 for what the hosts know",
            )

    def _datastore(self, place: Where) -> Iterator[Obstacle]:
        summary = place.datastore.summary
        if not takes_disks(summary):
            yield Obstacle("datastore", f"{summary.name} is not accessible or in maintenance", "name another datastore")
        elif summary.freeSpace < self.space:
            yield Obstacle(
                "datastore",
                f"{summary.name} has {summary.freeSpace // _MIB} MiB free; "
                f"the template and a clone of it take {self.space // _MIB} MiB",
                "free some space, or name another datastore",
            )

    def _name(self, place: Where) -> Iterator[Obstacle]:
        if self.order.source:
            return
        if any(one.name == self.order.title for one in place.folder.childEntity):
            yield Obstacle(
                "name",
                f"{self.order.title} is in the folder already, and no registrar of ours finished it",
                "rename or remove it, raise the spec's version, or run: python -m skyvypack reap --target vsphere",
            )

    def _source(self, place: Where) -> Iterator[Obstacle]:
        """What Packer clones: Packer fails over a disk that shall shrink with a word that names neither."""
        from pyVmomi import vim

        base = self.order.spec.base
        if self.order.disk is not None or base.kind != "clone":
            return
        every = properties(self.session, place.datacenter, vim.VirtualMachine, ["name", "config.hardware.device"])
        name = base.source.rpartition("/")[2]
        found = [facts for vm, facts in every if name in (reference(vm), facts.get("name"))]
        if not found:
            hint = nearest(name, tuple(str(facts.get("name")) for _, facts in every)) or "base.source names it"
            yield Obstacle("source", f"there is no machine or template `{name}`", hint)
        if len(found) != 1:
            return
        disks = [one for one in found[0]["config.hardware.device"] if isinstance(one, vim.vm.device.VirtualDisk)]
        size = -(-disks[0].capacityInKB // _MIB) if disks else 0
        if size > self.order.spec.machine.disk:
            message = f"the disk of `{name}` has {size} GiB, and cannot shrink to {self.order.spec.machine.disk}"
            yield Obstacle("source", message, f"set machine.disk to {size} or more")

    def _privileges(self, place: Where) -> Iterator[Obstacle]:
        content = self.session.content
        on = {
            "folder": place.folder,
            "pool": place.pool,
            "datastore": place.datastore,
            "network": place.network,
            "vCenter": content.rootFolder,
        }
        user = content.sessionManager.currentSession
        for what, entity in on.items():
            needed = list(PRIVILEGES[what])
            if what == "folder":
                needed += [_SNAPSHOT] * bool(self.order.settings["snapshot"]) + [*_MOVES] * (self.order.disk is None)
            answers = content.authorizationManager.HasPrivilegeOnEntities([entity], user.key, needed)
            for answer in answers[0].privAvailability:
                if not answer.isGranted:
                    name = "" if what == "vCenter" else f" `{entity.name}`"
                    yield Obstacle(
                        "privilege",
                        f"{user.userName} lacks {answer.privId} on the {what}{name}",
                        "add it to the account's role there",
                    )


def newest_hardware(place: Where) -> int:
    """The newest virtual hardware that the hosts know; 0 when they do not say."""
    browser = place.compute.environmentBrowser
    options = browser.QueryConfigOptionDescriptor() if browser else ()
    known = [option for option in options or () if option.createSupported is not False]
    if place.host:
        known = [option for option in known if not option.host or place.host in option.host]
    numbers = [int(option.key.removeprefix("vmx-")) for option in known if option.key.startswith("vmx-")]
    return max(numbers, default=0)


def hardware_version(place: Where) -> int:
    """The virtual hardware of a template whose settings leave it to us: old enough for the hosts, else `ovf`'s."""
    newest = newest_hardware(place)
    return min(newest, HARDWARE_VERSION) if newest else HARDWARE_VERSION
