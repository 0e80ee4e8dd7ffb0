"""Virtual machines: made once, marked as ours, found again, removed."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from skyvypack.registrar.contract import Order, RegistrarError
from skyvypack.registrar.journal import Entry, Run
from skyvypack.registrar.retry import until
from skyvypack.targets.proxmox.pve import marks
from skyvypack.targets.proxmox.pve.api import Api, Refused, TaskFailed
from skyvypack.targets.proxmox.pve.preflight import free_id

# A request whose answer was lost may still be carried out: so often, and so far apart, its VM is looked for.
LOOKS = 3
PAUSE = 0.5

Post = Callable[[int], tuple[str, Mapping[str, Any]]]


def find(api: Api, vmid: int) -> Mapping[str, Any] | None:
    """A VM as the cluster lists it; None when there is none that we may see."""
    listed: list[dict[str, Any]] = api.get("cluster/resources", type="vm")
    return next((one for one in listed if int(one["vmid"]) == vmid), None)


def path(node: str, vmid: int | str) -> str:
    """Where the API has a VM."""
    return f"nodes/{node}/qemu/{vmid}"


def make(api: Api, run: Run, kind: str, node: str, task: str, post: Post) -> Entry:
    """Make a VM under a free id; a try whose answer was lost makes no second one.

    Args:
        api: the cluster.
        run: it is journaled in.
        kind: the journal's word for it.
        node: where.
        task: the type of Proxmox VE's task, such as ``qmcreate``.
        post: path and parameters of the request that makes it under an id.

    Raises:
        RegistrarError: it could not be made.
    """
    taken: set[int] = set()
    while True:
        vmid = free_id(api, taken)
        entry = run.intend(kind, node=node, vmid=str(vmid))
        if _made(api, run, entry, task, post):
            return run.made(entry, str(vmid))
        # Somebody else was quicker.
        run.void(entry)
        taken.add(vmid)


def _made(api: Api, run: Run, entry: Entry, task: str, post: Post) -> bool:
    """Make a VM under the entry's id; False when somebody else has it."""
    node, vmid = entry.mark["node"], int(entry.mark["vmid"])
    where, params = post(vmid)
    what = f"{task} {vmid}"
    before = set(api.tasks(node, task))

    def found() -> str | None:
        return next((upid for upid in api.tasks(node, task) if upid not in before), None)

    try:
        upid = api.make(what, where, found, **params)
    except Refused as error:
        if "already exists" not in error.said:
            raise
        upid = found() or ""
        if not upid:
            return False
    run.made(entry, upid)
    api.wait(upid, what)
    return is_ours(api, node, vmid, run.id)


def is_ours(api: Api, node: str, vmid: int, run: str) -> bool:
    """Whether a VM says that it was made by a run."""
    return marks.read(api.get(f"{path(node, vmid)}/config")).get("run") == run


def change_tags(api: Api, node: str, vmid: str, change: Callable[[list[str]], list[str]]) -> None:
    """Change the tags of a VM; a change that somebody else makes at the same time is not lost."""

    def once() -> None:
        config = api.once("GET", f"{path(node, vmid)}/config", {})
        tags = marks.split(config.get("tags"))
        wanted = change(tags)
        if set(wanted) != set(tags):
            given = {"tags": marks.join(wanted), "digest": config["digest"]}
            api.once("PUT", f"{path(node, vmid)}/config", given)

    for _ in range(LOOKS):
        try:
            api.retried(f"tag VM {vmid}", once)
            return
        except Refused as error:
            if "checksum mismatch" not in error.said and "file change" not in error.said:
                raise
    raise RegistrarError(f"tag VM {vmid}: somebody else keeps changing it", "try again")


def undo(api: Api, entry: Entry) -> None:
    """Remove a VM that a run made, whatever state it is in; a VM that does not say it is that run's stays."""
    node, vmid = entry.mark["node"], int(entry.mark["vmid"])
    if entry.id.startswith("UPID:"):
        _stop(api, entry.id)
    found = _settled(api, vmid, 1 if entry.id.isdigit() else LOOKS)
    if found is None:
        return
    node = found["node"]
    if not is_ours(api, node, vmid, entry.run):
        if entry.id.startswith("UPID:") and found.get("lock"):
            hint = f"run on node {node}: qm unlock {vmid} && qm destroy {vmid}"
            raise RegistrarError(f"VM {vmid} is half-made and locked ({found['lock']})", hint)
        return
    destroy(api, node, vmid)


def undo_packer(api: Api, entry: Entry) -> None:
    """Remove what Packer made under a name of ours; a VM that carries another run's marks stays."""
    for found in api.get("cluster/resources", type="vm"):
        vmid, node = int(found["vmid"]), found["node"]
        if found.get("name") != entry.mark["name"] or (entry.id and entry.id != str(vmid)):
            continue
        told = marks.read(api.get(f"{path(node, vmid)}/config"))
        if told.get("run", entry.run) == entry.run:
            destroy(api, node, vmid)


def _stop(api: Api, upid: str) -> None:
    """End the task that makes a VM; it tidies up by itself."""
    try:
        api.stop(upid)
        api.wait(upid, "stop")
    except (TaskFailed, Refused):
        pass  # that it failed is what was wanted; that it is unknown means that it is long over


def _settled(api: Api, vmid: int, looks: int) -> Mapping[str, Any] | None:
    """A VM that nothing is at work on; None when there is none, also after several looks."""
    for look in range(looks):
        found = find(api, vmid)
        if found is not None:
            return _unlocked(api, vmid)
        if look + 1 < looks:
            time.sleep(PAUSE)
    return None


def _unlocked(api: Api, vmid: int) -> Mapping[str, Any] | None:
    gone: Mapping[str, Any] = {}

    def look() -> Mapping[str, Any] | None:
        found = find(api, vmid)
        if found is None:
            return gone
        return None if found.get("lock") in ("create", "clone") else found

    try:
        seen = until(look, seconds=min(api.task_seconds, 60.0), pause=PAUSE, what=f"the lock of VM {vmid}")
    except RegistrarError:
        return find(api, vmid)
    return seen or None


def destroy(api: Api, node: str, vmid: int | str) -> None:
    """Stop and remove a VM with its disks.

    Raises:
        RegistrarError: Proxmox VE refused.
    """
    found = find(api, int(vmid))
    if found is None:
        return
    if found.get("status") == "running":
        stopped = api.retried(f"stop VM {vmid}", lambda: api.once("POST", f"{path(node, vmid)}/status/stop", {}))
        api.wait(str(stopped or ""), f"stop VM {vmid}")

    def once() -> Any:
        return api.once("DELETE", path(node, vmid), {"purge": 1}) if find(api, int(vmid)) else None

    api.wait(str(api.retried(f"remove VM {vmid}", once) or ""), f"remove VM {vmid}")


def linked(api: Api, node: str, vmid: str, storages: set[str]) -> list[str]:
    """The VMs whose disks build on a template's, as ``linked clone 105``.

    Storages whose clones stand on their own (LVM-thin) list none, and lose nothing by its removal.
    """
    base = f"base-{vmid}-"
    found = set()
    for storage in storages:
        for volume in api.get(f"nodes/{node}/storage/{storage}/content", content="images"):
            owner = str(volume.get("vmid", ""))
            if owner != vmid and (base in volume["volid"] or base in str(volume.get("parent", ""))):
                found.add(f"linked clone {owner}")
    return sorted(found)


def order_notes(order: Order, run: Run, kind: str, created: str) -> str:
    """The notes of a VM that is made for an order."""
    return marks.notes(order, {**order.marks(run.id), "kind": kind, "created": created})
