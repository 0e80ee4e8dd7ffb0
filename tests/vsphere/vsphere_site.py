"""What a user of vSphere has: a spec, an OVA, a vCenter."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from simulators import disks
from simulators.vcenter import VCenter

from skyvypack.artifact import DiskFile
from skyvypack.disk import sha256
from skyvypack.progress import Event, Progress
from skyvypack.registrar import Journal, Order, Run, Template
from skyvypack.spec import loads
from skyvypack.targets.vsphere import registrar
from skyvypack.targets.vsphere.vcenter import session


class Site:
    """See the module; `settings` are the target's in the spec."""

    def __init__(self, center: VCenter, folder: Path) -> None:
        self.center = center
        self.folder = folder
        self.settings: dict[str, Any] = {
            "server": center.server.host,
            "username": center.server.user,
            "ca_file": str(center.server.authority),
            "cluster": "DC0_C0",
            "datastore": "LocalDS_0",
            "network": "VM Network",
        }
        self.events: list[Event] = []

    def order(self, version: str = "1.0.0", **changes: Any) -> Order:
        """An order with a small disk."""
        settings = {**self.settings, **changes.pop("settings", {})}
        lines = "\n".join(f"    {key}: {value}" for key, value in settings.items())
        spec = loads(f"name: web\nversion: {version}\nroles: [base]\ntargets:\n  vsphere:\n{lines}\n")
        path = self.folder / f"web-{version}.ova"
        if not path.exists():
            disks.write_ova(path, spec, version.encode() * 50_000)
        file = DiskFile(path, "ova", path.stat().st_size, sha256(path))
        return Order(spec, "vsphere", f"sha256:{file.sha256}", **{"disk": file, **changes})

    @contextmanager
    def connected(self, order: Order) -> Iterator[registrar.VSphere]:
        with registrar.connect(order.settings, Progress(self.events.append)) as made:
            assert isinstance(made, registrar.VSphere)
            yield made

    @contextmanager
    def running(self, order: Order) -> Iterator[tuple[registrar.VSphere, Run]]:
        """A registrar and a run that is undone unless it is finished."""
        journal = Journal("vsphere")
        with (
            self.connected(order) as made,
            journal.run(order.settings, order.title, made.undo, made.progress) as run,
        ):
            yield made, run

    def register(self, order: Order, then: Callable[[Any, Run, Template], None] = lambda *_: None) -> Template:
        with self.running(order) as (made, run):
            template = made.register(order, run)
            then(made, run, template)
            run.finish()
        return template

    def machines(self) -> dict[str, bool]:
        """Names of all machines and whether they are templates."""
        from pyVmomi import vim

        from skyvypack.targets.vsphere.vcenter.inventory import properties

        open_ = session.Session(registrar.login(self.order().settings), Progress())
        try:
            facts = properties(open_, open_.content.rootFolder, vim.VirtualMachine, ["name", "config.template"])
            return {told["name"]: bool(told.get("config.template")) for _, told in facts}
        finally:
            open_.close()


def obstacles(site: Site, **settings: Any) -> dict[str, str]:
    """What a preflight finds, by check."""
    order = site.order(settings=settings)
    with site.connected(order) as made:
        return {one.check: f"{one.message}; {one.hint}" for one in made.preflight(order)}


def journals() -> list[Path]:
    """The journals of runs that have not ended."""
    return list(Journal("vsphere").folder.glob("*.jsonl"))


def somebody_makes(made: registrar.VSphere, name: str) -> None:
    """Make a machine that is none of ours."""
    from pyVmomi import vim

    config = vim.vm.ConfigSpec(name=name, guestId="otherGuest", memoryMB=32, numCPUs=1)
    config.files = vim.vm.FileInfo(vmPathName="[LocalDS_0]")
    place = made._place
    made._session.task(f"make {name}", lambda: place.datacenter.vmFolder.CreateVM_Task(config, place.pool))
