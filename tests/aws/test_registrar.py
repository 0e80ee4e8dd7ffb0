"""What the registrar of the target aws asks of AWS for an AMI and for its proof, and what it refuses before asking."""

from __future__ import annotations

import base64
import gzip
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from aws.conftest import HOME, Asked, blocks_of, data_of
from aws.orders import ALIEN, at_work, broken_off, jobs_done, one, registered, tags_of
from botocore.stub import Stubber
from moto.ec2.responses.amis import AmisResponse
from simulators import moto_aws
from simulators.moto_aws import FaultyAws

from skyvypack.errors import InputError
from skyvypack.progress import Event, Progress
from skyvypack.registrar import Journal
from skyvypack.registrar.contract import Order
from skyvypack.registrar.deliver import PackerOnPlatform
from skyvypack.spec.model import Base
from skyvypack.targets.aws.ec2 import images, marks, snapshots
from skyvypack.targets.aws.ec2.region import AwsError
from skyvypack.targets.aws.registrar import connect

pytestmark = pytest.mark.tool


def test_the_snapshot_of_an_ami_is_the_disk(made_of: Any, disk: Path, session: Any) -> None:
    """Read back block by block, the registered AMI's snapshot is what was baked."""
    order = made_of()
    template = registered(order)
    with connect(order.settings, Progress()) as registrar:
        image = images.look(registrar.region, template.id)
        assert image is not None
        (mapping,) = image["BlockDeviceMappings"]
        assert blocks_of(registrar.region, mapping["Ebs"]["SnapshotId"]) == data_of(disk)


def test_what_is_asked_for_an_ami(made_of: Any, asked: Asked) -> None:
    """UEFI where it can, ENA, gp3, IMDSv2 only; the tags say what it is; the snapshot lives for a day unfinished."""
    order = made_of(tags={"team": "platform"})
    template = registered(order)
    start = one(asked, "StartSnapshot")
    assert (start["VolumeSize"], start["Timeout"]) == (4, 1440)
    assert start["ClientToken"].startswith(template.run)
    assert "Encrypted" not in start
    image = one(asked, "RegisterImage")
    assert image["Name"] == "web-1.0.0"
    assert (image["Architecture"], image["VirtualizationType"]) == ("x86_64", "hvm")
    assert (image["BootMode"], image["ImdsSupport"], image["EnaSupport"]) == ("uefi-preferred", "v2.0", True)
    assert "TpmSupport" not in image
    (root,) = image["BlockDeviceMappings"]
    assert root["DeviceName"] == image["RootDeviceName"] == "/dev/xvda"
    ebs = root["Ebs"]
    assert (ebs["VolumeType"], ebs["VolumeSize"], ebs["DeleteOnTermination"]) == ("gp3", 4, True)
    (specification,) = image["TagSpecifications"]
    assert specification["ResourceType"] == "image"
    for tags in (tags_of(specification["Tags"]), tags_of(start["Tags"])):
        assert tags["team"] == "platform"
        assert tags["Name"] == "web-1.0.0"
        assert tags["skyvypack:digest"] == order.digest
        assert tags["skyvypack:run"] == template.run


@pytest.mark.parametrize(
    ("module", "name", "played", "missing"),
    [
        (AmisResponse, "register_image", moto_aws.register_image_of_moto, "the tags"),
        (moto_aws, "_tag", lambda _response, _image: None, "the tags"),
        (marks, "snapshots_of", lambda _image: ["snap-another"], "the snapshot snap-"),
    ],
)
def test_an_ami_that_is_not_what_was_asked_for(
    module: Any, name: str, played: Any, missing: str, made_of: Any, session: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where RegisterImage forgets what it was told, as plain moto's does, the error says so and nothing is left."""
    monkeypatch.setattr(module, name, played)
    monkeypatch.setattr(images, "SHOWN_SECONDS", 0.05)
    order = made_of()
    with pytest.raises(AwsError, match=f"is without {missing}") as raised:
        registered(order)
    assert f"{order.settings['endpoint']} does not keep" in raised.value.hint
    ec2 = session.client("ec2", HOME)
    assert ec2.describe_images(Owners=["self"])["Images"] == []
    assert ec2.describe_snapshots(OwnerIds=["self"])["Snapshots"] == []
    assert Journal("aws").unfinished() == {}


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ({"firmware": "bios"}, {"BootMode": "legacy-bios"}),
        ({"tpm": True}, {"BootMode": "uefi", "TpmSupport": "v2.0"}),
        ({"imdsv2": False}, {"ImdsSupport": None}),
        ({"description": "mine"}, {"Description": "mine"}),
    ],
)
def test_settings_reach_the_request(given: Any, wanted: Any, made_of: Any) -> None:
    """Each setting is one argument of RegisterImage."""
    asked = images.request(made_of(**given), "snap-1", 4, "run")
    assert {key: asked.get(key) for key in wanted} == wanted


