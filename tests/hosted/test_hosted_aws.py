"""An AMI is proven by an instance that boots from the blocks which its snapshot holds."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from hosted.conftest import PATIENCE, artifact_of, facts, for_packer, skyvypack, spec_of
from simulators.ec2_host import Host, hosting
from simulators.lan import GUEST

from skyvypack import artifact

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "aws.yaml"
KEYS = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing", "AWS_EC2_METADATA_DISABLED": "true"}
HOME, ABROAD = "eu-central-1", "eu-west-1"
WORDS = ["--target", "aws", "--channel", "stable", "--patience", str(PATIENCE), "--json"]
# What a stand-in for AWS does not answer.
SKIPPED = {"skip_region_validation": True, "skip_metadata_api_check": True, "skip_credential_validation": True}
pytestmark = pytest.mark.boot


@pytest.fixture(scope="session")
def baked() -> Path:
    """What ``skyvypack bake --spec examples/aws.yaml --target aws --no-register`` has made."""
    output = os.environ.get("SKYVYPACK_TEST_OUTPUT")
    found = sorted(Path(output).glob("skyvyos-web-*-aws/manifest.json")) if output else []
    if not found:
        pytest.skip("SKYVYPACK_TEST_OUTPUT names no folder with a template of examples/aws.yaml")
    return found[-1].parent


@pytest.fixture
def ec2(network: None, tmp_path: Path) -> Iterator[Host]:
    with hosting(tmp_path / "ec2") as host:
        yield host


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """Credentials, and a state of its own."""
    return {**KEYS, "SKYVYPACK_STATE": str(tmp_path / "state")}


@pytest.fixture
def spec(ec2: Host, tmp_path: Path) -> Callable[..., Path]:
    """Writes the example's spec, for the account that is simulated: ``spec(version="1.1.0", users=[…])``."""

    def write(changes: Mapping[str, Any] | None = None, **settings: Any) -> Path:
        text = {**yaml.safe_load(EXAMPLE.read_text()), **(changes or {})}
        text["targets"]["aws"] |= {"endpoint": ec2.aws.url, **settings}
        path = tmp_path / f"{text['version']}.yaml"
        path.write_text(yaml.safe_dump(text))
        return path

    return write


def of_account(ec2: Host, service: str, region: str = HOME) -> Any:
    return ec2.session.client(service, region, endpoint_url=ec2.aws.url)


def test_an_instance_of_the_ami_keeps_the_contract(baked: Path, ec2: Host, spec: Any, environment: Any) -> None:
    """Upload, AMI, launch, first boot with user-data from EC2's own metadata service, contract over SSH, reboot,
    contract, termination, copy, channel: in one command, and nothing is left but AMI, copy and channel."""
    found = facts(skyvypack("register", baked, "--spec", spec(), *WORDS, environment=environment))
    assert len(ec2.launched) == 1, "one instance, once"
    assert "PUT /latest/api/token" in ec2.told
    assert any(line.endswith("/user-data") for line in ec2.told)
    assert ec2.blocks == ec2.aws.count("PUT /snapshots/.*/blocks/"), "all that was sent was read, and once"
    assert artifact.load(baked).file("qcow2").sha256 in found["template"]["digest"]
    assert_only_amis_and_channels(ec2, found["template"]["id"], HOME, ABROAD)


def test_an_instance_that_no_ssh_reaches_keeps_the_contract(
    baked: Path, ec2: Host, spec: Any, environment: Any, tmp_path: Path
) -> None:
    """The same by Systems Manager alone; its agent is played by who runs what it is sent in the guest, as root."""
    of_account(ec2, "iam").create_instance_profile(InstanceProfileName="managed")
    ec2.aws.agent = Agent(tmp_path / "cache")
    path = spec(access="ssm", instance_profile="managed", regions=[])
    environment["SKYVYPACK_CACHE"] = str(tmp_path / "cache")
    found = facts(skyvypack("register", baked, "--spec", path, *WORDS, environment=environment))
    skipped = {check["test"] for check in found["report"]["checks"] if check["outcome"] == "skipped"}
    assert "test_the_ports_asked_for_answer_from_outside" in skipped
    assert ec2.aws.count("SendCommand") > 100
    assert ec2.aws.count("AuthorizeSecurityGroupIngress$") == 0
    assert_only_amis_and_channels(ec2, found["template"]["id"], HOME)


