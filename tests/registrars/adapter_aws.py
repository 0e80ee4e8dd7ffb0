"""The registrar of the target aws over the shared suite, against moto's server."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import adapters
import pytest
from botocore.client import BaseClient
from botocore.exceptions import ClientError, ConnectionClosedError
from simulators import moto_aws

from skyvypack import disk
from skyvypack.registrar import Template
from skyvypack.registrar.retry import Patience
from skyvypack.targets import settings_rules
from skyvypack.targets.aws.ec2 import images, instances, region, snapshots

# Each registration converts a disk with qemu-img.
MARKS = (pytest.mark.tool,)
HOME = "eu-central-1"
_READING = ("Describe", "Get", "List")


class Adapter(adapters.Adapter):
    """See `adapters.Adapter`."""

    target = "aws"

    def __init__(self, aws: moto_aws.FaultyAws, session: moto_aws.Session) -> None:
        self.aws = aws
        self.session = session

    def settings(self) -> dict[str, Any]:
        defaults = {name: rule["default"] for name, rule in settings_rules("aws").items()}
        return {**defaults, "region": HOME, "endpoint": self.aws.url}

    def environment(self) -> dict[str, str]:
        keys = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing"}
        return {**keys, "AWS_EC2_METADATA_DISABLED": "true", "AWS_CONFIG_FILE": "/nowhere"}

    def client(self, service: str) -> Any:
        """A client of the test's own."""
        return self.session.client(service, HOME, endpoint_url=self.aws.url)

    def objects(self) -> Mapping[str, str]:
        ec2, ssm = self.client("ec2"), self.client("ssm")
        found = {one["ImageId"]: str(one) for one in ec2.describe_images(Owners=["self"])["Images"]}
        found |= {one["SnapshotId"]: str(one) for one in ec2.describe_snapshots(OwnerIds=["self"])["Snapshots"]}
        for reservation in ec2.describe_instances()["Reservations"]:
            for one in reservation["Instances"]:
                if one["State"]["Name"] != "terminated":
                    found[one["InstanceId"]] = one["ImageId"]
        groups = ec2.describe_security_groups()["SecurityGroups"]
        found |= {one["GroupId"]: str(one) for one in groups if one["GroupName"] != "default"}
        return found | {one["Name"]: str(one) for one in ssm.describe_parameters()["Parameters"]}

    def use(self, template: Template) -> str:
        self.client("ec2").run_instances(ImageId=template.id, MinCount=1, MaxCount=1)
        return "instance i-"

    @staticmethod
    @contextmanager
    def hooked(before: adapters.Hook, after: adapters.Hook = adapters.ignore) -> Iterator[None]:
        call = BaseClient._make_api_call

        def watched(self: Any, operation: str, params: dict[str, Any]) -> Any:
            if operation.startswith(_READING) or params.get("DryRun"):
                return call(self, operation, params)
            before(operation)
            answer = call(self, operation, params)
            after(operation)
            return answer

        with mock.patch.object(BaseClient, "_make_api_call", watched):
            yield

    @staticmethod
    def transient() -> Exception:
        return ConnectionClosedError(endpoint_url="http://127.0.0.1")

    @staticmethod
    def permanent() -> Exception:
        return ClientError(
            {"Error": {"Code": "UnauthorizedOperation", "Message": "You are not authorized"}}, "Anything"
        )

    def write_disk(self, path: Path, content: bytes) -> None:
        raw = path.with_suffix(".raw")
        with raw.open("wb") as handle:
            handle.truncate(2 << 20)
            handle.write(content)
        disk.convert(raw, path, "qcow2")
        raw.unlink()


@contextmanager
def running(folder: Path) -> Iterator[Adapter]:
    """An empty account, in no hurry to do anything but answer."""
    with ExitStack() as stack:
        aws = stack.enter_context(moto_aws.started())
        aws.reset()
        session = moto_aws.Session()
        stack.enter_context(mock.patch("boto3.Session", return_value=session))
        stack.enter_context(mock.patch.object(region, "ATTEMPTS", 1))
        stack.enter_context(mock.patch.object(region, "PATIENCE", Patience(seconds=20.0, first=0.001, longest=0.01)))
        for module in (images, instances, snapshots):
            stack.enter_context(mock.patch.object(module, "PAUSE", 0.01))
        yield Adapter(aws, session)
