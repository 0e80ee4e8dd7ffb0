"""Everything that would make a registration fail, found before anything is made."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from skyvypack import command
from skyvypack.registrar.contract import Obstacle, Order, RegistrarError
from skyvypack.rules import nearest
from skyvypack.targets.proxmox.pve import hardware, marks
from skyvypack.targets.proxmox.pve.api import Api, Refused
from skyvypack.targets.proxmox.pve.privileges import needs

# Uploads of disks for import came with this release; before it, only root may import, from a path.
IMPORT_RELEASE = (8, 4)
_OLDEST = (7, 2)
_CERTIFICATE = (
    "set targets.proxmox.ca_file to a copy of the cluster's /etc/pve/pve-root-ca.pem, or targets.proxmox.fingerprint "
    "to what `pvenode cert info` shows"
)


def release(api: Api) -> tuple[int, ...]:
    """Proxmox VE's release, as ``(8, 4)``."""
    return tuple(int(part) for part in re.findall(r"\d+", api.get("version")["version"])[:2])


def node(api: Api) -> str:
    """The node to work on: the setting's, or the only one there is.

    Raises:
        RegistrarError: it is not there, or the setting has to choose one.
    """
    names = sorted(one["node"] for one in api.get("nodes") if one.get("status") == "online")
    wish: str = api.settings["node"]
    if wish in names or (not wish and len(names) == 1):
        return wish or names[0]
    choice = f"set targets.proxmox.node to one of: {', '.join(names)}"
    raise RegistrarError(f"node {wish} is not online" if wish else "there are several nodes", choice)


def imports_by_path(api: Api) -> bool:
    """True where a disk cannot be uploaded for import: root alone can then import one, by its path."""
    return release(api) < IMPORT_RELEASE


def obstacles(api: Api, order: Order) -> list[Obstacle]:
    """Every obstacle; reads only."""
    try:
        api.reach()
    except RegistrarError as error:
        return [_unreachable(error)]
    try:
        where = node(api)
    except RegistrarError as error:
        return [*_version(api), Obstacle("node", error.message, error.hint)]
    checks = (
        _version(api),
        _privileges(api),
        _storages(api, order, where),
        _network(api, where),
        _pool(api),
        _ids(api, order),
        _names(api, order),
        _source(api, order),
        _verification(api, order),
    )
    return [obstacle for check in checks for obstacle in check]


def _unreachable(error: RegistrarError) -> Obstacle:
    text = error.message
    if isinstance(error, Refused):
        hint = "look at the account: pveum user list; pveum user token list USER"
        return Obstacle("credentials" if error.status in (401, 403) else "reach", text, hint)
    if "CERTIFICATE" in text.upper() or "Fingerprint" in text:
        return Obstacle("certificate", text, _CERTIFICATE)
    return Obstacle("credentials" if text.startswith("not set") else "reach", text, error.hint)


def _version(api: Api) -> Iterator[Obstacle]:
    found = release(api)
    if found < _OLDEST:
        shown = ".".join(map(str, found))
        yield Obstacle("version", f"Proxmox VE {shown} cannot import a disk through its API", "upgrade to 8.4 or newer")


def _privileges(api: Api) -> Iterator[Obstacle]:
    account = api.account.name
    if account == "root@pam":
        return  # may do anything
    for need in needs(api.settings, release(api)):
        told: Mapping[str, Mapping[str, Any]] = api.get("access/permissions", path=need.path)
        held = {privilege for privileges in told.values() for privilege in privileges}
        for privilege in need.privileges:
            if privilege not in held:
                yield Obstacle("permission", f"{account} lacks {privilege} on {need.path}", need.grant(account))


def _storages(api: Api, order: Order, where: str) -> Iterator[Obstacle]:
    settings = api.settings
    known = {one["storage"]: one for one in api.get(f"nodes/{where}/storage")}
    uploads = settings["iso_storage"]
    upload_type = "iso" if imports_by_path(api) else "import"
    sent = None if order.standing else order.disk
    wanted: dict[str, set[str]] = {uploads: set() if order.standing else {upload_type}}
    if order.verify:
        wanted[uploads].add("iso")
    for name in ("storage", "cloud_init_storage", "efi_storage"):
        if settings[name]:
            wanted.setdefault(settings[name], set()).add("images")
    size = sent.size if sent else 0
    space = {settings["storage"]: hardware.disk_bytes(order)} if sent else {}
    space[uploads] = space.get(uploads, 0) + size
    for name, content in wanted.items():
        if name not in known:
            hint = f"there are: {', '.join(known) or 'none that this account may see'}"
            yield Obstacle("storage", f"there is no storage {name} on node {where}", hint)
        else:
            yield from _storage(known[name], content, space.get(name, 0), where)
    if upload_type == "iso" and sent and api.account.name != "root@pam":
        message = "this Proxmox VE takes no disks for import through its API, and only root@pam may import from a path"
        yield Obstacle("version", message, "upgrade to 8.4 or newer, or register as root@pam with its password")


