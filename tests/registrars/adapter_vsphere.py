"""vSphere in the shared suite: vcsim, over verified TLS."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import adapters
import pytest

# For a fresh process, which no conftest.py has prepared.
sys.path.insert(0, str(Path(__file__).parents[1]))

from simulators import disks, vcsim
from simulators.certificates import Authority

from skyvypack.progress import Progress
from skyvypack.registrar import RegistrarError, Template
from skyvypack.targets import settings_rules
from skyvypack.targets.vsphere.vcenter import lease, machines, marks, session, tags, upload
from skyvypack.targets.vsphere.vcenter.inventory import machine, properties, read, reference
from skyvypack.targets.vsphere.vcenter.rest import Refused, Rest

MARKS = (pytest.mark.tool,)

_CHANGES = {
    *("ImportVApp", "HttpNfcLeaseComplete", "HttpNfcLeaseAbort", "AddCustomFieldDef", "SetField", "MarkAsTemplate"),
    *("CloneVM_Task", "PowerOnVM_Task", "PowerOffVM_Task", "Destroy_Task", "Rename_Task", "MoveIntoFolder_Task"),
    *("ReconfigVM_Task", "CreateSnapshot_Task"),
}


class Adapter(adapters.Adapter):
    """See `adapters.Adapter`."""

    target = "vsphere"
    disk = "ova"

    def __init__(self, server: vcsim.Server) -> None:
        self._server = server
        login = session.Login("127.0.0.1", server.user, server.password, server.port, str(server.authority))
        self._session = session.Session(login, Progress())
        self._rest = Rest(self._session)
        self.more: dict[str, Any] = {}

    def define(self) -> None:
        """A vCenter that knew us before, so that each registration sends the same requests."""
        marks.Marks(self._session)._defined(dict.fromkeys(marks.KEYS, ""))
        known = tags.Tags(self._rest)
        for category in tags.CATEGORIES:
            known._make_category(category)

    def close(self) -> None:
        self._rest.close()
        self._session.close()

    def settings(self) -> dict[str, Any]:
        defaults = {name: rule["default"] for name, rule in settings_rules("vsphere").items()}
        server = self._server
        ours = {"server": server.host, "username": server.user, "ca_file": str(server.authority)}
        place = {"cluster": "DC0_C0", "datastore": "LocalDS_0", "network": "VM Network"}
        return defaults | ours | place | self.more

    def environment(self) -> dict[str, str]:
        return {"VSPHERE_PASSWORD": self._server.password}

    def write_disk(self, path: Path, content: bytes) -> None:
        disks.write_ova(path, self.spec(), content)

    def objects(self) -> Mapping[str, str]:
        """Machines and tags. Definitions of attributes and categories stay on purpose: they belong to no run."""
        from pyVmomi import vim

        facts = ["name", "config.template", "customValue"]
        found = {}
        for vm, told in properties(self._session, self._session.content.rootFolder, vim.VirtualMachine, facts):
            values = sorted(str(one.value) for one in told.get("customValue", ()))
            found[reference(vm)] = json.dumps([told.get("name"), told.get("config.template"), values])
        known = tags.Tags(self._rest)
        for category in tags.CATEGORIES:
            for tag in known._of(category):
                found[f"{category} {tag['name']}"] = json.dumps(sorted(known._objects(tag["id"])))
        return found

    def _create(self, name: str, *disks_: Any) -> None:
        """A machine of somebody else."""
        from pyVmomi import vim

        content = self._session.content
        datacenter = content.rootFolder.childEntity[0]
        pool = datacenter.hostFolder.childEntity[0].resourcePool
        config = vim.vm.ConfigSpec(name=name, guestId="otherGuest", memoryMB=32, numCPUs=1, deviceChange=list(disks_))
        config.files = vim.vm.FileInfo(vmPathName="[LocalDS_0]")
        self._session.task(f"create {name}", lambda: datacenter.vmFolder.CreateVM_Task(config, pool))

    def use(self, template: Template) -> str:
        """vcsim's clones share no disk, so the child of the template's disk is given to a machine by hand."""
        from pyVmomi import vim

        devices = read(self._session, machine(self._session, template.id), "config.hardware.device")
        parent = next(
            one.backing for one in devices["config.hardware.device"] if isinstance(one, vim.vm.device.VirtualDisk)
        )
        add = vim.vm.device.VirtualDeviceSpec.Operation.add
        controller = vim.vm.device.ParaVirtualSCSIController(key=1000, busNumber=0, sharedBus="noSharing")
        backing = vim.vm.device.VirtualDisk.FlatVer2BackingInfo(
            diskMode="persistent", fileName="[LocalDS_0] user/disk1.vmdk", parent=parent
        )
        child = vim.vm.device.VirtualDisk(
            key=2000, controllerKey=1000, unitNumber=0, capacityInKB=1024, backing=backing
        )
        specs = [vim.vm.device.VirtualDeviceSpec(operation=add, device=one) for one in (controller, child)]
        specs[1].fileOperation = "create"
        self._create("user", *specs)
        return "linked clone"

    def impostor(self, mark: Mapping[str, str]) -> bool:
        if "category" in mark:
            return False  # a tag says in its description whose it is
        self._create(mark["name"])
        return True

    def is_impostor_there(self, mark: Mapping[str, str]) -> bool:
        # Ours carry values that say whose they are.
        return json.dumps([mark["name"], False, []]) in self.objects().values()

    @staticmethod
    @contextmanager
    def hooked(before: adapters.Hook, after: adapters.Hook = adapters.ignore) -> Iterator[None]:
        from pyVmomi import SoapAdapter

        def around(call: str, act: Callable[[], Any]) -> Any:
            before(call)
            answer = act()
            after(call)
            return answer

        stub = SoapAdapter.SoapStubAdapter
        patches = (
            (stub, "InvokeMethod", _soap(stub.InvokeMethod, around)),
            (Rest, "_once", _rest(Rest._once, around)),
            (upload, "_post", _upload(upload._post, around)),
        )
        with ExitStack() as stack:
            for owner, name, new in patches:
                stack.enter_context(mock.patch.object(owner, name, new))
            yield

    @staticmethod
    def transient() -> Exception:
        return ConnectionResetError("connection reset by peer")

    @staticmethod
    def permanent() -> Exception:
        from pyVmomi import vim

        return vim.fault.NoPermission(msg="Permission to perform this operation was denied.", privilegeId="VApp.Import")


Around = Callable[[str, Callable[[], Any]], Any]


def _soap(original: Any, around: Around) -> Any:
    def ask(self: Any, mo: Any, info: Any, args: Any, outer: Any = None) -> Any:
        def act() -> Any:
            return original(self, mo, info, args, outer)

        return around(info.wsdlName, act) if info.wsdlName in _CHANGES else act()

    return ask


def _rest(original: Any, around: Around) -> Any:
    def once(self: Any, method: str, path: str, *more: Any) -> Any:
        def act() -> Any:
            return original(self, method, path, *more)

        if not _changes(method, path):
            return act()
        with _said_by(lambda text: Refused(403, text, path)):
            return around(f"{method} {path}", act)

    return once


def _upload(original: Any, around: Around) -> Any:
    def post(*args: Any) -> None:
        with _said_by(RegistrarError):
            around("upload", lambda: original(*args))

    return post


@contextmanager
def _said_by(error: Callable[[str], Exception]) -> Iterator[None]:
    """Where no SOAP is spoken a refusal is no fault."""
    from pyVmomi import vmodl

    try:
        yield
    except vmodl.MethodFault as fault:
        raise error(fault.msg) from fault


def _changes(method: str, path: str) -> bool:
    if path.endswith("/cis/session"):
        return False
    return method == "DELETE" or (method == "POST" and not path.rpartition("=")[2].startswith(("list-", "find")))


@contextmanager
def running(folder: Path) -> Iterator[Adapter]:
    """A vCenter with nothing in it."""
    authority = Authority(folder)
    with (
        vcsim.running(authority, "-address=127.0.0.1") as behind,
        mock.patch.object(lease, "PAUSE", 0.02),
        mock.patch.object(session, "PAUSE", 0.02),
        mock.patch.object(machines, "PAUSE", 0.02),
    ):
        adapter = Adapter(behind)
        adapter.define()
        yield adapter
        adapter.close()
