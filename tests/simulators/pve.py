"""A Proxmox VE for tests: fakepve, over verified TLS, with what it lacks for importing disks.

Added to fakepve 0.5: an upload is read as a stream and its checksum compared, ``content=import`` is taken,
``import-from`` takes the size of what it names, and a started VM has a guest agent that tells an address.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import re
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from aiohttp import web
from fakepve import FakePve
from fakepve.certs import make_cert
from fakepve.lxc import format_size
from fakepve.model import PveError, TaskError
from fakepve.routing import die
from fakepve.server import USER, ok

TOKEN = "ci@pve!bake"
SECRET = "9d1a0f3e-1111-4222-8333-44445555aaaa"
PASSWORD = "a-long-password"
ADDRESS = "192.0.2.77"
_CHUNK = 1024 * 1024


class SimulatedPve(FakePve):  # type: ignore[misc,unused-ignore]
    """One node, a folder of disks, and a storage for uploads."""

    def __init__(self) -> None:
        super().__init__(user="root@pam", password=PASSWORD, host="127.0.0.1", port=0)
        self.apitokens[TOKEN] = SECRET
        self.users["ci@pve"] = PASSWORD
        self.storages["local"]["content"] = "iso,vztmpl,backup,import"
        self.storages["disks"] = {"type": "dir", "active": 1, "content": "images", "files": set(), "path": "/srv/disks"}
        self.storages["disks"]["avail"] = 50 * 1024**3
        self.uploads: list[dict[str, Any]] = []
        # Folder that uploaded files are kept in; None to keep none.
        self.keep: Path | None = None
        # Changes what arrives, as a broken line would.
        self.corrupt = False
        self.address = ADDRESS
        # What the next request meets: "drop" or "hang".
        self.once = ""
        # What the next task fails with.
        self.fail_task = ""

    def release_before(self, *wanted: int) -> bool:
        """Whether this is an older Proxmox VE."""
        return tuple(int(part) for part in self.version.split(".")) < wanted

    def _build_app(self) -> Any:
        app = super()._build_app()
        app.middlewares.insert(0, self._met)
        return app

    @web.middleware
    async def _met(self, request: Any, handler: Any) -> Any:
        what, self.once = self.once, ""
        if what == "drop":
            request.transport.abort()
        if what:
            await asyncio.sleep(3600)  # until the server is stopped: it is never carried out
        return await handler(request)

    async def task(self, node: str, kind: str, about: Any, user: str, body: Any, **options: Any) -> str:
        """A task, which fails before it does anything where a test wants that."""
        words, self.fail_task = self.fail_task, ""

        async def failing() -> None:
            new = options.get("vm")
            if kind in ("qmcreate", "qmclone") and new in self.vms:
                self.vms.remove(new)
            raise TaskError(words)

        upid: str = await super().task(node, kind, about, user, failing if words else body, **options)
        return upid

    async def _read_body(self, request: Any) -> bytes:
        return b"" if request.path.endswith("/upload") else await super()._read_body(request)

    async def _upload(self, request: Any) -> Any:
        name, store = self._file_storage(request, "upload")
        self.require(request[USER], f"/storage/{name}", "Datastore.AllocateTemplate")
        fields, size, digest = await self._received(request)
        content = fields.get("content")
        kinds = ("iso", "vztmpl") if self.release_before(8, 4) else ("iso", "vztmpl", "import")
        if content not in kinds:
            raise PveError(400, "Parameter verification failed.", {"content": "value not in the enumeration"})
        if content not in store["content"].split(","):
            raise die(f"storage '{name}' does not support '{content}' content")
        self.uploads.append({**fields, "size": size, "sha256": digest})

        async def job() -> None:
            await self.pause(5)
            if fields.get("checksum", digest) != digest:
                raise TaskError(f"checksum mismatch: got '{digest}' != expect '{fields['checksum']}'")
            self.store_file(name, fields["filename"], size, content)

        return ok(await self.task(request.match_info["node"], "imgcopy", "", request[USER], job))

    async def _received(self, request: Any) -> tuple[dict[str, str], int, str]:
        """The fields of an upload, and size and digest of its file."""
        fields: dict[str, str] = {}
        size, digest = 0, hashlib.sha256(b"x" if self.corrupt else b"")
        async for part in await request.multipart():
            if part.filename is None:
                fields[part.name] = await part.text()
                continue
            fields["filename"] = part.filename
            with Path(self.keep / part.filename if self.keep else os.devnull).open("wb") as kept:
                while chunk := await part.read_chunk(_CHUNK):
                    size += len(chunk)
                    digest.update(chunk)
                    kept.write(chunk)
        return fields, size, digest.hexdigest()

    def _qm_check_drive(self, user: str, vmid: int, pool: str, key: str, value: str, default: str) -> None:
        source = re.search(r",import-from=([^,]+)", str(value))
        if source and source[1].startswith("/"):
            if user != "root@pam":
                raise PveError(403, "Only root can pass arbitrary filesystem paths.")
        elif source:
            sid, _, volume = source[1].partition(":")
            kind, owner, _format = self._parse_volname(self._store(sid), volume)
            self._check_access(user, sid, kind, owner, source[1])
            if kind not in ("images", "import"):
                raise PveError(400, "Parameter verification failed.", {key: "content type needs to be 'images'"})
        super()._qm_check_drive(user, vmid, pool, key, re.sub(r",import-from=[^,]+", "", str(value)), default)

    def _qm_new_drive(self, vmid: int, key: str, value: str, default: str) -> tuple[str, list[str]]:
        source = re.search(r",import-from=([^,]+)", str(value))
        if not source:
            made: tuple[str, list[str]] = super()._qm_new_drive(vmid, key, value, default)
            return made
        size = self._size_of(source[1])
        given, volumes = super()._qm_new_drive(vmid, key, value.replace(source[0], ""), default)
        self._qm_volume(volumes[0])["size"] = size
        return re.sub(r"size=\w+", f"size={format_size(size)}", given), volumes

    def _size_of(self, source: str) -> int:
        """The virtual size of a disk; uploads are not kept, so that of the machine is taken for it."""
        if source.startswith("/"):
            volumes = {f"iso/{Path(source).name}"}
            known = {name for store in self.storages.values() for name in store.get("volumes", {})}
        else:
            sid, _, name = source.partition(":")
            volumes, known = {name}, set(self.storages.get(sid, {}).get("volumes", {}))
        if not volumes & known:
            raise die(f"volume '{source}' does not exist")
        return 4 * 1024**3

    async def _permissions(self, given: Any, user: str) -> dict[str, Any]:
        told: dict[str, Any] = await super()._permissions(given, user)
        if self.release_before(9):
            for privileges in told.values():
                if "VM.GuestAgent.Audit" in privileges:
                    privileges["VM.Monitor"] = privileges.pop("VM.GuestAgent.Audit")
        return told

    async def _do_start(self, vm: Any, user: str, given: Any) -> Any:
        if str(vm.config.get("agent", "")).startswith(("1", "enabled=1")):
            mac = re.search(r"([0-9A-F]{2}(?::[0-9A-F]{2}){5})", str(vm.config.get("net0", "")))
            told = [("lo", "00:00:00:00:00:00", "127.0.0.1"), ("docker0", "02:42:00:00:00:01", "172.17.0.1")]
            told.append(("ens18", mac[1].lower() if mac else "", self.address))
            vm.agent = {
                "interfaces": [
                    {"name": name, "hardware-address": card, "ip-addresses": [{"ip-address": address}]}
                    for name, card, address in told
                ]
            }
        return await super()._do_start(vm, user, given)


class Served:
    """A running one.

    Args:
        pve: its state, to be looked at and changed by tests.
        ca_file: the certificate that signs its own.
        fingerprint: SHA-256 of its certificate.
    """

    def __init__(self, pve: SimulatedPve, ca_file: Path, fingerprint: str) -> None:
        self.pve = pve
        self.ca_file = ca_file
        self.fingerprint = fingerprint
        self.loop = asyncio.new_event_loop()

    @property
    def url(self) -> str:
        """Where its API is."""
        return f"{self.pve.url}/api2/json"

    def call(self, coroutine: Any) -> Any:
        """Run a coroutine of the simulator's in its own thread."""
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(30)

    def add_template(self, vmid: int, name: str) -> None:
        """A template of somebody else, with a disk and a cloud-init drive, as one for Packer to clone has them."""
        drives = {"scsihw": "virtio-scsi-single", "scsi0": "disks:8,format=qcow2", "ide2": "disks:cloudinit"}
        machine = {"memory": 2048, "ostype": "l26", "net0": "virtio,bridge=vmbr0", "agent": "enabled=1"}
        where = {"node": "pve1", "vmid": vmid}
        self.call(self.pve._qm_create({**where, "name": name, **machine, **drives}, "root@pam"))
        self._until(lambda vm: not vm.lock, vmid)
        self.call(self.pve._qm_template(where, "root@pam"))
        self._until(lambda vm: vm.template, vmid)

    def _until(self, fact: Callable[[Any], bool], vmid: int) -> None:
        deadline = time.monotonic() + 30
        while not fact(self.pve.vm(vmid)):
            assert time.monotonic() < deadline
            time.sleep(0.01)


