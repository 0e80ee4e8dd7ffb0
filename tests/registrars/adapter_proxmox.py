"""Proxmox VE in the shared suite: the registrar against a simulated cluster, by API token over verified TLS."""

from __future__ import annotations

import functools
import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import adapters

sys.path.insert(0, str(Path(__file__).parent.parent / "simulators"))

import pve_schema
import pytest
import requests
from proxmoxer.backends.https import ProxmoxHttpSession
from proxmoxer.core import ResourceException
from pve import SECRET, TOKEN, Served, serving

from skyvypack import seed
from skyvypack.registrar import Template
from skyvypack.registrar.retry import Patience
from skyvypack.targets import settings_rules
from skyvypack.targets.proxmox.pve import api, machines, volumes

# Quick, but not as quick as a unit test: a whole server, and a TLS connection for each registration.
MARKS = (pytest.mark.tool,)
_HARMLESS = ("/access/ticket",)


def defaults() -> dict[str, Any]:
    """The settings of a spec that says nothing."""
    return {name: rule["default"] for name, rule in settings_rules("proxmox").items()}


@contextmanager
def quick() -> Iterator[None]:
    """Let nothing wait for long, and no program be started to make a disc."""

    def disc(folder: Path, user_data: str, meta_data: str) -> Path:
        made = folder / "seed.iso"
        made.write_text(f"{user_data}{meta_data}")
        return made

    patience = functools.partial(Patience, first=0.005, longest=0.02)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(machines, "PAUSE", 0.01)
        patch.setattr(api, "Patience", patience)
        patch.setattr(seed, "make", disc)
        patch.setattr(volumes, "_ANSWER_SECONDS", 0.5)
        yield


class Adapter(adapters.Adapter):
    """See `adapters.Adapter`."""

    target = "proxmox"

    def __init__(self, served: Served) -> None:
        self.served = served
        self.more: dict[str, Any] = {}

    def settings(self) -> dict[str, Any]:
        ours = {"url": self.served.url, "username": TOKEN, "ca_file": str(self.served.ca_file), "storage": "disks"}
        return defaults() | ours | {"disk_format": "qcow2", "retry_for": 5, "task_timeout": "10s"} | self.more

    def environment(self) -> dict[str, str]:
        return {"PROXMOX_TOKEN": SECRET}

    def objects(self) -> Mapping[str, str]:
        cluster = self.served.pve
        found = {}
        for vm in cluster.vms:
            found[f"vm {vm.vmid}"] = json.dumps([vm.name, vm.status, vm.lock, vm.config], sort_keys=True)
        for name, store in cluster.storages.items():
            found |= {f"{name}:{volume}": str(about["size"]) for volume, about in store.get("volumes", {}).items()}
            found |= {f"{name}:iso/{file}": "" for file in store["files"]}
        return found

    def use(self, template: Template) -> str:
        cluster = self.served.pve
        given = {"node": "pve1", "vmid": template.id, "newid": 900, "full": 0, "name": "user-of-it"}
        self.served.call(cluster._qm_clone(given, "root@pam"))
        return "linked clone 900"

    def impostor(self, mark: Mapping[str, str]) -> bool:
        if "vmid" not in mark:
            return False
        self.served.pve.add_vm(int(mark["vmid"]), "somebody-elses", node="pve1")
        return True

    def is_impostor_there(self, mark: Mapping[str, str]) -> bool:
        return self.served.pve.vm(int(mark["vmid"])) is not None

    @staticmethod
    def quick() -> AbstractContextManager[None]:
        return quick()

    @staticmethod
    @contextmanager
    def hooked(before: adapters.Hook, after: adapters.Hook = adapters.ignore) -> Iterator[None]:
        plain = ProxmoxHttpSession.request

        def request(self: Any, method: str, url: str, *args: Any, **options: Any) -> Any:
            call = f"{method} {url.partition('/api2/json')[2]}"
            if method == "GET" or call.endswith(_HARMLESS):
                return plain(self, method, url, *args, **options)
            before(call)
            answer = plain(self, method, url, *args, **options)
            after(call)
            return answer

        ProxmoxHttpSession.request = request
        try:
            yield
        finally:
            ProxmoxHttpSession.request = plain

    @staticmethod
    def transient() -> Exception:
        return requests.ConnectionError("connection reset by peer")

    @staticmethod
    def permanent() -> Exception:
        return ResourceException(403, "Forbidden", "Permission check failed (/vms/100, VM.Allocate)")


@contextmanager
def checked() -> Iterator[list[str]]:
    """Collects what Proxmox VE's own schema has against the requests that are made; one more line for each request."""
    plain = requests.Session.request
    seen: list[str] = []
    wrong: list[str] = []

    def request(self: Any, method: str, url: str, params: Any = None, data: Any = None, *args: Any, **rest: Any) -> Any:
        given = dict(params or {}) | _fields(data) | _files(args)
        seen.append(f"{method} {url}")
        wrong.extend(pve_schema.problems(method, url.partition("/api2/json")[2], given))
        return plain(self, method, url, params, data, *args, **rest)

    requests.Session.request = request  # type: ignore[method-assign]
    try:
        yield seen
    finally:
        requests.Session.request = plain  # type: ignore[method-assign]
    assert wrong == []


def _files(args: tuple[Any, ...]) -> dict[str, Any]:
    """The third of requests' further arguments: files, by the field's name."""
    return dict.fromkeys(args[2] or (), "file") if len(args) > 2 else {}


def _fields(data: Any) -> dict[str, Any]:
    return dict(data.fields) if hasattr(data, "fields") else dict(data or {})


@contextmanager
def running(folder: Path) -> Iterator[Adapter]:
    """An empty cluster; every request to it is checked against Proxmox VE's own schema."""
    with quick(), serving(folder) as served, checked():
        yield Adapter(served)
