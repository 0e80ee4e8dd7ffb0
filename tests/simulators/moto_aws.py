"""A stand-in for AWS: moto's server on 127.0.0.1, mended where it lies, with faults that a test orders.

`started()` runs it in this process, where a test can look inside; ``python moto_aws.py`` runs it in one of its own,
prints its URL and ends with its standard input. What moto 5.2 gets wrong without a word, and is mended here:
RegisterImage forgets all but the name and invents a snapshot; CopyImage forgets the tags; a client token does not keep
a second call from making a second thing; a snapshot is complete before it has any data; sizes and checksums of blocks
are not looked at; a command that is sent to an instance runs nowhere. What it lacks and is added: the deprecation of
AMIs.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import logging
import os
import re
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs

# Before moto is imported: a thousand public AMIs, made anew for each test, would be nobody's.
os.environ["MOTO_EC2_LOAD_DEFAULT_AMIS"] = "false"

import boto3
from moto.core.responses import ActionResult
from moto.ebs.models import EBSBackend, ebs_backends
from moto.ec2.responses.amis import AmisResponse
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from moto.ssm.exceptions import SSMException
from moto.ssm.models import SimpleSystemManagerBackend
from werkzeug.serving import WSGIRequestHandler, make_server

BLOCK = 512 * 1024
# As moto has it, for tests of what a stand-in like that does to us.
register_image_of_moto = AmisResponse.register_image
_copy = AmisResponse.copy_image
_start, _complete = EBSBackend.start_snapshot, EBSBackend.complete_snapshot
_send = SimpleSystemManagerBackend.send_command
_WHY = "ordered by the test"
Environ = dict[str, Any]
Respond = Callable[..., Any]
Application = Callable[[Environ, Respond], Iterable[bytes]]
Agent = Callable[[str, str], tuple[int, str, str]]
# What Systems Manager keeps of what a command prints.
_KEPT = 24_000


@dataclass
class Fault:
    """Something that goes wrong.

    Args:
        what: a regular expression for ``METHOD /path?query region Action``, with ``DryRun`` behind it where it is one.
        times: how often, before all is well again.
        status: of the answer; 0 to break the connection.
        code: AWS's word for the error.
        delay: seconds to wait first; with status -1 the request is carried out then.
        lost: carry the request out, and break the connection in place of an answer.
        reason: of a ValidationException.
        when: asked for each request that fits whether to strike.
    """

    what: str
    times: int = 1
    status: int = 0
    code: str = ""
    delay: float = 0.0
    lost: bool = False
    reason: str = ""
    when: Callable[[str], bool] = lambda _line: True


@dataclass
class FaultyAws:
    """moto with faults.

    Args:
        app: moto.
        faults: the first that fits strikes.
        latency: seconds that every request takes at least.
        seen: each request, as faults are matched with.
        agent: runs a script on an instance, given its id: exit code, output, errors; None where no agent is at work.
    """

    app: Application
    faults: list[Fault] = field(default_factory=list)
    latency: float = 0.0
    seen: list[str] = field(default_factory=list)
    url: str = ""
    agent: Agent | None = None
    _answers: dict[tuple[str, str], tuple[Any, bytes]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _once: threading.Lock = field(default_factory=threading.Lock)

    def fail(self, what: str, **fault: Any) -> Fault:
        """Order a fault; see `Fault`."""
        self.faults.append(Fault(what, **fault))
        return self.faults[-1]

    def reset(self) -> None:
        """Forget everything: what was made, what was asked, and what shall go wrong."""
        from moto.moto_api._internal import moto_api_backend

        moto_api_backend.reset()
        self.faults.clear()
        self.seen.clear()
        self._answers.clear()
        self.latency = 0.0
        self.agent = None

    def count(self, what: str) -> int:
        """How many requests matched."""
        return sum(1 for line in self.seen if re.search(what, line))

    def __call__(self, environ: Environ, respond: Respond) -> Iterable[bytes]:
        line = _line(environ)
        fault = self._fault(line)
        time.sleep(self.latency + (fault.delay if fault else 0.0))
        if fault is None and line.endswith("ImportSnapshot DryRun"):  # moto does not have it
            fault = Fault("", status=412, code="DryRunOperation")
        if fault is None:
            fault = _ebs_refuses(line, environ)
        if fault is None or fault.status < 0:
            return self._carried_out(line, environ, respond)
        if fault.lost:
            list(self._carried_out(line, environ, respond))
        if not fault.status or fault.lost:
            _reset(environ)
        return _refusal(line, fault, respond)

    def _carried_out(self, line: str, environ: Environ, respond: Respond) -> Iterable[bytes]:
        token = _token(environ)
        if not token:
            return self.app(environ, respond)
        with self._once:  # a second try may come while the first is carried out
            if (line, token) not in self._answers:
                said: list[Any] = []
                body = b"".join(self.app(environ, lambda *given: said.append(given)))
                self._answers[line, token] = (said[0], body)
        given, body = self._answers[line, token]
        respond(*given)
        return [body]

    def _fault(self, line: str) -> Fault | None:
        with self._lock:
            self.seen.append(line)
            for fault in self.faults:
                if fault.times and re.search(fault.what, line) and fault.when(line):
                    fault.times -= 1
                    return fault
        return None


def _line(environ: Environ) -> str:
    """The request in one line; of the query protocol the action, of JSON the target."""
    action = environ.get("HTTP_X_AMZ_TARGET", "")
    if environ.get("CONTENT_TYPE", "").startswith("application/x-www-form-urlencoded"):
        form = parse_qs(_body(environ).decode())
        action = form.get("Action", [""])[0] + (" DryRun" if form.get("DryRun") == ["true"] else "")
    scope = re.search(r"Credential=[^/]*/\d+/([^/]*)/", environ.get("HTTP_AUTHORIZATION", ""))
    region = scope[1] if scope else "?"
    return f"{environ['REQUEST_METHOD']} {environ['PATH_INFO']}?{environ.get('QUERY_STRING', '')} {region} {action}"


def _body(environ: Environ) -> bytes:
    """The body of a request, which moto can still read afterwards."""
    body: bytes = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
    environ["wsgi.input"] = io.BytesIO(body)
    return body


def _token(environ: Environ) -> str:
    """The client token of a request, empty when it has none; a block of a disk is not searched."""
    if environ["REQUEST_METHOD"] != "POST":
        return ""
    found = re.search(rb'ClientToken(?:=|": *")([A-Za-z0-9-]+)', _body(environ))
    return found[1].decode() if found else ""


def _ebs_refuses(line: str, environ: Environ) -> Fault | None:
    """What EBS itself checks and moto does not."""
    found = re.match(r"(PUT|GET) /snapshots/([^/]+)/blocks|(POST) /snapshots/completion/(\S+)\?", line)
    if not found:
        return None
    snapshot = _snapshot(found[2] or found[4])
    if snapshot is None:
        return Fault("", status=404, code="ResourceNotFoundException", reason="SNAPSHOT_NOT_FOUND")
    pending = snapshot.status == "pending"
    if pending == (found[1] == "GET"):
        return Fault("", status=400, code="ValidationException", reason="INVALID_SNAPSHOT_ID")
    if found[1] == "PUT":
        body = _body(environ)
        right = len(body) == BLOCK and environ.get("HTTP_X_AMZ_CHECKSUM") == _sha256(body)
    elif found[3]:
        digests = [hashlib.sha256(block.block_data).digest() for _, block in sorted(snapshot.blocks.items())]
        right = (environ.get("HTTP_X_AMZ_CHECKSUM"), environ.get("HTTP_X_AMZ_CHANGEDBLOCKSCOUNT")) == (
            _sha256(b"".join(digests)),
            str(len(digests)),
        )
    else:
        right = True
    return None if right else Fault("", status=400, code="ValidationException", reason="INVALID_BLOCK")


def _sha256(data: bytes) -> str:
    return base64.b64encode(hashlib.sha256(data).digest()).decode()


def _snapshot(id: str) -> Any:
    """A snapshot with its blocks, as moto keeps it; None when there is none, or no longer."""
    for account in ebs_backends.values():
        for backend in account.values():
            if id in backend.snapshots and id in backend.ec2_backend.snapshots:
                return backend.snapshots[id]
    return None


def _start_snapshot(self: Any, *args: Any, **named: Any) -> Any:
    made = _start(self, *args, **named)
    self.ec2_backend.snapshots[made.snapshot_id].status = "pending"
    return made


def _complete_snapshot(self: Any, snapshot_id: str) -> str:
    self.ec2_backend.snapshots[snapshot_id].status = "completed"
    return _complete(self, snapshot_id)


def _reset(environ: Environ) -> None:
    connection = environ["werkzeug.socket"]
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.shutdown(socket.SHUT_RDWR)
    raise ConnectionResetError


def _refusal(line: str, fault: Fault, respond: Respond) -> Iterable[bytes]:
    if "/snapshots" in line or "." in line.split(" ", 3)[3]:
        reason = {"Reason": fault.reason} if fault.reason else {}
        body = json.dumps({"__type": fault.code, "message": _WHY, "Message": _WHY, **reason})
        headers = [("Content-Type", "application/json"), ("x-amzn-ErrorType", fault.code)]
    else:
        error = f"<Code>{fault.code}</Code><Message>{_WHY}</Message>"
        body = f"<Response><Errors><Error>{error}</Error></Errors><RequestID>0</RequestID></Response>"
        headers = [("Content-Type", "text/xml")]
    respond(f"{fault.status} Fault", [*headers, ("Content-Length", str(len(body)))])
    return [body.encode()]


def _register_image(self: Any) -> ActionResult:
    """RegisterImage that keeps what it is told."""
    self.error_on_dryrun()
    backend, given = self.ec2_backend, self._get_param
    mappings = given("BlockDeviceMappings") or []
    root = next((one for one in mappings if one.get("DeviceName") == given("RootDeviceName")), {})
    wanted = root.get("Ebs", {}).get("SnapshotId")
    snapshot = backend.get_snapshot(wanted) if wanted else None
    if any(image.name == given("Name") for image in backend.describe_images(owners=["self"])):
        from moto.ec2.exceptions import EC2ClientError

        raise EC2ClientError("InvalidAMIName.Duplicate", f"AMI name {given('Name')} is already in use")
    image = backend.register_image(given("Name"), given("Description", ""))
    image.root_device_name, image.root_device_type = given("RootDeviceName") or "/dev/sda1", "ebs"
    image.architecture, image.boot_mode = given("Architecture") or "i386", given("BootMode")
    image.virtualization_type = given("VirtualizationType") or "paravirtual"
    if snapshot:
        backend.snapshots.pop(image.ebs_snapshot.id, None)
        image.ebs_snapshot = snapshot
    _tag(self, image)
    return ActionResult({"ImageId": image.id})


def _copy_image(self: Any) -> ActionResult:
    """CopyImage that tags what it makes."""
    answer = _copy(self)
    image = self.ec2_backend.amis[answer.result["ImageId"]]
    _tag(self, image)
    return answer


def _enable_image_deprecation(self: Any) -> ActionResult:
    self.error_on_dryrun()
    (image,) = self.ec2_backend.describe_images(ami_ids=[self._get_param("ImageId")])
    image.deprecation_time = self._get_param("DeprecateAt")
    return ActionResult({"Return": True})


def _disable_image_deprecation(self: Any) -> ActionResult:
    self.error_on_dryrun()
    (image,) = self.ec2_backend.describe_images(ami_ids=[self._get_param("ImageId")])
    image.deprecation_time = None
    return ActionResult({"Return": True})


def _commanded(aws: FaultyAws) -> Callable[..., Any]:
    """SendCommand that is carried out, by the agent that a test plays."""

    def send_command(self: Any, **given: Any) -> Any:
        (instance,) = given["instance_ids"]
        script = "\n".join(given["parameters"]["commands"])
        if aws.agent is None:
            raise SSMException("InvalidInstanceId", "Instances not in a valid state for account")
        if "{{" in script:
            raise SSMException("InvalidParameters", "what stands in double braces is no parameter")
        command = _send(self, **given)
        (invocation,) = command.invocations
        invocation["Status"] = "InProgress"
        threading.Thread(target=_obey, args=(aws.agent, instance, script, invocation), daemon=True).start()
        return command

    return send_command


def _obey(agent: Agent, instance: str, script: str, invocation: dict[str, Any]) -> None:
    code, output, errors = agent(instance, script)
    invocation |= {"StandardOutputContent": output[:_KEPT], "StandardErrorContent": errors[:_KEPT]}
    invocation |= {"ResponseCode": code, "Status": "Failed" if code else "Success"}


def _tag(self: Any, image: Any) -> None:
    """Tag an AMI and its snapshot as a request asks for."""
    of = {"image": image, "snapshot": image.ebs_snapshot}
    for tags in self._get_param("TagSpecifications") or []:
        of[tags["ResourceType"]].add_tags({tag["Key"]: tag["Value"] for tag in tags.get("Tags", [])})


class Session(boto3.Session):
    """Makes each client once, as making one costs more than all that is asked of it here."""

    def __init__(self) -> None:
        super().__init__(aws_access_key_id="testing", aws_secret_access_key="testing")
        self._made: dict[tuple[str, str], Any] = {}

    def client(self, service: str, region_name: str = "", **more: Any) -> Any:  # type: ignore[override]
        """See boto3."""
        if (service, region_name) not in self._made:
            self._made[service, region_name] = super().client(service, region_name=region_name, **more)
        return self._made[service, region_name]


class _Quiet(WSGIRequestHandler):
    def log(self, type: str, message: str, *args: Any) -> None:
        """Say nothing: what went wrong is the client's to tell."""


