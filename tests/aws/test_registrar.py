"""The registrar of the target aws: what it asks of AWS, in how many regions, and what it refuses before asking."""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from aws.conftest import HOME, blocks_of, data_of
from botocore.stub import Stubber
from simulators import moto_aws
from simulators.moto_aws import FaultyAws

from skyvypack import disk as disks
from skyvypack.artifact import DiskFile
from skyvypack.errors import InputError
from skyvypack.progress import Event, Progress
from skyvypack.registrar import Journal, RegistrarError, Run, Template
from skyvypack.registrar.contract import Order
from skyvypack.registrar.deliver import PackerOnPlatform
from skyvypack.roles import Role
from skyvypack.spec.model import Base, Machine, Spec
from skyvypack.targets import settings_rules
from skyvypack.targets.aws.ec2 import images, instances, policy, region, s3, snapshots
from skyvypack.targets.aws.ec2.region import AwsError
from skyvypack.targets.aws.registrar import AwsRegistrar, connect

pytestmark = pytest.mark.tool

Asked = list[tuple[str, dict[str, Any]]]
ABROAD = ("eu-west-1", "us-east-1")
ALIEN = "111122223333"
ORGANIZATION = "arn:aws:organizations::111122223333:organization/o-abc"


@pytest.fixture(autouse=True)
def session(aws: FaultyAws, asked: Asked, monkeypatch: pytest.MonkeyPatch) -> moto_aws.Session:
    """One session for a test, which notes every request, and pauses that do not last."""
    made = moto_aws.Session()

    def note(params: dict[str, Any], model: Any, **_: Any) -> None:
        asked.append((model.name, dict(params)))

    made.events.register("before-parameter-build", note)
    monkeypatch.setattr("boto3.Session", lambda **_: made)
    for module in (images, instances, snapshots, s3):
        monkeypatch.setattr(module, "PAUSE", 0.01)
    return made


@pytest.fixture
def made_of(disk: Path, tmp_path: Path, aws: FaultyAws) -> Callable[..., Order]:
    """An order: ``made_of("1.0.0", regions=[…])``."""
    qcow2 = tmp_path / "web.qcow2"
    disks.convert(disk, qcow2, "qcow2")
    file = DiskFile(qcow2, "qcow2", qcow2.stat().st_size, disks.sha256(qcow2))

    def make(version: str = "1.0.0", *, firmware: Any = "uefi", **settings: Any) -> Order:
        defaults = {name: rule["default"] for name, rule in settings_rules("aws").items()}
        given = {**defaults, "region": HOME, "endpoint": aws.url, **settings}
        roles = (Role("toy", "a toy", Path("toy")),)
        machine = Machine(disk=4, firmware=firmware)
        spec = Spec("web", version, "trixie", roles, machine=machine, targets={"aws": given})
        return Order(spec, "aws", f"sha256:{file.sha256}", file)

    return make


@contextmanager
def at_work(order: Order, told: list[Event]) -> Iterator[tuple[AwsRegistrar, Run]]:
    progress = Progress(told.append)
    with (
        connect(order.settings, progress) as registrar,
        Journal("aws").run(order.settings, order.title, registrar.undo, progress) as run,
    ):
        yield registrar, run


def registered(order: Order, told: list[Event] | None = None) -> Template:
    with at_work(order, [] if told is None else told) as (registrar, run):
        template = registrar.register(order, run)
        run.finish()
    return template


def one(asked: Asked, name: str) -> dict[str, Any]:
    """The parameters of the one request of a name that was no trial."""
    (found,) = [params for asked_name, params in asked if asked_name == name and not params.get("DryRun")]
    return found


def tags_of(params: Any) -> dict[str, str]:
    return {tag["Key"]: tag["Value"] for tag in params}


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


def jobs_done(order: Order, template: Template, told: list[Event] | None = None) -> dict[str, str]:
    """What came of each job: what stands, or the error."""
    done = {}
    with at_work(order, [] if told is None else told) as (registrar, _):
        jobs = registrar.jobs(order, template)
    for job in jobs:
        try:
            with at_work(order, [] if told is None else told) as (_, run):
                done[job.name] = job.do(run)
                run.finish()
        except RegistrarError as error:
            done[job.name] = f"failed: {error}"
    return done


