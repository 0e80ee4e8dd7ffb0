"""Where things are in a vCenter: found by the names in a target's settings, every wrong one told at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from skyvypack.registrar.contract import Obstacle, RegistrarError
from skyvypack.rules import nearest
from skyvypack.targets.vsphere.vcenter.session import Session

_PAGE = 500


@dataclass(frozen=True, slots=True)
class Where:
    """Where a template goes, as pyvmomi's managed objects.

    Args:
        datacenter: holds all of the others.
        compute: the cluster or the host that stands alone.
        host: within it; None to let the cluster choose.
        pool: resource pool.
        datastore: chosen from the cluster of datastores when one was named.
        network: of the network card.
        folder: of virtual machines.
    """

    datacenter: Any
    compute: Any
    host: Any
    pool: Any
    datastore: Any
    network: Any
    folder: Any


def properties(session: Session, root: Any, kind: Any, wanted: Sequence[str]) -> list[tuple[Any, dict[str, Any]]]:
    """Objects below another with some of their properties, in few calls however many there are.

    Args:
        session: to ask by.
        root: where to begin.
        kind: class of the objects, such as ``vim.VirtualMachine``.
        wanted: paths of properties; one that an object does not have is left out.
    """
    from pyVmomi import vmodl

    manager = session.content.viewManager
    view = session.call("look", lambda: manager.CreateContainerView(root, [kind], True))
    try:
        query = vmodl.query.PropertyCollector
        step = query.TraversalSpec(name="view", path="view", skip=False, type=type(view))
        begin = query.ObjectSpec(obj=view, skip=True, selectSet=[step])
        return _retrieve(session, [begin], query.PropertySpec(type=kind, pathSet=list(wanted)))
    finally:
        session.call("look", view.DestroyView)


def read(session: Session, found: Any, *wanted: str) -> dict[str, Any]:
    """Some properties of one object, in one call; what it does not have is left out.

    Raises:
        Gone: vCenter does not know it any more.
    """
    from pyVmomi import vmodl

    query = vmodl.query.PropertyCollector
    asked = query.PropertySpec(type=type(found), pathSet=list(wanted))
    return _retrieve(session, [query.ObjectSpec(obj=found, skip=False)], asked)[0][1]


def read_all(session: Session, found: Sequence[Any], kind: Any, *wanted: str) -> list[tuple[Any, dict[str, Any]]]:
    """Some properties of objects that are known, in few calls however many there are.

    Args:
        session: to ask by.
        found: the objects.
        kind: class that all of them are of, such as ``vim.ManagedEntity``.
        wanted: paths of properties; one that an object does not have is left out.
    """
    from pyVmomi import vmodl

    if not found:
        return []
    query = vmodl.query.PropertyCollector
    begin = [query.ObjectSpec(obj=one, skip=False) for one in found]
    return _retrieve(session, begin, query.PropertySpec(type=kind, pathSet=list(wanted)))


def _retrieve(session: Session, begin: Sequence[Any], wanted: Any) -> list[tuple[Any, dict[str, Any]]]:
    from pyVmomi import vmodl

    query = vmodl.query.PropertyCollector
    collector = session.content.propertyCollector
    spec = query.FilterSpec(objectSet=list(begin), propSet=[wanted])
    options = query.RetrieveOptions(maxObjects=_PAGE)
    found: list[tuple[Any, dict[str, Any]]] = []
    page = session.call("look", lambda: collector.RetrievePropertiesEx([spec], options))
    while page:
        found += [(one.obj, {prop.name: prop.val for prop in one.propSet}) for one in page.objects]
        token = page.token
        page = session.call("look", partial(collector.ContinueRetrievePropertiesEx, token)) if token else None
    return found


@dataclass(slots=True)
class Finder:
    """Looks names up and collects what is wrong with them.

    Args:
        session: to ask by.
        settings: of the target.
        obstacles: what was found wrong.
        place: what was found.
    """

    session: Session
    settings: Mapping[str, Any]
    obstacles: list[Obstacle] = field(default_factory=list)
    place: Where | None = None

    def find(self) -> Where | None:
        """All of it; None when something is missing, which `obstacles` then says."""
        self.place = self._find()
        return self.place

    def _find(self) -> Where | None:
        datacenter = self._datacenter()
        if datacenter is None:
            return None
        compute, host = self._compute(datacenter)
        folder = self._folder(datacenter)
        if compute is None:
            return None
        has = read(self.session, compute, "resourcePool", "datastore", "network")
        if "resourcePool" not in has:
            hint = "give the account's role System.View and System.Read there"
            self.obstacles.append(Obstacle("privilege", "the account cannot see what the cluster or host has", hint))
            return None
        pool = self._pool(has["resourcePool"])
        datastore = self._datastore(datacenter, has.get("datastore", ()))
        network = self._network(has.get("network", ()))
        found = (datacenter, compute, host, pool, datastore, network, folder)
        missing = [one for one in (pool, datastore, network, folder) if one is None]
        return None if missing or self.obstacles else Where(*found)

    def _named(self, what: str, name: str, among: Mapping[str, Any], hint: str = "") -> Any:
        """The one of this name, or the only one when no name is given."""
        if name in among:
            return among[name]
        there = ", ".join(sorted(among)) or "none"
        if name:
            suggestion = nearest(name, tuple(among)) or hint or f"there are: {there}"
            self.obstacles.append(Obstacle(what, f"there is no {what} `{name}`", suggestion))
        elif len(among) == 1:
            return next(iter(among.values()))
        else:
            message = f"no {what} is named, and there are: {there}"
            self.obstacles.append(Obstacle(what, message, f"name one in targets.vsphere.{what.replace(' ', '_')}"))
        return None

    def _below(self, root: Any, kind: Any) -> dict[str, Any]:
        return {facts["name"]: found for found, facts in properties(self.session, root, kind, ["name"])}

    def _names(self, found: Sequence[Any]) -> dict[str, Any]:
        from pyVmomi import vim

        told = read_all(self.session, found, vim.ManagedEntity, "name")
        return {facts["name"]: one for one, facts in told if "name" in facts}  # it has none for whom may not see it

    def _datacenter(self) -> Any:
        from pyVmomi import vim

        among = self._below(self.session.content.rootFolder, vim.Datacenter)
        return self._named("datacenter", self.settings["datacenter"], among)

    def _compute(self, datacenter: Any) -> tuple[Any, Any]:
        from pyVmomi import vim

        computes = self._below(datacenter.hostFolder, vim.ComputeResource)
        cluster, wanted = self.settings["cluster"], self.settings["host"]
        if wanted and not cluster:
            hosts = properties(self.session, datacenter.hostFolder, vim.HostSystem, ["name", "parent"])
            host = self._named("host", wanted, {facts["name"]: (one, facts["parent"]) for one, facts in hosts})
            return (host[1], host[0]) if host else (None, None)
        compute = self._named("cluster", cluster, computes)
        if compute is None or not wanted:
            return compute, None
        return compute, self._named("host", wanted, self._names(compute.host))

    def _pool(self, root: Any) -> Any:
        from pyVmomi import vim

        name = self.settings["resource_pool"]
        return self._named("resource pool", name, self._below(root, vim.ResourcePool)) if name else root

    def _datastore(self, datacenter: Any, usable: Sequence[Any]) -> Any:
        """A datastore by its name; or, of a cluster of datastores, the one with the most free space."""
        from pyVmomi import vim

        here = self._names(usable)
        name = self.settings["datastore"]
        if name and name not in here:
            pods = self._below(datacenter.datastoreFolder, vim.StoragePod)
            if name in pods:
                members = self._names(pods[name].childEntity)
                return self._of_pod(name, [here[title] for title in members if title in here])
        return self._named("datastore", name, here)

    def _of_pod(self, name: str, members: Sequence[Any]) -> Any:
        usable = [one for one in members if takes_disks(one.summary)]
        if not usable:
            message = f"the datastore cluster `{name}` has no datastore that the hosts can use now"
            self.obstacles.append(Obstacle("datastore", message, "end the maintenance of one, or name another"))
            return None
        return max(usable, key=lambda one: one.summary.freeSpace)

    def _network(self, usable: Sequence[Any]) -> Any:
        # An uplink's port group is for the host's own cards.
        here = {name: one for name, one in self._names(usable).items() if "uplink" not in name.lower()}
        name = self.settings["network"]
        return self._named("network", name, here) if name or len(here) != 1 else next(iter(here.values()))

    def _folder(self, datacenter: Any) -> Any:
        folder, path = datacenter.vmFolder, self.settings["folder"]
        for part in [part for part in path.split("/") if part]:
            below = self._names([one for one in folder.childEntity if hasattr(one, "childEntity")])
            if part not in below:
                suggestion = nearest(part, tuple(below)) or "make it in the vSphere client, or leave `folder` empty"
                self.obstacles.append(Obstacle("folder", f"there is no folder `{part}` of `{path}`", suggestion))
                return None
            folder = below[part]
        return folder


def where(session: Session, settings: Mapping[str, Any]) -> Where:
    """Where a template goes.

    Raises:
        RegistrarError: something that the settings name is not there, or a name is missing.
    """
    finder = Finder(session, settings)
    found = finder.find()
    if found is None:
        raise RegistrarError("; ".join(map(str, finder.obstacles)))
    return found


def takes_disks(summary: Any) -> bool:
    """True for a datastore, by its summary, that is accessible and in no maintenance."""
    return bool(summary.accessible) and summary.maintenanceMode not in ("inMaintenance", "enteringMaintenance")


def reference(found: Any) -> str:
    """The id by which vCenter knows an object, such as ``vm-42``."""
    return str(found._moId)


def machine(session: Session, id: str) -> Any:
    """A machine or template by its id; it may not exist."""
    from pyVmomi import vim

    return vim.VirtualMachine(id, session.content.rootFolder._stub)
