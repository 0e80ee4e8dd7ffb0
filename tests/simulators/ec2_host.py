"""An EC2 whose instances are guests: each boots by UEFI from NVMe what its AMI's snapshot holds, read block by block.

Added to `simulators.moto_aws`: an instance is pending until its guest was switched on, stops or ends when its guest
switches itself off, and takes its guest along when it is terminated; an AMI that is made of it holds its disk. Its
user-data and the like are told at 169.254.169.254, to those only who ask as IMDSv2 wants it (EC2 user guide, "Use the
Instance Metadata Service"). Its serial number says EC2, which is how cloud-init knows where it is.
"""

from __future__ import annotations

import base64
import json
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partialmethod
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from unittest import mock

from moto.ebs.models import ebs_backends
from moto.ec2.models import EC2Backend
from moto.ec2.models.amis import AmiBackend
from moto.ec2.models.instances import Instance, InstanceBackend, StateReason
from simulators import lan
from simulators.hypervisor import Guest, Hardware
from simulators.moto_aws import BLOCK, FaultyAws, Session, started

from skyvypack import disk
from skyvypack.targets.aws.ec2.blocks import RawDisk

METADATA = "169.254.169.254"
MAC = "0a:5c:00:00:00:01"
_run, _terminate = InstanceBackend.run_instances, InstanceBackend.terminate_instances
_create = AmiBackend.create_image


