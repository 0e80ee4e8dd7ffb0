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
from skyvypack.targets.vsphere.vcenter.inventory import Finder, Where, properties, read_all, reference, takes_disks
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
_HOST = ("runtime.connectionState", "runtime.inMaintenanceMode")
_SNAPSHOT = "VirtualMachine.State.CreateSnapshot"
_MOVES = ("VirtualMachine.Inventory.Move", "VirtualMachine.Config.Rename")
# Needed only as long as the template does not stand; for what stands and is proven, only those on vCenter remain.
_MAKING = {
    "VirtualMachine.Inventory.Create",
    "VirtualMachine.Config.AddNewDisk",
    "VirtualMachine.Provisioning.MarkAsTemplate",
    "VApp.Import",
}


@dataclass(frozen=True, slots=True)
class Preflight:
    """Looks for obstacles; reads only.

    Args:
        session: to ask by; it is open.
        order: what is to be registered.
        space: bytes that what is still to be made will take on the datastore: the template, a clone that proves it.
        finder: looks up where it goes; what it found is there afterwards.
    """

    session: Session
    order: Order
    space: int
    finder: Finder

    def obstacles(self) -> Sequence[Obstacle]:
        """All of them."""
        return self.session.call("preflight", lambda: list(self._look()))

    def _look(self) -> Iterator[Obstacle]:
        yield from self._version()
        if not self.order.standing:
            yield from self._machine()
        self.finder.obstacles.clear()  # of an earlier try
        place = self.finder.find()
        yield from self.finder.obstacles
        if place is None:
            return
        yield from self._hosts(place)
        if not self.order.standing:
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
        from pyVmomi import vim

        hosts = [place.host] if place.host else list(place.compute.host)
        states = [facts for _, facts in read_all(self.session, hosts, vim.HostSystem, "name", *_HOST)]
        if not any(map(_takes_machines, states)):
            names = ", ".join(facts.get("name", "?") for facts in states) or "none"
            yield Obstacle("host", f"no host can take a machine now ({names})", "end a maintenance, or reconnect one")

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
                f"{_still_to_be_made(self.order)} take {self.space // _MIB} MiB",
                "free some space, or name another datastore",
            )

    def _name(self, place: Where) -> Iterator[Obstacle]:
        from pyVmomi import vim

        if self.order.source or self.order.standing:
            return
        below = read_all(self.session, place.folder.childEntity, vim.ManagedEntity, "name")
        if any(facts.get("name") == self.order.title for _, facts in below):
            yield Obstacle(
                "name",
                f"something in the folder is called {self.order.title} already",
                "rename it, or raise the spec's version; left by a killed run? run: python -m skyvypack reap "
                "--target vsphere",
            )

    def _source(self, place: Where) -> Iterator[Obstacle]:
        """What Packer clones: Packer fails over a disk that shall shrink with a word that names neither."""
        from pyVmomi import vim

        base = self.order.spec.base
        if self.order.disk is not None or self.order.standing or base.kind != "clone":
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
        needed = _needed(self.order)
        user = content.sessionManager.currentSession
        every = [privilege for names in needed.values() for privilege in names]
        # Asked once, of everything: more answers than questions, and one way to vCenter in place of five.
        told = content.authorizationManager.HasPrivilegeOnEntities([*on.values()], user.key, every)
        granted = {
            (reference(one.entity), right.privId) for one in told for right in one.privAvailability if right.isGranted
        }
        for what, entity in on.items():
            for privilege in needed[what]:
                if (reference(entity), privilege) not in granted:
                    name = "" if what == "vCenter" else f" `{entity.name}`"
                    yield Obstacle(
                        "privilege",
                        f"{user.userName} lacks {privilege} on the {what}{name}",
                        "add it to the account's role there",
                    )


def _needed(order: Order) -> Mapping[str, Sequence[str]]:
    """The privileges that what is still to be done needs, by what they are needed on."""
    if not order.standing:
        more = (_SNAPSHOT,) * bool(order.settings["snapshot"]) + _MOVES * (order.disk is None)
        return {**PRIVILEGES, "folder": PRIVILEGES["folder"] + more}
    return {
        what: [name for name in names if name not in _MAKING] if order.verify or what == "vCenter" else ()
        for what, names in PRIVILEGES.items()
    }


def _still_to_be_made(order: Order) -> str:
    made = ["the template"] * (not order.standing) + ["a clone of it"] * order.verify
    return " and ".join(made)


def _takes_machines(host: Mapping[str, Any]) -> bool:
    connection, maintenance = (host.get(name) for name in _HOST)
    return str(connection) == "connected" and not maintenance


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
