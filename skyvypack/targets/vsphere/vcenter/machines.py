"""Machines and templates: found by what they carry, cloned, started and removed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

from skyvypack.registrar import retry
from skyvypack.registrar.contract import RegistrarError
from skyvypack.targets.vsphere.vcenter.inventory import Where, machine, properties, read, reference
from skyvypack.targets.vsphere.vcenter.marks import RUN_KEY, Marks, run_of
from skyvypack.targets.vsphere.vcenter.session import Gone, Session

_BOOT = 900.0
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


def destroy(session: Session, vm: Any) -> None:
    """Remove a machine or template with its disks; fine when it is gone."""
    power = _power(session, vm)
    if power == "gone":
        return
    if power == "poweredOn":
        session.task(f"switch off {reference(vm)}", vm.PowerOffVM_Task)
    try:
        session.task(f"remove {reference(vm)}", vm.Destroy_Task)
    except RegistrarError:
        # vCenter removes it by itself when its lease was aborted.
        if _power(session, vm) != "gone":
            raise


def _power(session: Session, vm: Any) -> str:
    try:
        return str(read(session, vm, "runtime.powerState").get("runtime.powerState", ""))
    except Gone:
        return "gone"


def clone(session: Session, template: Any, place: Where, name: str, options: Mapping[str, str], run: str) -> Any:
    """Clone a template, switched off.

    Args:
        session: to ask by.
        template: what to clone; with a snapshot the clone shares its disk.
        place: where the clone goes.
        name: of the clone.
        options: for its configuration, such as its user-data.
        run: id of the run that makes it.
    """
    from pyVmomi import vim

    snapshot = read(session, template, "snapshot").get("snapshot")
    relocate = vim.vm.RelocateSpec(pool=place.pool, host=place.host, datastore=place.datastore)
    if snapshot:
        relocate.diskMoveType = "createNewChildDiskBacking"
    extra = [vim.option.OptionValue(key=key, value=value) for key, value in {**options, RUN_KEY: run}.items()]
    config = vim.vm.ConfigSpec(extraConfig=extra, annotation=f"Proves a template; made by skyvypack, run {run}")
    spec = vim.vm.CloneSpec(
        location=relocate,
        config=config,
        powerOn=False,
        template=False,
        snapshot=snapshot.currentSnapshot if snapshot else None,
    )
    return session.task(f"clone {name}", lambda: template.CloneVM_Task(place.folder, name, spec))


def boot(session: Session, vm: Any) -> str:
    """Switch a machine on and wait for its address.

    Raises:
        RegistrarError: it did not start, or VMware Tools in it told no address in time.
    """
    session.task("switch on the clone", vm.PowerOnVM_Task)
    what = "the clone's address, which open-vm-tools in it tells"
    return retry.until(lambda: address(session, vm), seconds=_BOOT, pause=1.0, what=what)


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