def _storage(found: Mapping[str, Any], wanted: set[str], space: int, where: str) -> Iterator[Obstacle]:
    name = found["storage"]
    if not found.get("enabled", 1) or not found.get("active", 1):
        yield Obstacle("storage", f"storage {name} is not active on node {where}", f"run there: pvesm status {name}")
        return
    has = set(marks.split(found.get("content")))
    if missing := sorted(wanted - has):
        everything = ",".join(sorted(has | wanted))
        for one in missing:
            yield Obstacle(
                "storage", f"storage {name} does not take content {one}", f"pvesm set {name} --content {everything}"
            )
    if (free := int(found.get("avail", space))) < space:
        message = f"storage {name} has {free / 1e9:.1f} GB free, {space / 1e9:.1f} GB are needed"
        yield Obstacle("space", message, "free some, or choose another storage")


def _network(api: Api, where: str) -> Iterator[Obstacle]:
    bridge = api.settings["bridge"]
    bridges = [one["iface"] for one in api.get(f"nodes/{where}/network", type="any_bridge")]
    if bridge not in bridges:
        yield Obstacle("network", f"node {where} has no bridge {bridge}", f"there are: {', '.join(bridges) or 'none'}")


def _pool(api: Api) -> Iterator[Obstacle]:
    pool = api.settings["pool"]
    if pool and pool not in [one["poolid"] for one in api.get("pools")]:
        hint = f"pveum pool add {pool}; pveum acl modify /pool/{pool} --users ... --roles PVEPoolUser"
        yield Obstacle("pool", f"there is no pool {pool}, or {api.account.name} may not see it", hint)


def _ids(api: Api, order: Order) -> Iterator[Obstacle]:
    if order.standing and not order.verify:
        return
    try:
        free_id(api, set())
    except RegistrarError as error:
        yield Obstacle("vmid", error.message, error.hint)


def free_id(api: Api, besides: set[int]) -> int:
    """A VMID that nobody has.

    Args:
        api: the cluster.
        besides: ids that turned out to be taken.

    Raises:
        RegistrarError: all that the settings allow are taken.
    """
    settings = api.settings
    if settings["vm_id"]:
        first = last = settings["vm_id"]
    elif settings["vm_ids"]:
        first, last = map(int, settings["vm_ids"].split("-"))
    elif not besides:
        return int(api.get("cluster/nextid"))
    else:
        first, last = max(besides) + 1, 999_999_999
    seen = {int(one["vmid"]) for one in api.get("cluster/resources", type="vm")} | besides
    for vmid in range(first, last + 1):
        if vmid not in seen and _is_free(api, vmid):
            return vmid
    allowed = f"{first}" if first == last else f"{first}-{last}"
    raise RegistrarError(
        f"no free VMID: {allowed} is taken",
        "versions stand side by side: set vm_id: 0 and, to keep them together, vm_ids: 9000-9999",
    )


def _is_free(api: Api, vmid: int) -> bool:
    """Also of VMs that this account may not see."""
    try:
        api.get("cluster/nextid", vmid=vmid)
    except Refused as error:
        if error.status == 400:
            return False
        raise
    return True


def _names(api: Api, order: Order) -> Iterator[Obstacle]:
    name = hardware.dns_name(order.title)
    ours = {order.source, order.standing.id if order.standing else ""}
    for one in api.get("cluster/resources", type="vm"):
        if one.get("name") == name and str(one["vmid"]) not in ours:
            what = "template" if one.get("template") else "VM"
            message = f"{what} {one['vmid']} on node {one['node']} has the name {name}"
            hint = "rename it, or raise the spec's version; left by a killed run? run: skyvypack reap"
            yield Obstacle("name", message, hint)


def _source(api: Api, order: Order) -> Iterator[Obstacle]:
    """What Packer clones."""
    base = order.spec.base
    if order.disk is not None or order.standing or base.kind != "clone":
        return
    seen = api.get("cluster/resources", type="vm")
    if not any(base.source in (one.get("name"), str(one["vmid"])) for one in seen):
        templates = sorted(str(one.get("name")) for one in seen if one.get("template"))
        hint = nearest(base.source, tuple(templates)) or f"there are: {', '.join(templates) or 'no templates'}"
        yield Obstacle("source", f"{api.account.name} sees no VM or template {base.source}", hint)


def _verification(api: Api, order: Order) -> Iterator[Obstacle]:
    if not order.verify:
        return
    if not api.settings["agent"]:
        message = "without the guest agent nobody can tell the address of a clone"
        yield Obstacle("verify", message, "set targets.proxmox.agent to true, or give --no-verify")
    if command.which("xorriso") is None:
        yield Obstacle("verify", "xorriso is not installed here", "run: python -m skyvypack doctor --fix")