def _server() -> tuple[Any, FaultyAws]:
    AmisResponse.register_image, AmisResponse.copy_image = _register_image, _copy_image
    AmisResponse.enable_image_deprecation = _enable_image_deprecation
    AmisResponse.disable_image_deprecation = _disable_image_deprecation
    EBSBackend.start_snapshot, EBSBackend.complete_snapshot = _start_snapshot, _complete_snapshot
    logging.getLogger("werkzeug").setLevel(logging.CRITICAL)
    aws = FaultyAws(DomainDispatcherApplication(create_backend_app))
    SimpleSystemManagerBackend.send_command = _commanded(aws)
    server = make_server("127.0.0.1", 0, aws, threaded=True, request_handler=_Quiet)
    aws.url = f"http://127.0.0.1:{server.server_port}"
    return server, aws


@contextmanager
def started() -> Iterator[FaultyAws]:
    """A server in this process."""
    server, aws = _server()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield aws
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def main() -> None:
    """Serve until standard input ends; the one argument is the latency in seconds."""
    server, aws = _server()
    aws.latency = float(sys.argv[1]) if len(sys.argv) > 1 else 0.0
    threading.Thread(target=server.serve_forever, daemon=True).start()
    sys.stdout.write(f"{aws.url}\n")
    sys.stdout.flush()
    sys.stdin.read()


if __name__ == "__main__":
    main()