class Host:
    """The guests of an account.

    Args:
        aws: the account.
        folder: for disks and consoles.
    """

    def __init__(self, aws: FaultyAws, folder: Path) -> None:
        self.aws = aws
        self.folder = folder
        self.guests: dict[str, Guest] = {}
        self.launched: list[str] = []
        self.told: list[str] = []
        self.blocks = 0
        self.failures: list[Exception] = []
        self.session = Session()
        self._instance: Any = None
        self._token = secrets.token_urlsafe()

    def run(self, backend: Any, *args: Any, **named: Any) -> Any:
        """RunInstances: they are pending until their guests run."""
        made = _run(backend, *args, **named)
        for instance in made.instances:
            instance._state.name, instance._state.code = "pending", 0
            threading.Thread(target=self._live, args=(backend, instance), daemon=True).start()
        return made

    def terminate(self, backend: Any, instance_ids: list[str]) -> Any:
        """TerminateInstances: pulls the plug."""
        for id in instance_ids:
            if guest := self.guests.pop(id, None):
                guest.stop()
        return _terminate(backend, instance_ids)

    def _live(self, backend: Any, instance: Instance) -> None:
        """A thread's whole life: what goes wrong in it ends the instance, so that nobody waits for it."""
        try:
            self._launch(backend, instance)
        except Exception as error:
            self.failures.append(error)
            instance.terminate()
            instance.state_reason = StateReason(f"the simulated host failed: {error!r}", "Server.InternalError")

    def _launch(self, backend: Any, instance: Instance) -> None:
        self.launched.append(instance.id)
        folder = self.folder / instance.id
        folder.mkdir(parents=True)
        image = backend.amis[instance.image_id]
        volume = self._volume(backend.region_name, image.ebs_snapshot, folder)
        serial = f"ec2{secrets.token_hex(16)[3:]}"
        uuid = "-".join(serial[at:to] for at, to in ((0, 8), (8, 12), (12, 16), (16, 20), (20, 32)))
        system = f"type=1,manufacturer=Amazon EC2,product={instance.instance_type},uuid={uuid},serial={uuid}"
        firmware = "bios" if image.boot_mode == "legacy-bios" else "uefi"
        self._instance = instance
        self.guests[instance.id] = guest = Guest(
            volume, None, Hardware(MAC, bus="nvme", firmware=firmware, system=system), folder
        )
        instance.nics[0].public_ip = instance.nics[0].private_ip_address = lan.GUEST
        instance._state.name, instance._state.code = "running", 16
        while guest.runs:
            time.sleep(0.2)
        if self.guests.pop(instance.id, None):
            stays = instance.instance_initiated_shutdown_behavior == "stop"
            instance.stop() if stays else instance.terminate()

    def create_image(self, backend: Any, instance_id: str, *args: Any, **named: Any) -> Any:
        """CreateImage: of the disk of an instance that has stopped."""
        folder = self.folder / instance_id
        disk.convert(folder / "volume.qcow2", folder / "volume.raw", "raw", source_format="qcow2")
        made = _create(backend, instance_id, *args, **named)
        ebs = ebs_backends[backend.account_id][backend.region_name]
        with RawDisk(folder / "volume.raw") as raw:
            snapshot = ebs.start_snapshot(raw.gibibytes, None, f"Created by CreateImage({instance_id})")
            for index in raw.indexes():
                if data := raw.read(index):
                    snapshot.put_block(index, data, None, None, BLOCK)
        ebs.complete_snapshot(snapshot.snapshot_id)
        (folder / "volume.raw").unlink()
        backend.snapshots.pop(made.ebs_snapshot.id, None)
        made.ebs_snapshot = backend.snapshots[snapshot.snapshot_id]
        return made

    def _volume(self, region: str, snapshot: Any, folder: Path) -> Path:
        """The volume of a snapshot, read as anybody could who may read it."""
        ebs = self.session.client("ebs", region, endpoint_url=self.aws.url)
        raw, volume = folder / "volume.raw", folder / "volume.qcow2"
        asked: dict[str, Any] = {"SnapshotId": snapshot.id, "MaxResults": 1000}
        with raw.open("wb") as handle:
            handle.truncate(int(snapshot.volume.size) << 30)
            while asked:
                listed = ebs.list_snapshot_blocks(**asked)
                for block in listed["Blocks"]:
                    self.blocks += 1
                    known = {"BlockIndex": block["BlockIndex"], "BlockToken": block["BlockToken"]}
                    handle.seek(block["BlockIndex"] * BLOCK)
                    got = ebs.get_snapshot_block(SnapshotId=snapshot.id, **known)
                    handle.write(got["BlockData"].read())
                token = listed.get("NextToken")
                asked = {**asked, "NextToken": token} if token else {}
        disk.convert(raw, volume, "qcow2")
        raw.unlink()
        return volume

    def metadata(self, path: str) -> bytes | None:
        """What is at a path below an API's version; None when nothing is."""
        if path == "user-data":
            return base64.b64decode(str(self._instance.user_data))
        found: Any = self._tree(self._instance)
        for name in filter(None, path.split("/")):
            found = found.get(name) if isinstance(found, dict) else None
        if isinstance(found, dict):
            found = "\n".join(name + "/" * isinstance(found[name], dict) for name in found)
        return None if found is None else found.encode()

    @staticmethod
    def _tree(instance: Any) -> dict[str, Any]:
        zone = f"{instance.region_name}a"
        document = json.dumps({"instanceId": instance.id, "region": instance.region_name})
        card = {"device-number": "0", "interface-id": "eni-1", "local-ipv4s": lan.GUEST, "mac": MAC}
        facts = {
            "ami-id": instance.image_id,
            "hostname": "ip-192-0-2-77.ec2.internal",
            "instance-id": instance.id,
            "instance-type": instance.instance_type,
            "local-hostname": "ip-192-0-2-77.ec2.internal",
            "local-ipv4": lan.GUEST,
            "mac": MAC,
            "network": {"interfaces": {"macs": {MAC: {**card, "subnet-ipv4-cidr-block": "192.0.2.0/24"}}}},
            "placement": {"availability-zone": zone, "region": instance.region_name},
            "public-ipv4": lan.GUEST,
        }
        return {"meta-data": facts, "dynamic": {"instance-identity": {"document": document}}}

    def answer(self, method: str, path: str, headers: Any) -> tuple[int, bytes]:
        """Status and body for a request of a guest's."""
        self.told.append(f"{method} {path}")
        if path == "/latest/api/token":
            right = method == "PUT" and headers.get("X-aws-ec2-metadata-token-ttl-seconds", "").isdigit()
            return (200, self._token.encode()) if right else (400, b"")
        if headers.get("X-aws-ec2-metadata-token") != self._token:
            return 401, b""
        found = self.metadata(path.strip("/").partition("/")[2])
        return (404, b"") if found is None else (200, found)


def _service(host: Host) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            status, body = host.answer(self.command, self.path, self.headers)
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_PUT = _answer

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    return Handler


@contextmanager
def hosting(folder: Path) -> Iterator[Host]:
    """An empty account that hosts guests, on `simulators.lan`; they end with the block.

    Raises:
        ExceptionGroup: at its end, if a guest could not be hosted.
    """
    with ExitStack() as stack:
        aws = stack.enter_context(started())
        aws.reset()
        host = Host(aws, folder)
        lan.address(METADATA)
        service = stack.enter_context(ThreadingHTTPServer((METADATA, 80), _service(host)))
        threading.Thread(target=service.serve_forever, daemon=True).start()
        stack.callback(service.shutdown)
        stack.callback(lambda: [guest.stop() for guest in list(host.guests.values())])
        played = {"run_instances": host.run, "terminate_instances": host.terminate, "create_image": host.create_image}
        for name, play in played.items():
            stack.enter_context(mock.patch.object(EC2Backend, name, partialmethod(_played, play)))
        yield host
        if host.failures:
            raise ExceptionGroup("guests could not be hosted", host.failures)


def _played(backend: Any, play: Callable[..., Any], *args: Any, **named: Any) -> Any:
    return play(backend, *args, **named)