def test_packers_build_on_ec2_boots_and_keeps_the_contract(
    baked: Path, ec2: Host, roles: list[Any], spec: Any, environment: Any, tmp_path: Path
) -> None:
    """`bake` with an AMI as its base: Packer starts it, configures and seals it by SSH; what it made is marked, proven
    by an instance of it, copied and pointed to; the source stays as it is."""
    first = spec(regions=[])
    # Not the quickstart's disk: its clones do not look for EC2.
    source = for_packer(artifact.load(baked).file("qcow2").path, tmp_path)
    folder = artifact_of(source, spec_of(first), "aws", tmp_path / "artifact")
    words = ["--spec", first, "--target", "aws", "--no-verify"]
    stands = skyvypack("register", folder, *words, environment=environment)
    assert stands.returncode == 0, stands.stderr
    # A copy that moto makes of an AMI has no blocks, so the AMI that is proven must not be an encrypted copy.
    own = {"source_owners": ["self"], "arguments": SKIPPED, "ssh_timeout": "30m", "encrypt": False}
    changes = {"version": "2.0.0", "base": {"kind": "clone", "source": "skyvyos-web-1.0.*"}, "roles": roles}
    path = spec(changes, **own)
    found = facts(skyvypack("bake", "--spec", path, *WORDS, "--output", tmp_path / "output", environment=environment))
    built, proven = ec2.launched
    assert built != proven
    images = of_account(ec2, "ec2").describe_images(Owners=["self"])["Images"]
    assert sorted(image["Name"] for image in images) == ["skyvyos-web-1.0.0", "skyvyos-web-2.0.0"]
    assert found["template"]["digest"].startswith("bundle:")
    (copy,) = of_account(ec2, "ec2", ABROAD).describe_images(Owners=["self"])["Images"]
    assert copy["Name"] == "skyvyos-web-2.0.0"
    assert_nothing_runs(ec2, HOME, ABROAD)


def assert_only_amis_and_channels(ec2: Host, image: str, *regions: str) -> None:
    """One AMI in each region, which the channel there points to."""
    for region in regions:
        (found,) = of_account(ec2, "ec2", region).describe_images(Owners=["self"])["Images"]
        parameter = of_account(ec2, "ssm", region).get_parameter(Name="/skyvypack/skyvyos-web/stable")["Parameter"]
        assert parameter["Value"] == found["ImageId"]
        assert (found["ImageId"] == image) is (region == HOME)
    assert_nothing_runs(ec2, *regions)


def assert_nothing_runs(ec2: Host, *regions: str) -> None:
    """No guest, no instance, no security group."""
    assert ec2.guests == {}
    for region in regions:
        client = of_account(ec2, "ec2", region)
        instances = [one for group in client.describe_instances()["Reservations"] for one in group["Instances"]]
        assert {one["State"]["Name"] for one in instances} <= {"terminated"}
        assert [one["GroupName"] for one in client.describe_security_groups()["SecurityGroups"]] == ["default"]


class Agent:
    """Amazon's SSM Agent, played over SSH with the key that the verification has made.

    Args:
        cache: where the verification has its folder.
    """

    def __init__(self, cache: Path) -> None:
        self.cache = cache

    def __call__(self, _instance: str, script: str) -> tuple[int, str, str]:
        """Run a script in the guest, as root."""
        (key,) = self.cache.glob("runs/*/clone/id_ed25519")
        control = {"ControlMaster": "auto", "ControlPath": self.cache / "agent", "ControlPersist": "60"}
        known = {"StrictHostKeyChecking": "no", "UserKnownHostsFile": "/dev/null", "LogLevel": "ERROR"}
        patience = {"ConnectTimeout": "30", "ServerAliveInterval": "10", "ServerAliveCountMax": "6"}
        options = [f"-o{name}={value}" for name, value in {**control, **known, **patience}.items()]
        argv = ["ssh", "-i", key, *options, f"skyvy-verify@{GUEST}", "sudo", "sh"]
        done = subprocess.run(argv, input=script, capture_output=True, text=True, check=False)
        return done.returncode, done.stdout, done.stderr
