"""`bake --target aws` with a base on EC2: Packer's own builder, then copies, shares, proof and channel.

moto's record of an AMI that Packer makes has no blocks and none of its settings; tests/hosted has guests that boot.
"""

from __future__ import annotations

import gzip
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from simulators import moto_aws
from simulators.ssh_guest import Guest, Reply
from test_bake_on_platform import APPLY, HANG_UP, SEAL, WAIT, FakeProver, Site, _no_pause, guest  # noqa: F401

from skyvypack import disk
from skyvypack.artifact import DiskFile, write_manifest
from skyvypack.bake import BakeResult
from skyvypack.errors import BakeFailed, ContractFailed
from skyvypack.registrar import deliver, describe, reap
from skyvypack.spec.model import Spec
from skyvypack.targets.aws.ec2 import images, instances

pytestmark = pytest.mark.tool

HOME, ABROAD = "eu-central-1", "eu-west-1"
ALIEN = "111122223333"
SKIPPED = {"skip_region_validation": True, "skip_metadata_api_check": True, "skip_credential_validation": True}
BASE = {"kind": "clone", "source": "debian-13-amd64-*"}
SOURCE = "debian-13-amd64-20260101"


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[moto_aws.FaultyAws]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("SKYVYPACK_STATE", str(tmp_path / "state"))
    for module in (images, instances):
        monkeypatch.setattr(module, "PAUSE", 0.01)
    with moto_aws.started() as served:
        served.reset()
        yield served


@pytest.fixture
def client(aws: moto_aws.FaultyAws) -> Callable[..., Any]:
    session = moto_aws.Session()
    return lambda service, region=HOME: session.client(service, region, endpoint_url=aws.url)


@pytest.fixture
def site(aws: moto_aws.FaultyAws, client: Any, guest: Guest, tmp_path: Path) -> Site:  # noqa: F811
    """An account with one AMI of Debian's."""
    mapping = {"DeviceName": "/dev/xvda", "Ebs": {"VolumeSize": 8}}
    facts = {"Architecture": "x86_64", "VirtualizationType": "hvm", "RootDeviceName": "/dev/xvda"}
    client("ec2").register_image(Name=SOURCE, BlockDeviceMappings=[mapping], **facts)
    where = {"region": HOME, "endpoint": aws.url, "source_owners": ["self"], "regions": [ABROAD], "users": [ALIEN]}
    return Site("aws", {**where, "tags": {"team": "web"}}, guest, tmp_path, SKIPPED)


def seal(client: Any) -> Callable[[], Reply]:
    """What sealing does: the instance that Packer runs stops."""

    def stop() -> Reply:
        found = client("ec2").describe_instances(Filters=[{"Name": "instance-state-name", "Values": ["running"]}])
        client("ec2").stop_instances(InstanceIds=[found["Reservations"][0]["Instances"][0]["InstanceId"]])
        return HANG_UP

    return stop


def left(client: Any, region: str = HOME) -> list[str]:
    """Names of the AMIs in a region, after seeing that nothing else is there."""
    ec2 = client("ec2", region)
    found = [one for group in ec2.describe_instances()["Reservations"] for one in group["Instances"]]
    assert {one["State"]["Name"] for one in found} <= {"terminated"}
    assert [group["GroupName"] for group in ec2.describe_security_groups()["SecurityGroups"]] == ["default"]
    made = ec2.describe_images(Owners=["self"])["Images"]
    assert len(ec2.describe_snapshots(OwnerIds=["self"])["Snapshots"]) == len(made)
    return sorted(image["Name"] for image in made)


def permitted(client: Any, image: str, region: str = HOME) -> list[str]:
    """Accounts that may launch an AMI."""
    told = client("ec2", region).describe_image_attribute(ImageId=image, Attribute="launchPermission")
    return [one["UserId"] for one in told["LaunchPermissions"]]