async def _hang_up(loop: Any) -> None:
    """Close what clients left: a TLS connection whose other end is gone would wait half a minute for its goodbye."""
    for hung in asyncio.all_tasks(loop) - {asyncio.current_task()}:
        hung.cancel()
    for transport in list(loop._transports.values()):
        transport.abort()
    for _ in range(3):
        await asyncio.sleep(0)


@contextmanager
def serving(folder: Path, pve: SimulatedPve | None = None) -> Iterator[Served]:
    """A Proxmox VE on a free port of 127.0.0.1, in a thread; gone with the block.

    Args:
        folder: for its certificate and key.
        pve: which one; an empty one by default.
    """
    certificate, key, der = make_cert(str(folder), name="pve1")
    served = Served(pve or SimulatedPve(), Path(certificate), hashlib.sha256(der).hexdigest())
    thread = threading.Thread(target=served.loop.run_forever, daemon=True)
    thread.start()
    served.call(served.pve.start(certificate, key))
    try:
        yield served
    finally:
        served.call(_hang_up(served.loop))
        served.call(served.pve.stop())
        served.loop.call_soon_threadsafe(served.loop.stop)
        thread.join(30)
        served.loop.close()


def main() -> None:
    """Serve until standard input is closed; the first line of standard output says where."""
    with serving(Path(sys.argv[1])) as served:
        sys.stdout.write(json.dumps({"url": served.url, "ca_file": str(served.ca_file)}) + "\n")
        sys.stdout.flush()
        sys.stdin.read()


if __name__ == "__main__":
    main()