def test_a_region_that_fails_takes_nothing_with_it(made_of: Any, aws: FaultyAws, asked: Asked) -> None:
    """The other region has its copy, the AMI stands, and doing it again makes only what is missing."""
    order = made_of(regions=list(ABROAD))
    template = registered(order)
    aws.fail("eu-west-1 CopyImage$", times=1, status=400, code="ResourceLimitExceeded")
    first = jobs_done(order, template)
    assert first["copy to eu-west-1"].startswith("failed: ec2:CopyImage in eu-west-1: ordered by the test")
    assert first["copy to us-east-1"].startswith("ami-")
    again = jobs_done(order, template)
    assert again["copy to us-east-1"] == first["copy to us-east-1"]
    assert again["copy to eu-west-1"].startswith("ami-")
    assert sum(name == "CopyImage" for name, _ in asked) == 3
    copies = [params for name, params in asked if name == "CopyImage"]
    assert all((copy["SourceRegion"], copy["SourceImageId"]) == (HOME, template.id) for copy in copies)
    kinds = [tags["ResourceType"] for tags in copies[0]["TagSpecifications"]]
    assert kinds == ["image", "snapshot"]


def test_sharing_with_accounts_and_organisations(made_of: Any, asked: Asked) -> None:
    """Everywhere, and accounts may copy the snapshots too; nobody else is added."""
    order = made_of(users=[ALIEN], organizations=[ORGANIZATION], regions=["eu-west-1"])
    done = jobs_done(order, registered(order))
    assert list(done) == ["copy to eu-west-1", f"share in {HOME}", "share in eu-west-1"]
    assert not any(text.startswith("failed") for text in done.values())
    grants = [params["LaunchPermission"]["Add"] for name, params in asked if name == "ModifyImageAttribute"]
    assert grants == [[{"UserId": ALIEN}, {"OrganizationArn": ORGANIZATION}]] * 2
    volumes = [params for name, params in asked if name == "ModifySnapshotAttribute"]
    assert [params["UserIds"] for params in volumes] == [[ALIEN]] * 2


def test_sharing_waits_for_a_copy(made_of: Any, aws: FaultyAws) -> None:
    """Where the copy failed there is nothing to share, and the error says so."""
    order = made_of(users=[ALIEN], regions=["eu-west-1"])
    template = registered(order)
    aws.fail("eu-west-1 CopyImage$", times=1, status=400, code="ResourceLimitExceeded")
    done = jobs_done(order, template)
    assert "there is no copy of web-1.0.0 in eu-west-1" in done["share in eu-west-1"]


def test_public_only_when_asked_and_with_a_warning(made_of: Any, asked: Asked) -> None:
    """By default nobody else may launch it; with the flag everybody may, and the run says it loudly."""
    order = made_of()
    assert jobs_done(order, registered(order)) == {}
    assert not any(name == "ModifyImageAttribute" for name, _ in asked)
    order = made_of("1.1.0", public=True)
    told: list[Event] = []
    assert jobs_done(order, registered(order), told) == {f"make PUBLIC in {HOME}": "PUBLIC"}
    assert one(asked, "ModifyImageAttribute")["LaunchPermission"] == {"Add": [{"Group": "all"}]}
    assert any("everybody with an AWS account" in event.text for event in told)


def test_deprecation_and_protection(made_of: Any, session: Any, asked: Asked) -> None:
    """moto has neither: the requests are asserted by botocore's Stubber."""
    order = made_of(deprecate_at="2027-01-01T00:00:00Z", protect=True)
    template = registered(order)
    with at_work(order, []) as (registrar, run), Stubber(session.client("ec2", HOME)) as ec2:
        for job, (operation, more) in zip(
            registrar.jobs(order, template),
            [
                ("enable_image_deprecation", {"DeprecateAt": "2027-01-01T00:00:00Z"}),
                ("enable_image_deregistration_protection", {"WithCooldown": False}),
            ],
            strict=True,
        ):
            described = {"Images": [{"ImageId": template.id, "State": "available"}]}
            ec2.add_response("describe_images", described, {"ImageIds": [template.id], "Owners": ["self"]})
            ec2.add_response(operation, {}, {"ImageId": template.id, **more})
            job.do(run)
        ec2.assert_no_pending_responses()