def test_an_ami_of_packers_is_proven_copied_shared_and_pointed_to(site: Site, client: Any) -> None:
    """Instance, configuration, seal, AMI; then our marks on it and its snapshot, a proof, a copy, shares, channels."""
    spec: Spec = site.spec(BASE)
    prover = FakeProver()
    done = site.bake(spec, {APPLY: lambda: HANG_UP, SEAL: seal(client)}, prover).registration
    assert done.complete
    assert len(prover.guests) == 1
    (template,) = describe(spec, "aws")
    assert (template.verified, template.channels) == (True, ("stable",))
    assert template.digest.startswith("bundle:")
    assert [job.name for job in done.jobs] == [f"copy to {ABROAD}", f"share in {HOME}", f"share in {ABROAD}"]
    copy = done.jobs[0].stands
    assert (left(client), left(client, ABROAD)) == ([SOURCE, "web-1.0.0"], ["web-1.0.0"])
    assert permitted(client, template.id) == permitted(client, copy, ABROAD) == [ALIEN]
    for region, image in ((HOME, template.id), (ABROAD, copy)):
        pointed = client("ssm", region).get_parameter(Name="/skyvypack/web/stable")["Parameter"]["Value"]
        assert pointed == image
        (described,) = client("ec2", region).describe_images(ImageIds=[image])["Images"]
        assert {"team", "skyvypack:digest", "skyvypack:verified"} <= {tag["Key"] for tag in described["Tags"]}
    assert reap("aws") == ()


def test_an_ami_of_packers_that_breaks_the_contract(site: Site, client: Any) -> None:
    """It goes again with its snapshot, and so does the instance that showed it; what stood before stands."""
    with pytest.raises(ContractFailed):
        site.bake(site.spec(BASE), {APPLY: lambda: HANG_UP, SEAL: seal(client)}, FakeProver(passes=False))
    assert left(client) == [SOURCE]
    assert reap("aws") == ()


def test_a_disk_that_packer_writes_to_an_ami(
    site: Site, client: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With `surrogate` the disk is baked here, goes up compressed, and a helper instance writes it.

    moto makes the snapshot of the written volume, but knows nothing of what is on it.
    """
    site.settings |= {"surrogate": True, "regions": []}
    spec = site.spec({"kind": "bootstrap"})
    raw, made = tmp_path / "web.raw", tmp_path / "made" / "web-1.0.0.qcow2"
    raw.write_bytes(b"a disk".ljust(1 << 20, b"\0"))
    made.parent.mkdir()
    disk.convert(raw, made, "qcow2")
    file = DiskFile(made, "qcow2", made.stat().st_size, disk.sha256(made))
    nothing: dict[str, Any] = {"inputs": {}, "packages": (), "timings": {}, "tools": {}, "accelerator": {}}
    artifact = write_manifest(made.parent, [file], spec, "aws", **nothing, checks=[])
    monkeypatch.setattr(deliver, "bake", lambda *_, **__: BakeResult(artifact))
    done = site.bake(spec, {}).registration
    packed = site.guest.files["/home/packer/disk.raw.gz"].encode(errors="surrogateescape")
    assert gzip.decompress(packed) == raw.read_bytes()
    assert any("the disk could not be written" in script for script in site.guest.scripts)
    assert done.complete
    assert done.template.digest == f"sha256:{file.sha256}"
    assert describe(spec, "aws")[0].channels == ("stable",)
    assert left(client) == [SOURCE, "web-1.0.0"]
    again = site.bake(spec, {}).registration
    assert again.unchanged


def test_a_configuration_that_fails_on_ec2(site: Site, client: Any) -> None:
    """It is told in the guest's words; Packer's instance and group are gone, and nothing is open."""
    with pytest.raises(BakeFailed, match="cloud-init failed"):
        site.bake(
            site.spec(BASE), {APPLY: lambda: HANG_UP, WAIT: lambda: Reply(1, "skyvypack: error: cloud-init failed\n")}
        )
    assert left(client) == [SOURCE]
    assert reap("aws") == ()


def test_packer_is_not_told_of_copies_and_a_region_that_fails_fails_alone(
    site: Site, client: Any, aws: moto_aws.FaultyAws
) -> None:
    """The AMI stands, shared and pointed to at home; the other region keeps what its channel had."""
    aws.fail(f"{ABROAD} CopyImage$", status=400, code="ResourceLimitExceeded")
    done = site.bake(site.spec(BASE), {APPLY: lambda: HANG_UP, SEAL: seal(client)}).registration
    assert {job.name: bool(job.error) for job in done.jobs} == {
        f"copy to {ABROAD}": True,
        f"share in {HOME}": False,
        f"share in {ABROAD}": True,
    }
    assert describe(site.spec(BASE), "aws")[0].channels == ("stable",)
    assert (left(client), left(client, ABROAD)) == ([SOURCE, "web-1.0.0"], [])