def test_a_fast_disk(made_of: Any) -> None:
    """IOPS and throughput are named when the spec names them, and left to EC2 otherwise."""
    ebs = images.request(made_of(iops=4000, throughput=250), "s", 4, "r")["BlockDeviceMappings"][0]["Ebs"]
    assert (ebs["Iops"], ebs["Throughput"]) == (4000, 250)
    assert not {"Iops", "Throughput"} & images.request(made_of(), "s", 4, "r")["BlockDeviceMappings"][0]["Ebs"].keys()


def test_encryption_takes_the_keys_arn(made_of: Any, asked: Asked, session: Any) -> None:
    """A key may be named as one likes; StartSnapshot gets its ARN, and each copy the key of its region."""
    with Stubber(session.client("kms", HOME, endpoint_url="http://127.0.0.1")) as kms:
        arn = f"arn:aws:kms:{HOME}:{ALIEN}:key/1"
        kms.add_response("describe_key", {"KeyMetadata": {"KeyId": "1", "Arn": arn}}, {"KeyId": "alias/images"})
        order = made_of(encrypt=True, kms_key="alias/images", regions=["eu-west-1"], region_kms_keys={"eu-west-1": "k"})
        template = registered(order)
    start = one(asked, "StartSnapshot")
    assert (start["Encrypted"], start["KmsKeyArn"]) == (True, arn)
    jobs_done(order, template)
    copy = one(asked, "CopyImage")
    assert (copy["Encrypted"], copy["KmsKeyId"]) == (True, "k")


def test_the_instance_that_proves_an_ami(made_of: Any, asked: Asked) -> None:
    """IMDSv2, a group of its own that only TCP passes, user-data as given; all of it is gone afterwards."""
    order = made_of()
    template = registered(order)
    with at_work(order, []) as (registrar, run):
        with run.temporary():
            guest = registrar.boot(template, "#cloud-config\n{}\n", run)
            assert guest.address
        assert run.open_entries() == ()
    launch = one(asked, "RunInstances")
    assert base64.b64decode(launch["UserData"]).decode() == "#cloud-config\n{}\n"
    assert launch["MetadataOptions"]["HttpTokens"] == "required"
    assert (launch["MinCount"], launch["MaxCount"], launch["ImageId"]) == (1, 1, template.id)
    (rule,) = one(asked, "AuthorizeSecurityGroupIngress")["IpPermissions"]
    assert rule["IpProtocol"] == "tcp"
    names = [name for name, _ in asked]
    assert names.index("TerminateInstances") < names.index("DeleteSecurityGroup")


def test_given_groups_and_networks_are_used(made_of: Any, asked: Asked, session: Any) -> None:
    """With groups and a subnet of the user's, none is made."""
    ec2 = session.client("ec2", HOME, endpoint_url=made_of().settings["endpoint"])
    subnet = ec2.describe_subnets()["Subnets"][0]
    ec2.create_tags(Resources=[subnet["SubnetId"]], Tags=[{"Key": "use", "Value": "images"}])
    group = ec2.create_security_group(GroupName="given", Description="d", VpcId=subnet["VpcId"])["GroupId"]
    order = made_of(subnet_tags={"use": "images"}, security_group_ids=[group], public_ip=False)
    template = registered(order)
    with at_work(order, []) as (registrar, run), run.temporary():
        registrar.boot(template, "#cloud-config\n{}\n", run)
    (card,) = one(asked, "RunInstances")["NetworkInterfaces"]
    assert (card["Groups"], card["SubnetId"]) == ([group], subnet["SubnetId"])
    assert card["AssociatePublicIpAddress"] is False
    assert sum(name == "CreateSecurityGroup" for name, _ in asked) == 1


def test_user_data_is_packed_or_refused_before_anything_is_made(made_of: Any, asked: Asked) -> None:
    """16 KiB hold what they can, compressed; what does not fit then is an error that makes nothing."""
    order = made_of()
    template = registered(order)
    large = "#cloud-config\n" + "# filler\n" * 3000
    with at_work(order, []) as (registrar, run), run.temporary():
        registrar.boot(template, large, run)
    assert gzip.decompress(base64.b64decode(one(asked, "RunInstances")["UserData"])).decode() == large
    before = len(asked)
    noise = "#cloud-config\n# " + base64.b64encode(bytes(range(256)) * 100).decode()[:9]
    noise += "".join(chr(33 + number * number * 7919 % 89) for number in range(60_000))
    with at_work(order, []) as (registrar, run), pytest.raises(InputError, match="compressed"):
        registrar.boot(template, noise + str([hash((n, "x")) for n in range(4000)]), run)
    assert not [name for name, _ in asked[before:] if name in ("CreateSecurityGroup", "RunInstances")]