def test_a_channel_is_a_parameter_in_every_region_with_a_copy(made_of: Any, asked: Asked, aws: FaultyAws) -> None:
    """Each region's parameter names that region's AMI; a region whose copy failed keeps what it has, and says so."""
    order = made_of(regions=list(ABROAD))
    template = registered(order)
    aws.fail("us-east-1 CopyImage$", times=1, status=400, code="ResourceLimitExceeded")
    copies = jobs_done(order, template)
    told: list[Event] = []
    with at_work(order, told) as (registrar, _):
        registrar.point(template, "stable")
        registrar.point(template, "stable")
        assert registrar.describe("web")[0].channels == ("stable",)
    puts = [params for name, params in asked if name == "PutParameter"]
    assert [put["Value"] for put in puts] == [copies["copy to eu-west-1"], template.id]
    for put in puts:
        assert (put["Name"], put["DataType"], put["Overwrite"]) == ("/skyvypack/web/stable", "aws:ec2:image", True)
    assert any("us-east-1 has no copy" in event.text for event in told)


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


@pytest.mark.parametrize("by", ["instance", "launch template", "auto scaling group", "mixed", "configuration"])
def test_what_uses_an_ami_is_named(by: str, made_of: Any, session: Any) -> None:
    """Instances, launch templates and auto scaling groups, in every region that has it."""
    order = made_of()
    template = registered(order)
    ec2 = session.client("ec2", HOME, endpoint_url=order.settings["endpoint"])
    scaling = session.client("autoscaling", HOME, endpoint_url=order.settings["endpoint"])
    with connect(order.settings, Progress()) as registrar:
        assert registrar.in_use(template) == []
    group = {"AutoScalingGroupName": "fleet", "MinSize": 0, "MaxSize": 0, "AvailabilityZones": [f"{HOME}a"]}
    if by == "instance":
        ec2.run_instances(ImageId=template.id, MinCount=1, MaxCount=1)
    elif by == "configuration":
        scaling.create_launch_configuration(LaunchConfigurationName="old", ImageId=template.id, InstanceType="t3.nano")
        scaling.create_auto_scaling_group(**group, LaunchConfigurationName="old")
    else:
        ec2.create_launch_template(LaunchTemplateName="web", LaunchTemplateData={"ImageId": template.id})
        named = {"LaunchTemplateName": "web", "Version": "1"}
        if by == "auto scaling group":
            scaling.create_auto_scaling_group(**group, LaunchTemplate=named)
        elif by == "mixed":
            mixed = {"LaunchTemplate": {"LaunchTemplateSpecification": named}}
            scaling.create_auto_scaling_group(**group, MixedInstancesPolicy=mixed)
        if by != "launch template":
            # Its newest version starts another AMI: only the group holds on to the old one.
            other = registered(made_of("1.1.0")).id
            ec2.create_launch_template_version(LaunchTemplateName="web", LaunchTemplateData={"ImageId": other})
            ec2.modify_launch_template(LaunchTemplateName="web", DefaultVersion="2")
    words = {
        "mixed": "auto scaling group fleet",
        "configuration": "auto scaling group fleet",
        "launch template": "launch template web",
    }
    with connect(order.settings, Progress()) as registrar:
        (reason,) = registrar.in_use(template)
    assert words.get(by, by) in reason
    assert HOME in reason


def test_retirement_takes_copies_and_snapshots_along(made_of: Any, session: Any) -> None:
    """In every region the AMI and its snapshots go together; another version's stay."""
    old, new = made_of(regions=["eu-west-1"]), made_of("2.0.0", regions=["eu-west-1"])
    template, other = registered(old), registered(new)
    jobs_done(old, template)
    jobs_done(new, other)
    with at_work(old, []) as (registrar, run):
        registrar.retire(template, run)
    for place in (HOME, "eu-west-1"):
        ec2 = session.client("ec2", place)
        assert [image["Name"] for image in ec2.describe_images(Owners=["self"])["Images"]] == ["web-2.0.0"]
        assert len(ec2.describe_snapshots(OwnerIds=["self"])["Snapshots"]) == 1


