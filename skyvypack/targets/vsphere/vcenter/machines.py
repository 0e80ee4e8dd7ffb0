"""Machines and templates: found by what they carry, cloned, started and removed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from skyvypack.registrar import retry
from skyvypack.registrar.contract import RegistrarError
from skyvypack.targets.vsphere.vcenter.inventory import Where, machine, properties, read, reference
from skyvypack.targets.vsphere.vcenter.marks import Marks, run_of
from skyvypack.targets.vsphere.vcenter.session import Gone, Session

BOOT = 900.0
PAUSE = 1.0
CLONE = 600.0
_DEVICES = "config.hardware.device"


def of_run(session: Session, marks: Marks, id: str, name: str, run: str) -> Any:
    """The machine that a run made; None when there is none.

    Args:
        session: to ask by.
        marks: tell whose a machine is that Packer made.
        id: as vCenter knows it; empty when it never became known.
        name: by which it is found then.
        run: that made it: no other's is ever returned.
    """
    found = [machine(session, id)] if id else _named(session, name)
    for one in found:
        with suppress(Gone):
            if run in (run_of(session, one), marks.of(one).get("run")):
                return one
    return None


def _named(session: Session, name: str) -> list[Any]:
    from pyVmomi import vim

    every = properties(session, session.content.rootFolder, vim.VirtualMachine, ["name"])
    return [one for one, facts in every if facts.get("name") == name]


def made_by_packer(session: Session, root: Any, source: str) -> Any:
    """The machine or template that Packer made, by its id or by its name.

    Raises:
        RegistrarError: there is none, or there are several of this name.
    """
    from pyVmomi import vim

    every = properties(session, root, vim.VirtualMachine, ["name"])
    found = [one for one, facts in every if source in (reference(one), facts.get("name"))]
    if len(found) != 1:
        raise RegistrarError(f"there are {len(found)} machines or templates `{source}`", "give its id, such as vm-42")
    return found[0]


def made_since(session: Session, root: Any, name: str, since: str) -> Iterator[Any]:
    """The machines of a name that were made from a moment on.

    Args:
        session: to ask by.
        root: where to look.
        name: of the machine.
        since: ISO 8601, by vCenter's clock.
    """
    from pyVmomi import vim

    for vm, facts in properties(session, root, vim.VirtualMachine, ["name", "config.createDate"]):
        made = facts.get("config.createDate")
        if facts.get("name") == name and made and made >= datetime.fromisoformat(since):
            yield vm


def destroy(session: Session, vm: Any) -> None:
    """Remove a machine or template with its disks; fine when it is gone."""

    def switch_off() -> Any:
        return vm.PowerOffVM_Task() if _power(session, vm) == "poweredOn" else None

    def remove() -> Any:
        return None if _power(session, vm) == "gone" else vm.Destroy_Task()

    session.task(f"switch off {reference(vm)}", switch_off)
    try:
        session.task(f"remove {reference(vm)}", remove)
    except RegistrarError:
        # vCenter removes it by itself when its lease was aborted.
        if _power(session, vm) != "gone":
            raise


def _power(session: Session, vm: Any) -> str:
    try:
        return str(read(session, vm, "runtime.powerState").get("runtime.powerState", ""))
    except Gone:
        return "gone"


@dataclass(frozen=True, slots=True)
class Clone:
    """A clone that is to be made.

    Args:
        place: where it goes.
        name: of the machine.
        about: its notes.
        options: for its configuration, such as its user-data and the run that makes it.
        full: copy the disk although the template has a snapshot whose disk could be shared.
    """

    place: Where
    name: str
    about: str
    options: Mapping[str, str]
    full: bool = False


def clone(session: Session, template: Any, wanted: Clone, remove_earlier: Callable[[], None]) -> Any:
    """Clone a template, switched off.

    Args:
        session: to ask by.
        template: what to clone.
        wanted: what is to come of it.
        remove_earlier: removes what an earlier try made whose answer was lost.
    """
    snapshot = None if wanted.full else read(session, template, "snapshot").get("snapshot")
    spec = _clone_spec(wanted, snapshot)
    tries = 0

    def begin() -> Any:
        nonlocal tries
        tries += 1
        if tries > 1:
            remove_earlier()
        return template.CloneVM_Task(wanted.place.folder, wanted.name, spec)

    return session.task(f"clone {wanted.name}", begin)


def settle(session: Session, template: str) -> None:
    """Wait for clones of a template that are still being made: one whose id never became known may be among them.

    Args:
        session: to ask by.
        template: id of the template.
    """

    def look() -> bool | None:
        try:
            tasks = read(session, machine(session, template), "recentTask").get("recentTask") or ()
        except Gone:
            return True
        return None if any(_is_cloning(session, task) for task in tasks) else True

    retry.until(look, seconds=CLONE, pause=PAUSE, what=f"clones of {template} that are being made")


def _is_cloning(session: Session, task: Any) -> bool:
    try:
        found = read(session, task, "info.state", "info.descriptionId")
    except Gone:
        return False
    kind = str(found.get("info.descriptionId", "")).lower()
    return "clone" in kind and str(found.get("info.state")) in ("queued", "running")


def _clone_spec(wanted: Clone, snapshot: Any) -> Any:
    from pyVmomi import vim

    place = wanted.place
    relocate = vim.vm.RelocateSpec(pool=place.pool, host=place.host, datastore=place.datastore)
    if snapshot:
        relocate.diskMoveType = "createNewChildDiskBacking"
    extra = [vim.option.OptionValue(key=key, value=value) for key, value in wanted.options.items()]
    return vim.vm.CloneSpec(
        location=relocate,
        config=vim.vm.ConfigSpec(extraConfig=extra, annotation=wanted.about),
        powerOn=False,
        template=False,
        snapshot=snapshot.currentSnapshot if snapshot else None,
    )


def boot(session: Session, vm: Any) -> str:
    """Switch a machine on and wait for its address.

    Raises:
        RegistrarError: it did not start, or VMware Tools in it told no address in time.
    """

    def switch_on() -> Any:
        return None if _power(session, vm) == "poweredOn" else vm.PowerOnVM_Task()

    session.task("switch on the clone", switch_on)
    what = "the clone's address, which open-vm-tools in it tells"
    return retry.until(lambda: address(session, vm), seconds=BOOT, pause=PAUSE, what=what)


def address(session: Session, vm: Any) -> str | None:
    """The address of a machine that others reach, IPv4 first; None when none is known yet."""

    found = read(session, vm, "guest.net", "guest.ipAddress")
    every = [ip for card in found.get("guest.net") or () for ip in card.ipAddress or ()]
    every.append(found.get("guest.ipAddress") or "")
    good = [ip for ip in every if ip and not ip.startswith(("fe80:", "169.254."))]
    return next((ip for ip in good if "." in ip), next(iter(good), None))


def linked(session: Session, template: Any) -> Iterator[str]:
    """The names of machines whose disks are children of a template's."""
    from pyVmomi import vim

    own = set(_files(read(session, template, _DEVICES).get(_DEVICES) or (), vim))
    root = session.content.rootFolder
    for vm, facts in properties(session, root, vim.VirtualMachine, ["name", _DEVICES]):
        if reference(vm) != reference(template):
            files = list(_files(facts.get(_DEVICES) or (), vim, parents=True))
            if own & set(files):
                yield f"linked clone {reference(vm)} ({facts['name']})"


def _files(devices: Any, vim: Any, parents: bool = False) -> Iterator[str]:
    """The files of a machine's disks; with `parents`, those that they are children of."""
    for device in devices:
        if isinstance(device, vim.vm.device.VirtualDisk):
            backing = device.backing
            if not parents:
                yield getattr(backing, "fileName", "")
            while backing := getattr(backing, "parent", None):
                yield getattr(backing, "fileName", "")
