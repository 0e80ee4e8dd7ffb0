"""Registers templates with vCenter, through pyvmomi; see `skyvypack.registrar.contract`."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from skyvypack.errors import InputError
from skyvypack.progress import Progress
from skyvypack.registrar.contract import Guest, Job, Obstacle, Order, Registrar, RegistrarError, Step, Template
from skyvypack.registrar.credentials import secret
from skyvypack.registrar.journal import Entry, Run
from skyvypack.targets.vsphere import first_boot
from skyvypack.targets.vsphere.vcenter import machines, marks, tags
from skyvypack.targets.vsphere.vcenter.importing import Importer, Payload, hardware, payload
from skyvypack.targets.vsphere.vcenter.inventory import Finder, Where, machine, read, reference, where
from skyvypack.targets.vsphere.vcenter.library import Library
from skyvypack.targets.vsphere.vcenter.marks import Marks
from skyvypack.targets.vsphere.vcenter.preflight import Preflight, hardware_version
from skyvypack.targets.vsphere.vcenter.rest import Refused, Rest
from skyvypack.targets.vsphere.vcenter.session import Gone, Login, Session, Unreachable
from skyvypack.targets.vsphere.vcenter.tags import Tags
from skyvypack.targets.vsphere.vcenter.upload import Broken, Digest

DISK = "ova"
_TARGET = "vsphere"
_IMPORTS = 3  # how often an upload is begun when the way to the host breaks


@contextmanager
def connect(settings: Mapping[str, Any], progress: Progress) -> Iterator[VSphere]:
    """A registrar for one vCenter; it is logged out when the block is left.

    Args:
        settings: of the target.
        progress: told of uploads, retries and what vSphere says.

    Raises:
        InputError: the server or the account is not said, or `insecure` is set.
    """
    session = Session(login(settings), progress)
    rest = Rest(session)
    try:
        yield VSphere(session, rest, settings)
    finally:
        rest.close()
        session.close()


def login(settings: Mapping[str, Any]) -> Login:
    """How to reach the vCenter, by settings and environment.

    Raises:
        InputError: something is missing, or the certificate is not to be verified.
    """
    server = settings["server"] or os.environ.get("VSPHERE_SERVER", "")
    user = settings["username"] or os.environ.get("VSPHERE_USER", "")
    password = secret("VSPHERE_PASSWORD")
    missing = [
        name
        for name, value in (("VSPHERE_SERVER", server), ("VSPHERE_USER", user), ("VSPHERE_PASSWORD", password))
        if not value
    ]
    if missing:
        raise InputError(
            f"not set: {', '.join(missing)}",
            "export them, VSPHERE_PASSWORD_FILE in place of the password; server and username may stand in "
            "targets.vsphere, the password never",
        )
    if settings["insecure"]:
        raise InputError(
            "targets.vsphere.insecure is set, and a template is never registered over a connection nobody verified",
            "set ca_file to the PEM file of the authority that signed vCenter's certificate",
        )
    name, _, port = server.rpartition(":") if server.count(":") == 1 else (server, "", "")
    authority = settings["ca_file"] or os.environ.get("VSPHERE_CA_FILE", "")
    return Login(name, user, password, int(port or 443), authority)


class VSphere(Registrar):
    """See `skyvypack.registrar.contract.Registrar`."""

    def __init__(self, session: Session, rest: Rest, settings: Mapping[str, Any]) -> None:
        self.progress = session.progress
        self._session = session
        self._settings = settings
        self._rest = rest
        self._tags = Tags(rest)
        self._marks = Marks(session)
        self._found: Where | None = None

    @property
    def _place(self) -> Where:
        """Looked up once, as a rule by the preflight: what it has seen is where the template goes."""
        if self._found is None:
            self._found = where(self._session, self._settings)
        return self._found

    def where(self) -> str:
        """Account and vCenter."""
        return str(self._session.login)

    def preflight(self, order: Order) -> Sequence[Obstacle]:
        """What stands in the way; an unreachable vCenter is all that can be said of it."""
        try:
            self._session.call("look", lambda: self._session.content.about.version)
        except Unreachable as error:
            return [Obstacle("connection", error.message, error.hint)]
        finder = Finder(self._session, self._settings)
        found = list(Preflight(self._session, order, _space(order), finder).obstacles())
        self._found = finder.place or self._found
        name = order.settings["content_library"]
        if name and not Library(self._rest, name).id():
            found.append(Obstacle("library", f"there is no content library `{name}`", "make it in the vSphere client"))
        return found

    def plan(self, order: Order) -> Sequence[Step]:
        """What `register` will make."""
        place = self._place
        folder, store = place.folder.name, place.datastore.name
        steps = []
        if order.disk is None:
            steps.append(Step("packer", f"let Packer make {order.title} on the platform"))
            make = f"take what Packer made as {order.title} into folder {folder}"
        else:
            size = payload(_disk(order)).source.size >> 20
            make = f"upload {size} MiB to datastore {store} as {order.title} in folder {folder}"
            make += f", network {place.network.name}"
        return [
            *steps,
            Step("vm", make),
            Step("tag", f"tag it {order.title} and {order.digest}, set its custom attributes, mark it as a template"),
        ]

    def expect(self, order: Order, run: Run) -> Entry:
        """Packer's machine is the one of this name that was made from now on: the preflight has seen no other."""
        return run.intend("packer", name=order.title, since=self._session.now().isoformat())

    def register(self, order: Order, run: Run) -> Template:
        """Import the order's disk, or take what Packer made; mark it, and make it a template."""
        vm = self._adopt(order, run) if order.disk is None else self._import(order, run)
        self._mark(vm, order, run)
        if order.settings["snapshot"]:
            self._snapshot(vm)
        self._session.call("mark as template", lambda: self._template(vm))
        return marks.template(_TARGET, reference(vm), order.title, self._marks.of(vm))

    def _import(self, order: Order, run: Run) -> Any:
        load = payload(_disk(order))
        with Digest(load.source) as digest:  # while vCenter prepares, and once for every try
            return self._sent(order, run, load, digest)

    def _sent(self, order: Order, run: Run, load: Payload, digest: Digest) -> Any:
        place = self._place
        version = self._session.call("ask for the hardware", lambda: hardware_version(place))
        importer = Importer(self._session, order, place, load, hardware(order.settings, version), _notes(order), run.id)
        for _ in range(_IMPORTS - 1):
            entry = run.intend("vm", name=order.title)
            try:
                return self._imported(importer, entry, run, digest)
            except (Broken, Gone) as error:  # gone: the session was lost, and its lease with it
                self._session.progress.note("upload", f"{error}; beginning again")
                run.undo(entry)
        return self._imported(importer, run.intend("vm", name=order.title), run, digest)

    def _imported(self, importer: Importer, entry: Entry, run: Run, digest: Digest) -> Any:
        with importer.machine(lambda: self.undo(entry)) as (info, lease):
            run.made(entry, reference(info.entity))
            importer.fill(info, lease, digest)
        return info.entity

    def _adopt(self, order: Order, run: Run) -> Any:
        place = self._place
        vm = machines.made_by_packer(self._session, place.datacenter, order.source)
        entry = run.intend("vm", name=order.title)
        # First of all, as undoing touches nothing that does not carry the run.
        self._marks.write(vm, {"run": run.id, "id": reference(vm)})
        run.made(entry, reference(vm))
        now = read(self._session, vm, "name", "parent")
        if now["name"] != order.title:
            self._session.task(f"rename {order.source}", lambda: self._renamed(vm, order.title))
        if reference(now["parent"]) != reference(place.folder):
            self._session.task(f"move {order.title}", lambda: place.folder.MoveIntoFolder_Task([vm]))
        self._annotate(vm, _notes(order))
        return vm

    def _renamed(self, vm: Any, title: str) -> Any:
        return None if read(self._session, vm, "name")["name"] == title else vm.Rename_Task(title)

    def _annotate(self, vm: Any, text: str) -> None:
        from pyVmomi import vim

        self._session.task("write its notes", lambda: vm.ReconfigVM_Task(vim.vm.ConfigSpec(annotation=text)))

    def _snapshot(self, vm: Any) -> None:
        about = "linked clones share it"

        def begin() -> Any:
            if read(self._session, vm, "snapshot").get("snapshot"):
                return None
            return vm.CreateSnapshot_Task("skyvypack", about, memory=False, quiesce=False)

        self._session.task("make a snapshot", begin)

    def _mark(self, vm: Any, order: Order, run: Run) -> None:
        """Tags first: what is described has them."""
        for category, name in ((tags.VERSION, order.title), (tags.DIGEST, order.digest)):
            entry = run.intend("tag", category=category, name=name, vm=reference(vm))
            self._tags.attach(category, name, reference(vm), run.id, new=True)
            run.made(entry, name)
        told = {key: value for key, value in order.marks(run.id).items() if key in marks.KEYS}
        now = datetime.now(UTC).isoformat(timespec="microseconds")
        self._marks.write(vm, told | {"created": now, "id": reference(vm)})

    def _template(self, vm: Any) -> None:
        if not read(self._session, vm, "config.template").get("config.template"):
            vm.MarkAsTemplate()

    def describe(self, name: str) -> Sequence[Template]:
        """Every template of this name, the newest first."""
        root = self._place.datacenter if self._settings["datacenter"] else self._session.content.rootFolder
        found = [
            marks.template(_TARGET, reference(vm), title, told)
            for vm, title, told in self._marks.all(root)
            if told.get("name") == name
        ]
        return sorted(found, key=lambda one: one.created, reverse=True)

    def boot(self, template: Template, user_data: str, run: Run, *, name: str = "", full: bool = False) -> Guest:
        """Clone a template, boot the clone with our user-data, and wait for the address that VMware Tools tell.

        Args:
            template: to clone.
            user_data: of the clone's first boot.
            run: the clone is journaled in.
            name: of the clone; says that it is for a verification when empty.
            full: copy the disk; a linked clone shares that of the template's snapshot, where it has one.
        """
        about = f"Clone of {template.title}" if name else f"Proves {template.title}; skyvypack removes it"
        name = name or f"{template.title}-{run.id}"
        entry = run.intend("clone", name=name, template=template.id)
        options = first_boot.settings(user_data, instance=f"{name}-{run.id}") | {marks.RUN_KEY: run.id}
        wanted = machines.Clone(self._place, name, about, options, full)
        source = machine(self._session, template.id)
        clone = machines.clone(self._session, source, wanted, lambda: self.undo(entry))
        run.made(entry, reference(clone))
        return Guest(reference(clone), machines.boot(self._session, clone))

    def confirm(self, template: Template) -> Template:
        """Mark it as verified."""
        vm = machine(self._session, template.id)
        self._marks.write(vm, {"verified": datetime.now(UTC).isoformat(timespec="seconds")})
        return marks.template(_TARGET, template.id, template.title, self._marks.of(vm))

    def jobs(self, order: Order, template: Template) -> Sequence[Job]:
        """The copy in a content library, when one is named."""
        name = order.settings["content_library"]
        if not name:
            return []
        return [Job(f"publish to content library {name}", lambda run: self._publish(name, order, template, run))]

    def _publish(self, name: str, order: Order, template: Template, run: Run) -> str:
        library, place = Library(self._rest, name), self._place
        title = _item(order.title)
        standing = library.item(title)
        if standing:
            return f"{name}/{title} ({standing})"
        entry = run.intend("item", library=name, name=title, template=template.id)
        placement = {"folder": reference(place.folder), "resource_pool": reference(place.pool)}
        try:
            item = library.publish(title, _notes(order), template.id, placement, reference(place.datastore))
        except Refused:
            raise
        except RegistrarError:
            # Perhaps it was carried out and only the answer was lost, or it still is.
            machines.settle(self._session, template.id)
            item = library.item(title)
            if not item:
                raise
        run.made(entry, item)
        return f"{name}/{title} ({item})"

    def point(self, template: Template, channel: str) -> None:
        """The new one is marked before the old one is unmarked: at no time does the channel point nowhere."""
        found = [
            (vm, told)
            for vm, _, told in self._marks.all(self._session.content.rootFolder)
            if told.get("name") == template.name
        ]
        for vm, told in sorted(found, key=lambda one: reference(one[0]) != template.id):
            has = set(marks.channels(told))
            wanted = has | {channel} if reference(vm) == template.id else has - {channel}
            tag = f"{template.name}:{channel}"
            if channel in wanted:
                self._tags.attach(tags.CHANNEL, tag, reference(vm), told.get("run", ""))
            if wanted != has:
                self._marks.write(vm, {"channels": ",".join(sorted(wanted))})
            if channel in has - wanted:
                self._tags.release(tags.CHANNEL, tag, reference(vm))

    def in_use(self, template: Template) -> Sequence[str]:
        """Its linked clones."""
        return list(machines.linked(self._session, machine(self._session, template.id)))

    def retire(self, template: Template, run: Run) -> None:
        """Remove it, its copy in the content library, and tags that nothing else has."""
        run.progress.note("retire", f"removing {template.title} ({template.id})")
        name = self._settings["content_library"]
        item = Library(self._rest, name).item(_item(template.title)) if name else ""
        if item:
            Library(self._rest, name).remove(item)
        vm = machine(self._session, template.id)
        for category, tag in _tags(template):
            self._tags.release(category, tag, template.id)
        # Last: as long as it stands, what broke off half-way is found again and can be finished.
        machines.destroy(self._session, vm)

    def undo(self, entry: Entry) -> None:
        """Remove what an entry stands for, and nothing that another run made."""
        if entry.kind in ("vm", "clone"):
            if entry.kind == "clone" and not entry.id:
                machines.settle(self._session, entry.mark["template"])
            vm = machines.of_run(self._session, self._marks, entry.id, entry.mark["name"], entry.run)
            if vm is not None:
                machines.destroy(self._session, vm)
        elif entry.kind == "packer":
            self._undo_packer(entry)
        elif entry.kind == "tag":
            self._tags.release(entry.mark["category"], entry.mark["name"], entry.mark["vm"], entry.run)
        elif entry.kind == "item":
            library = Library(self._rest, entry.mark["library"])
            if not entry.id:
                machines.settle(self._session, entry.mark["template"])
            item = entry.id or library.item(entry.mark["name"])
            if item:
                library.remove(item)
        else:
            raise RegistrarError(f"nobody knows how to undo a {entry.kind}")

    def _undo_packer(self, entry: Entry) -> None:
        root = self._session.content.rootFolder
        for vm in machines.made_since(self._session, root, entry.mark["name"], entry.mark["since"]):
            machines.destroy(self._session, vm)


def _item(title: str) -> str:
    """The name of a library's copy. It is a template in the same folder, where no two have the same name."""
    return f"{title}-library"


def _tags(template: Template) -> list[tuple[str, str]]:
    channels = [(tags.CHANNEL, f"{template.name}:{channel}") for channel in template.channels]
    return [(tags.VERSION, template.title), (tags.DIGEST, template.digest), *channels]


def _disk(order: Order) -> Any:
    if order.disk is None:
        raise RegistrarError("there is neither a disk nor a machine that Packer made")
    return order.disk


def _space(order: Order) -> int:
    """Bytes on the datastore for what is still to be made: the template, and a clone of it."""
    if order.disk is None:
        return 0
    extent = payload(order.disk).extent
    copies = (order.standing is None) + order.verify
    return copies * (extent.populated if order.settings["thin_disk"] else extent.capacity)


def _notes(order: Order) -> str:
    """What people read beside the template."""
    lines = [order.settings["notes"] or order.spec.title, f"version {order.spec.version}", order.digest]
    return "\n".join([*lines, order.manifest] if order.manifest else lines)