def test_a_copy_in_use_keeps_the_template(made_of: Any, session: Any) -> None:
    """What is used in one region is used."""
    order = made_of(regions=["eu-west-1"])
    template = registered(order)
    copy = jobs_done(order, template)["copy to eu-west-1"]
    session.client("ec2", "eu-west-1").run_instances(ImageId=copy, MinCount=1, MaxCount=1)
    with connect(order.settings, Progress()) as registrar:
        (reason,) = registrar.in_use(template)
    assert "in eu-west-1" in reason


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


def broken_off(order: Order) -> None:
    """A registration that fails and undoes nothing, as after kill -9."""
    progress = Progress()
    with (
        connect(order.settings, progress) as registrar,
        mock.patch.object(Run, "__exit__", return_value=None),
        Journal("aws").run(order.settings, order.title, registrar.undo, progress) as run,
        run._handle,
        pytest.raises(AwsError),
    ):
        registrar.register(order, run)


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


def test_by_way_of_s3(made_of: Any, session: Any, aws: FaultyAws, asked: Asked) -> None:
    """The disk goes to the bucket as VMDK, is imported, tagged, registered, and removed from the bucket."""
    order = made_of(upload="s3", bucket="images")
    store = session.client("s3", HOME, endpoint_url=aws.url)
    store.create_bucket(Bucket="images", CreateBucketConfiguration={"LocationConstraint": HOME})
    ec2 = session.client("ec2", HOME, endpoint_url=aws.url)
    volume = ec2.create_volume(Size=4, AvailabilityZone=f"{HOME}a")["VolumeId"]
    snapshot = ec2.create_snapshot(VolumeId=volume)["SnapshotId"]
    sent: list[bytes] = []
    real = ec2._make_api_call

    def answer(operation: str, params: dict[str, Any]) -> Any:
        if operation == "ImportSnapshot":
            bucket = params["DiskContainer"]["UserBucket"]
            sent.append(store.get_object(Bucket=bucket["S3Bucket"], Key=bucket["S3Key"])["Body"].read())
            asked.append((operation, params))
            return {"ImportTaskId": "import-snap-1"}
        if operation == "DescribeImportSnapshotTasks":
            detail = {"Status": "completed", "SnapshotId": snapshot, "Progress": "100"}
            return {"ImportSnapshotTasks": [{"ImportTaskId": "import-snap-1", "SnapshotTaskDetail": detail}]}
        return real(operation, params)

    with mock.patch.object(ec2, "_make_api_call", answer):
        template = registered(order)
    assert sent[0][:4] == b"KDMV"
    assert one(asked, "ImportSnapshot")["DiskContainer"]["Format"] == "VMDK"
    assert template.facts["snapshot"] == snapshot
    assert "Contents" not in store.list_objects_v2(Bucket="images")
    tags = tags_of(ec2.describe_snapshots(SnapshotIds=[snapshot])["Snapshots"][0]["Tags"])
    assert tags["skyvypack:run"] == template.run


def test_a_failed_import_says_what_may_be_missing(made_of: Any, session: Any, aws: FaultyAws) -> None:
    """AWS's own words, and the service role; the object and the task are gone."""
    order = made_of(upload="s3", bucket="images")
    store = session.client("s3", HOME, endpoint_url=aws.url)
    store.create_bucket(Bucket="images", CreateBucketConfiguration={"LocationConstraint": HOME})
    detail = {"Status": "deleted", "StatusMessage": "ClientError: No valid partitions."}
    task = {"ImportTaskId": "import-snap-1", "SnapshotTaskDetail": detail}
    with Stubber(session.client("ec2", HOME, endpoint_url=aws.url)) as ec2:
        ec2.add_response("import_snapshot", {"ImportTaskId": "import-snap-1"}, None)
        ec2.add_response("describe_import_snapshot_tasks", {"ImportSnapshotTasks": [task]})
        ec2.add_response("describe_import_snapshot_tasks", {"ImportSnapshotTasks": [task]})
        ec2.add_response("cancel_import_task", {}, {"ImportTaskId": "import-snap-1"})
        with pytest.raises(AwsError, match="No valid partitions") as caught:
            registered(order)
        ec2.assert_no_pending_responses()
    assert "vmimport" in caught.value.hint
    assert "Contents" not in store.list_objects_v2(Bucket="images")