@pytest.fixture
def packed(made_of: Any, session: Any) -> Order:
    """An order of an AMI that Packer has made."""
    order = made_of()
    ec2 = session.client("ec2", HOME, endpoint_url=order.settings["endpoint"])
    instance = ec2.run_instances(MinCount=1, MaxCount=1)["Instances"][0]["InstanceId"]
    image = ec2.create_image(InstanceId=instance, Name="web-1.0.0")["ImageId"]
    return replace(order, disk=None, source=image, digest="bundle:1")


def test_what_packer_made_is_marked(packed: Order, asked: Asked) -> None:
    """An AMI of a remote bake becomes ours by its tags, its snapshots too; nothing is sent."""
    template = registered(packed)
    assert (template.id, template.digest, template.version) == (packed.source, "bundle:1", "1.0.0")
    assert len(one(asked, "CreateTags")["Resources"]) == 2
    assert not any(name == "StartSnapshot" for name, _ in asked)
    with pytest.raises(AwsError, match="no AMI ami-0"):
        registered(replace(packed, source="ami-00000000000000000"))


@pytest.mark.parametrize("known", ["by its name", "by its id", "by our tags"])
def test_what_packer_made_is_undone_with_its_snapshot(known: str, packed: Order, session: Any) -> None:
    """Whether a run broke off before its id was known, before it carried our tags, or later; another's AMI stays."""
    ec2 = session.client("ec2", HOME)
    ec2.register_image(Name="another", RootDeviceName="/dev/xvda")
    with at_work(packed, []) as (registrar, run):
        entry = registrar.expect(packed, run)
        if known != "by its name":
            run.made(entry, packed.source)
        if known == "by our tags":
            registrar.register(packed, run)
    assert [image["Name"] for image in ec2.describe_images(Owners=["self"])["Images"]] == ["another"]
    assert len(ec2.describe_snapshots(OwnerIds=["self"])["Snapshots"]) == 1


def test_packer_is_not_told_of_what_comes_later(made_of: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Copies and shares of a remote bake are jobs, so they are not in what Packer gets."""
    monkeypatch.setattr("skyvypack.packer.installed", lambda: "1.6.6")
    spec = made_of(regions=["eu-west-1"], users=[ALIEN]).spec
    spec = replace(spec, base=Base("clone", source="debian-13-amd64-*"))
    source = PackerOnPlatform.of(spec, "aws").bundle.files["skyvyos.pkr.hcl"]
    assert "amazon-ebs" in source
    assert "ami_regions" not in source
    assert "ami_users" not in source


def test_a_disk_that_is_not_what_was_baked_is_refused(made_of: Any, asked: Asked) -> None:
    """A digest that differs from the manifest's, or a disk larger than the machine, ends it before EBS is asked."""
    order = made_of()
    assert order.disk is not None
    with pytest.raises(InputError, match="digest differs"):
        registered(replace(order, disk=replace(order.disk, sha256="0" * 64)))
    assert not any(name == "StartSnapshot" for name, _ in asked)


def test_a_killed_run_is_gone_on_with(made_of: Any, aws: FaultyAws, asked: Asked, disk: Path) -> None:
    """A run that died in the middle of an upload leaves a snapshot that the next one fills; nothing is begun anew."""
    order = made_of()
    aws.fail("PUT /snapshots/.*/(16|20|24)", times=3, status=403, code="ExpiredTokenException")
    broken_off(order)
    aws.faults.clear()
    before = aws.count("PUT /snapshots")
    told: list[Event] = []
    template = registered(order, told)
    assert sum(name == "StartSnapshot" for name, _ in asked) == 1
    assert any("going on with snap-" in event.text for event in told)
    assert 0 < aws.count("PUT /snapshots") - before < 16
    with connect(order.settings, Progress()) as registrar:
        assert blocks_of(registrar.region, template.facts["snapshot"]) == data_of(disk)
    assert Journal("aws").unfinished() == {}


def test_a_snapshot_that_ebs_dropped_is_begun_anew(made_of: Any, aws: FaultyAws, asked: Asked) -> None:
    """What a killed run left may be in error by now: it is removed, and the whole disk is sent."""
    order = made_of()
    aws.fail("completion", times=1, status=403, code="ExpiredTokenException")
    broken_off(order)
    with mock.patch.object(snapshots, "state", side_effect=["error", "completed"]):
        registered(order)
    assert sum(name == "StartSnapshot" for name, _ in asked) == 2
    assert sum(name == "DeleteSnapshot" and "DryRun" not in params for name, params in asked) == 1
