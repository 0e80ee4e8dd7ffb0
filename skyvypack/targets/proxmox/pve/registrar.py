"""The deeds of a registrar, on a Proxmox VE cluster."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from skyvypack import seed
from skyvypack.registrar.contract import Guest, Job, Obstacle, Order, Registrar, RegistrarError, Step, Template
from skyvypack.registrar.journal import Entry, Run
from skyvypack.registrar.retry import until
from skyvypack.targets.proxmox.pve import hardware, machines, marks, preflight, volumes
from skyvypack.targets.proxmox.pve.address import address_of
from skyvypack.targets.proxmox.pve.api import Api

TARGET = "proxmox"

_LOOK_SECONDS = 2.0


class ProxmoxRegistrar(Registrar):
    """See `skyvypack.registrar.contract.Registrar`.

    Args:
        api: the cluster.
    """

    def __init__(self, api: Api) -> None:
        self._api = api

    def where(self) -> str:
        """The account and the cluster."""
        trusted = "" if not self._untrusted() else " (its certificate is NOT verified: targets.proxmox.insecure)"
        return f"{self._api.account.name} at {self._api.account.endpoint}{trusted}"

    def _untrusted(self) -> bool:
        settings = self._api.settings
        return bool(settings["insecure"] and not settings["ca_file"] and not settings["fingerprint"])

    def preflight(self, order: Order) -> Sequence[Obstacle]:
        """Everything that is in the way."""
        if self._untrusted():
            self._api.progress.note("preflight", f"certificate not verified: {self.where()}")
        return preflight.obstacles(self._api, order)

    def plan(self, order: Order) -> Sequence[Step]:
        """Upload, VM, template."""
        api, settings = self._api, self._api.settings
        node = preflight.node(api)
        if order.disk is None:
            name = hardware.dns_name(order.title)
            return [Step("vm", f"let Packer make VM {name} on {node}, mark it as ours and make it a template")]
        content = self._upload_content()
        name = hardware.dns_name(order.title)
        vmid = preflight.free_id(api, set())
        size = f"{order.disk.size / 1e6:.0f} MB"
        return [
            Step("upload", f"upload {size} to {settings['iso_storage']} on {node} as {content}; removed afterwards"),
            Step("vm", f"make VM {vmid} ({name}) with its disk on {settings['storage']}, and make it a template"),
        ]

    def _upload_content(self) -> str:
        return "iso" if preflight.imports_by_path(self._api) else "import"

    def expect(self, order: Order, run: Run) -> Entry:
        """Packer's VM has a name that nobody else's has, as the preflight has seen."""
        return run.intend("packer", node=preflight.node(self._api), name=hardware.dns_name(order.title))

    def register(self, order: Order, run: Run) -> Template:
        """Make a template of an uploaded disk, or of what Packer made on the cluster."""
        api = self._api
        node = preflight.node(api)
        created = datetime.now(UTC).isoformat(timespec="seconds")
        entry = self._adopted(order, run, node, created) if order.disk is None else None
        if order.disk is not None:
            upload = volumes.disk_upload(order.disk, order.title, run, self._upload_content())
            helper, volume = volumes.send(api, node, api.settings["iso_storage"], upload, run, "upload")
            entry = self._created(order, run, node, volume, created)
            run.undo(helper)
        assert entry is not None
        self._make_template(node, entry.id)
        return self._template(node, entry.id)

    def _created(self, order: Order, run: Run, node: str, volume: str, created: str) -> Entry:
        api = self._api
        if self._upload_content() == "iso":
            volume = volumes.path_of(api, node, volume)
        params = hardware.parameters(order, volume)
        params["description"] = machines.order_notes(order, run, "template", created)
        params["tags"] = marks.join([*api.settings["tags"], marks.TAG])
        return machines.make(
            api, run, "vm", node, "qmcreate", lambda vmid: (f"nodes/{node}/qemu", {"vmid": vmid, **params})
        )

    def _adopted(self, order: Order, run: Run, node: str, created: str) -> Entry:
        api = self._api
        found = machines.find(api, int(order.source))
        if found is None:
            raise RegistrarError(f"there is no VM {order.source}", "Packer's own log says what it made")
        node = found["node"]
        entry = run.intend("vm", node=node, vmid=order.source)
        notes = machines.order_notes(order, run, "template", created)
        name = hardware.dns_name(order.title)
        api.put(f"{machines.path(node, order.source)}/config", description=notes, name=name)
        wanted = [*api.settings["tags"], marks.TAG]
        machines.change_tags(api, node, order.source, lambda tags: [*tags, *wanted])
        return run.made(entry, order.source)

    def _make_template(self, node: str, vmid: str) -> None:
        api, path = self._api, machines.path(node, vmid)

        def once() -> str:
            if api.once("GET", f"{path}/config", {}).get("template"):
                return ""
            return str(api.once("POST", f"{path}/template", {}) or "")

        api.wait(api.retried(f"make VM {vmid} a template", once), f"make VM {vmid} a template")

    def describe(self, name: str) -> Sequence[Template]:
        """Our templates of a name."""
        found = []
        for one in self._api.get("cluster/resources", type="vm"):
            if one.get("template") and marks.TAG in marks.split(one.get("tags")):
                template = self._template(one["node"], str(one["vmid"]))
                if template.name == name:
                    found.append(template)
        return sorted(found, key=lambda one: (one.created, int(one.id)), reverse=True)

    def _template(self, node: str, vmid: str) -> Template:
        config = self._api.get(f"{machines.path(node, vmid)}/config")
        told, tags = marks.read(config), marks.split(config.get("tags"))
        facts = {"node": node, "VM": str(config.get("name", "")), "tags": ", ".join(tags)}
        return Template(
            TARGET,
            vmid,
            told.get("name", ""),
            told.get("version", ""),
            told.get("digest", ""),
            told.get("created", ""),
            told.get("run", ""),
            marks.VERIFIED in tags,
            marks.channels(tags),
            facts | ({"manifest": told["manifest"]} if "manifest" in told else {}),
        )

    def boot(self, template: Template, user_data: str, run: Run, *, name: str = "", full: bool = False) -> Guest:
        """Boot a clone whose cloud-init drive is a disc with our user-data, and ask the guest agent for its address.

        Args:
            template: to clone.
            user_data: of the clone's first boot.
            run: what is made is journaled in.
            name: of the clone; says that it is for a verification when empty.
            full: copy the disk; a linked clone builds on the template's, where the storage can do that.
        """
        api = self._api
        node = template.facts["node"]
        with tempfile.TemporaryDirectory(prefix="skyvypack-") as folder:
            disc = seed.make(Path(folder), user_data, f"instance-id: verify-{run.id}\n")
            digest = hashlib.sha256(disc.read_bytes()).hexdigest()
            upload = volumes.Upload(disc, f"skyvypack-{run.id}.iso", "iso", digest)
            _, volume = volumes.send(api, node, api.settings["iso_storage"], upload, run, "seed")
        clone = self._cloned(template, node, run, name, full)
        path = machines.path(node, clone.id)
        config = api.get(f"{path}/config")
        drives = [key for key, value in config.items() if "cloudinit" in str(value) and "media=cdrom" in str(value)]
        first = drives[0] if drives else hardware.CLOUD_INIT
        api.put(f"{path}/config", **{first: f"{volume},media=cdrom"})
        api.wait(self._started(path, clone.id), f"start VM {clone.id}")
        address = until(
            lambda: self._address(path, config),
            seconds=api.task_seconds,
            pause=_LOOK_SECONDS,
            what=f"the guest agent of VM {clone.id} to tell an address; look at its console",
        )
        return Guest(clone.id, address)

    def _cloned(self, template: Template, node: str, run: Run, name: str, full: bool) -> Entry:
        api = self._api
        told = {"kind": "clone", "run": run.id, "name": template.name, "version": template.version}
        what = f"Clone of {template.title}." if name else f"Verifies VM {template.id}; removed when that is done."
        params: dict[str, Any] = {
            "name": hardware.dns_name(name or f"{template.title}-verify"),
            "description": f"{what}\n\n{marks.hidden(told)}\n",
            "pool": api.settings["pool"] or None,
        }
        where = f"{machines.path(node, template.id)}/clone"

        def make(whole: int) -> Entry:
            return machines.make(
                api, run, "clone", node, "qmclone", lambda vmid: (where, {"newid": vmid, "full": whole, **params})
            )

        try:
            return make(int(full))
        except RegistrarError as error:
            if full or "linked clone" not in error.message.lower():
                raise
            return make(1)

    def _started(self, path: str, vmid: str) -> str:
        def once() -> str:
            if self._api.once("GET", f"{path}/status/current", {})["status"] == "running":
                return ""
            return str(self._api.once("POST", f"{path}/status/start", {}) or "")

        return str(self._api.retried(f"start VM {vmid}", once))

    def _address(self, path: str, config: Mapping[str, Any]) -> str | None:
        return address_of(self._api, path, str(config.get("net0", "")))

    def confirm(self, template: Template) -> Template:
        """Tag a template as verified."""
        node = template.facts["node"]
        machines.change_tags(self._api, node, template.id, lambda tags: [*tags, marks.VERIFIED])
        return self._template(node, template.id)

    def jobs(self, order: Order, template: Template) -> Sequence[Job]:  # noqa: ARG002
        """None: a template of one cluster is where it is needed."""
        return []

    def point(self, template: Template, channel: str) -> None:
        """Tag a template with a channel, then take the tag from others."""
        tag, change = marks.channel_tag(channel), machines.change_tags
        change(self._api, template.facts["node"], template.id, lambda tags: [*tags, tag])
        for other in self.describe(template.name):
            if other.id != template.id and channel in other.channels:
                change(self._api, other.facts["node"], other.id, lambda tags: [one for one in tags if one != tag])

    def in_use(self, template: Template) -> Sequence[str]:
        """Linked clones, and Proxmox VE's own protection."""
        node = template.facts["node"]
        config = self._api.get(f"{machines.path(node, template.id)}/config")
        reasons = ["it is protected: its option `protection` is set"] if config.get("protection") else []
        values = (str(value) for value in config.values())
        storages = {value.partition(":")[0] for value in values if f":base-{template.id}-" in value.replace("/", ":")}
        return reasons + machines.linked(self._api, node, template.id, storages)

    def retire(self, template: Template, run: Run) -> None:  # noqa: ARG002
        """Remove a template with its disks."""
        machines.destroy(self._api, template.facts["node"], template.id)

    def undo(self, entry: Entry) -> None:
        """Remove an upload or a VM that a run left."""
        if entry.kind in ("upload", "seed"):
            volumes.undo(self._api, entry)
        elif entry.kind == "packer":
            machines.undo_packer(self._api, entry)
        else:
            machines.undo(self._api, entry)