# What botocore calls an operation and what IAM calls the right to it, where they differ.
RIGHTS = {
    "CreateTags": "ec2",
    "GetParametersByPath": "ssm",
    "PutParameter": "ssm",
    "StartSnapshot": "ebs",
    "PutSnapshotBlock": "ebs",
    "CompleteSnapshot": "ebs",
    "ListAccountAliases": "iam",
    "GetServiceQuota": "servicequotas",
    "DescribeAutoScalingGroups": "autoscaling",
    "DescribeLaunchConfigurations": "autoscaling",
    "DescribeKey": "kms",
}


def test_the_policy_allows_all_that_is_done(made_of: Any, asked: Asked) -> None:
    """Every request of preflight, registration, verification, jobs, channels and retirement is in the policy."""
    order = made_of(regions=["eu-west-1"], users=[ALIEN])
    with at_work(order, []) as (registrar, run):
        assert list(registrar.preflight(order)) == []
        template = registrar.register(order, run)
        with run.temporary():
            registrar.boot(template, "#cloud-config\n{}\n", run)
        template = registrar.confirm(template)
        run.finish()
    jobs_done(order, template)
    with at_work(order, []) as (registrar, run):
        registrar.point(template, "stable")
        registrar.in_use(template)
        registrar.retire(template, run)
    allowed = json.loads(policy.text(order.settings, "web"))
    actions = {action for statement in allowed["Statement"] for action in statement["Action"]}
    # Everybody may ask who they are.
    used = {f"{RIGHTS.get(name, 'ec2')}:{name}" for name, _ in asked} - {"ec2:GetCallerIdentity"}
    assert used - actions == set()
    # And what it allows is used, but for what only these settings, or a broken run, have no use for.
    assert actions - used <= {"ec2:DescribeSubnets", "ec2:DescribeLaunchTemplateVersions"}


def test_the_policy_says_what_may_be_removed(made_of: Any) -> None:
    """Removing, ending and sharing are bound to the template's tag; channels to its own path."""
    statements = {one["Sid"]: one for one in policy.needed(made_of(encrypt=True).settings, "web")["Statement"]}
    assert statements["ChangeOurs"]["Condition"] == {"StringEquals": {"aws:ResourceTag/skyvypack:name": "web"}}
    assert statements["Channels"]["Resource"][0].endswith(":parameter/skyvypack/web")
    assert "kms:CreateGrant" in statements["Keys"]["Action"]


def test_the_policy_of_the_documents_is_current(made_of: Any) -> None:
    """docs/how-to/aws-policy.json is what the library says for default settings."""
    page = Path(__file__).parents[2] / "docs" / "how-to" / "aws-policy.json"
    assert json.loads(page.read_text()) == policy.needed(made_of().settings, "web")


class TestPreflight:
    """Everything that stands in the way, at once; nothing is made."""

    def found(self, order: Order) -> dict[str, str]:
        with connect(order.settings, Progress()) as registrar:
            return {one.check: f"{one.message} | {one.hint}" for one in registrar.preflight(order)}

    def test_nothing_stands_in_the_way(self, made_of: Any, asked: Asked, aws: FaultyAws) -> None:
        """A good account has no obstacle, and whatever could change something is asked as a trial."""
        registered(made_of())
        order = made_of("1.1.0", regions=["eu-west-1"], users=[ALIEN])
        asked.clear()
        assert self.found(order) == {}
        reading = ("Describe", "Get", "List")
        changing = [params for name, params in asked if not name.startswith(reading)]
        assert len(changing) == 8
        assert all(params["DryRun"] is True for params in changing)
        with connect(order.settings, Progress()) as registrar:
            assert "account 123456789012" in registrar.where()
            assert HOME in registrar.where()

    def test_expired_credentials_are_the_only_obstacle(self, made_of: Any, aws: FaultyAws) -> None:
        """Nothing else can be seen then."""
        aws.fail("GetCallerIdentity", status=403, code="ExpiredToken", times=9)
        found = self.found(made_of())
        assert list(found) == ["credentials"]
        assert "log in again" in found["credentials"]

    def test_what_is_not_allowed_comes_with_the_policy(self, made_of: Any, aws: FaultyAws) -> None:
        """All missing rights in one obstacle, and a policy that can be attached as it is."""
        aws.fail("(RegisterImage|RunInstances) DryRun", times=2, status=403, code="UnauthorizedOperation")
        text = self.found(made_of())["permission"]
        assert text.startswith("not allowed: ec2:RegisterImage, ec2:RunInstances |")
        allowed = json.loads(text.partition("policy:\n")[2])
        assert allowed["Version"] == "2012-10-17"

    def test_all_at_once(self, made_of: Any, session: Any) -> None:
        """A region that is none, a name that is taken, a bucket that is not there: each by itself, with a way out."""
        order = made_of(regions=["eu-west-9"], upload="s3", bucket="nowhere")
        ec2 = session.client("ec2", HOME, endpoint_url=order.settings["endpoint"])
        ec2.register_image(Name="web-1.0.0", RootDeviceName="/dev/xvda")
        found = self.found(order)
        assert set(found) == {"region", "name", "bucket"}
        assert "eu-west-" in found["region"]
        assert "is not ours" in found["name"]
        assert "NoSuchBucket" in found["bucket"] or "does not exist" in found["bucket"]

    def test_without_a_default_vpc_a_subnet_is_asked_for(self, made_of: Any, session: Any) -> None:
        """Where the proving instance shall live must be known before anything is sent."""
        order = made_of()
        ec2 = session.client("ec2", HOME, endpoint_url=order.settings["endpoint"])
        for subnet in ec2.describe_subnets()["Subnets"]:
            ec2.delete_subnet(SubnetId=subnet["SubnetId"])
        ec2.delete_vpc(VpcId=ec2.describe_vpcs()["Vpcs"][0]["VpcId"])
        assert "subnet_id" in self.found(order)["network"]
        assert self.found(replace(order, verify=False)) == {}

    def test_a_key_that_is_off(self, made_of: Any, session: Any) -> None:
        """A disabled key is found here, not after the upload; a default key cannot be shared."""
        order = made_of(encrypt=True, kms_key="alias/images", users=[ALIEN], regions=["eu-west-1"])
        described = {
            "KeyMetadata": {
                "KeyId": "1",
                "Arn": f"arn:aws:kms:{HOME}:{ALIEN}:key/1",
                "Enabled": False,
                "KeyState": "Disabled",
            }
        }
        with Stubber(session.client("kms", HOME, endpoint_url=order.settings["endpoint"])) as kms:
            kms.add_response("describe_key", described)
            assert "alias/images in eu-central-1 is Disabled" in self.found(order)["key"]
        assert "cannot be shared" in self.found(made_of(encrypt=True, users=[ALIEN]))["key"]

    def test_public_is_refused_where_the_account_refuses_it(self, made_of: Any) -> None:
        """EC2's block of public AMIs is on by default, and an encrypted AMI is never public."""
        with mock.patch.object(region.Region, "call", _blocked(region.Region.call)):
            assert "lets no AMI be public" in self.found(made_of(public=True))["public"]

    def test_a_full_account(self, made_of: Any) -> None:
        """The quota of AMIs is compared with what is there."""
        with mock.patch.object(region.Region, "call", _blocked(region.Region.call)):
            assert "0 are allowed" in self.found(made_of())["quota"]


def _blocked(call: Any) -> Any:
    def answer(self: Any, service: str, operation: str, **arguments: Any) -> Any:
        if operation == "get_image_block_public_access_state":
            return {"ImageBlockPublicAccessState": "block-new-sharing"}
        if operation == "get_service_quota":
            return {"Quota": {"Value": 0.0}}
        return call(self, service, operation, **arguments)

    return answer
