"""The registrar of the target aws: a disk becomes an AMI, in as many regions as are wanted.

A disk goes straight into an EBS snapshot; no bucket, no service role and no helper instance take part (unless
``upload: s3`` asks for them). The calls are in `skyvypack.targets.aws.ec2`; here is what is journaled, and undone.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from skyvypack import cloudinit, disk, runs
from skyvypack.errors import InputError
from skyvypack.progress import Progress
from skyvypack.registrar.contract import Guest, Job, Obstacle, Order, Step, Template
from skyvypack.registrar.journal import Entry, Run
from skyvypack.targets.aws.ec2 import (
    channels,
    deprecation,
    images,
    instances,
    jobs,
    marks,
    preflight,
    run_command,
    s3,
    snapshots,
    usage,
)
from skyvypack.targets.aws.ec2.blocks import RawDisk
from skyvypack.targets.aws.ec2.region import AwsError, Region
from skyvypack.targets.aws.ec2.region import connect as connect_region

TARGET = "aws"
DISK = "qcow2"
# Variables of the environment that Packer's builder needs as boto3 does.
ENVIRONMENT = ("AWS_",)
# The setting that says how a disk gets into a snapshot.
VIA = "upload"
# Settings that jobs see to once the AMI stands: Packer is not told of them, as one region that fails would make it
# throw away the AMI it has.
LATER = ("deprecate_at", "organizations", "protect", "region_kms_keys", "regions", "users")


class AwsRegistrar:
    """See `skyvypack.registrar.contract.Registrar`.

    Args:
        region: where AMIs are made.
        settings: of the target, complete.
        progress: told of every long step.
    """

    def __init__(self, region: Region, settings: Mapping[str, Any], progress: Progress) -> None:
        self.region = region
        self.settings = settings
        self.progress = progress

    @property
    def regions(self) -> list[Region]:
        """The AMI's own region, and those it is copied to."""
        others = dict.fromkeys(name for name in self.settings["regions"] if name != self.region.name)
        return [self.region, *(self.region.elsewhere(name) for name in others)]

    def where(self) -> str:
        """See the contract."""
        return f"{preflight.identity(self.region)}, region {self.region.name}"

    def preflight(self, order: Order) -> Sequence[Obstacle]:
        """See the contract."""
        return list(preflight.obstacles(self.region, order))

    def plan(self, order: Order) -> Sequence[Step]:
        """See the contract."""
        name, mode = self.region.name, images.boot_mode(order)
        image = Step("image", f"register {order.title} in {name} from that snapshot, boot mode {mode}")
        if order.disk is None:
            return [Step("packer", f"let Packer make {order.title} in {name}")]
        if self.settings["upload"] == "s3":
            bucket = f"s3://{self.settings['bucket']}/skyvypack/"
            return [
                Step("object", f"put the disk into {bucket}"),
                Step("import", f"import it as a snapshot in {name}, and remove it from the bucket"),
                image,
            ]
        return [
            Step("snapshot", f"send the disk's blocks into a snapshot of {order.spec.machine.disk} GiB in {name}"),
            image,
        ]

    def expect(self, order: Order, run: Run) -> Entry:
        """Packer's AMI has a name that no other of this account can have."""
        return run.intend("packer", name=order.title, region=self.region.name)

    def register(self, order: Order, run: Run) -> Template:
        """See the contract."""
        snapshot = ""
        if order.source:
            image = self._adopt(order, run)
        else:
            snapshot = self._by_s3(order, run) if self.settings["upload"] == "s3" else self._direct(order, run)
            entry = run.intend("image", name=order.title, region=self.region.name)
            image = images.register(self.region, order, snapshot, order.spec.machine.disk, run.id)
            run.made(entry, image)
        return self._template(images.shown(self.region, image, run.id, snapshot), {})

    def _adopt(self, order: Order, run: Run) -> str:
        """Mark an AMI that Packer made, and its snapshots, as ours: from now on they are undone like any other."""
        found = images.look(self.region, order.source)
        if found is None:
            raise AwsError(f"there is no AMI {order.source} in {self.region.name}")
        resources = [order.source, *marks.snapshots_of(found)]
        self.region.call("ec2", "create_tags", Resources=resources, Tags=marks.sent(marks.of(order, run.id)))
        return order.source

    def _direct(self, order: Order, run: Run) -> str:
        """A finished snapshot of the order's disk, begun anew or by a run that was killed."""
        with self._raw(order) as raw:
            size = snapshots.size_of(order, raw)
            snapshot, complete = self._begun(order, run, size)
            if not snapshot:
                token = f"{run.id}-snapshot"
                entry = run.intend("snapshot", token=token, **_sameness(order, self.region, size))
                snapshot = snapshots.start(self.region, order, size=size, token=token, run=run.id)
                run.made(entry, snapshot)
            if not complete:
                snapshots.fill(self.region, snapshot, raw, self.progress)
        return snapshot

    def _begun(self, order: Order, run: Run, size: int) -> tuple[str, bool]:
        """The snapshot that a killed run has begun, empty when there is none of use, and whether it is complete."""
        entry = run.inherit("snapshot", **_sameness(order, self.region, size))
        if entry is None:
            return "", False
        state = snapshots.state(self.region, entry.id)
        if state in ("pending", "completed"):
            self.progress.note("upload", f"going on with {entry.id}, which a run that was killed had begun")
            return entry.id, state == "completed"
        run.undo(entry)
        return "", False

    @contextmanager
    def _raw(self, order: Order) -> Iterator[RawDisk]:
        """The order's disk as a sparse raw image, which takes the room of its data for as long as it is read."""
        with runs.run_folder() as folder:
            path = folder / f"{order.title}.raw"
            with self.progress.stage("convert", "Read the disk"):
                disk.convert(_sound(order), path, "raw", source_format="qcow2")
            with RawDisk(path) as raw:
                yield raw

    def _by_s3(self, order: Order, run: Run) -> str:
        bucket, key = self.settings["bucket"], f"skyvypack/{order.title}-{run.id}.vmdk"
        place = {"bucket": bucket, "region": self.region.name}
        with runs.run_folder() as folder:
            path = folder / f"{order.title}.vmdk"
            with self.progress.stage("convert", "Write the disk as VMDK"):
                disk.convert(_sound(order), path, "vmdk", source_format="qcow2")
            thing = run.intend("object", key=key, **place)
            with self.progress.stage("upload", f"Send it to s3://{bucket}/{key}"):
                s3.send(self.region, path, bucket, key, self.progress)
            thing = run.made(thing, key)
        task = run.intend("import", token=f"{run.id}-import", region=self.region.name)
        id = s3.begin(self.region, order, bucket, key, token=task.mark["token"], run=run.id)
        task = run.made(task, id)
        with self.progress.stage("import", f"Wait for import {id}"):
            snapshot = s3.imported(self.region, id, self.progress)
        self.region.call("ec2", "create_tags", Resources=[snapshot], Tags=marks.sent(marks.of(order, run.id)))
        run.undo(thing)
        return snapshot

    def describe(self, name: str) -> Sequence[Template]:
        """See the contract."""
        pointed = channels.read(self.region, name)
        found = [one for one in marks.images(self.region, name=name) if one["State"] == "available"]
        templates = [self._template(one, pointed) for one in found if _whole(marks.read(one))]
        return sorted(templates, key=lambda one: one.created, reverse=True)

    def _template(self, image: Mapping[str, Any], pointed: Mapping[str, str]) -> Template:
        tags = marks.read(image)
        facts = {"region": self.region.name, "snapshot": ", ".join(marks.snapshots_of(image))}
        if image.get("DeprecationTime"):
            facts["deprecated from"] = str(image["DeprecationTime"])
        return Template(
            TARGET,
            str(image["ImageId"]),
            tags["name"],
            tags["version"],
            tags["digest"],
            tags.get("created", image["CreationDate"]),
            tags["run"],
            "verified" in tags,
            tuple(sorted(channel for channel, id in pointed.items() if id == image["ImageId"])),
            facts,
        )

    def boot(self, template: Template, user_data: str, run: Run) -> Guest:
        """See the contract."""
        given = cloudinit.encode(user_data, TARGET)
        found = images.look(self.region, template.id) or {}
        tags = {
            **self.settings["tags"],
            "Name": f"verify {template.title}",
            **{marks.PREFIX + key: value for key, value in (("run", run.id), ("name", template.name))},
        }
        groups = list(self.settings["security_group_ids"]) or [self._group(run, tags)]
        wanted = instances.request(self.settings, template.id, groups, given, tags, f"{run.id}-{template.id}")
        if subnet := instances.subnet(self.region, self.settings):
            wanted["NetworkInterfaces"][0]["SubnetId"] = subnet["SubnetId"]
        entry = run.intend("instance", image=str(found.get("Name", template.title)), region=self.region.name)
        entry = run.made(entry, instances.launch(self.region, wanted))
        with self.progress.stage("address", f"Wait for an address of {entry.id}"):
            guest = instances.reached(self.region, entry.id, public=self.settings["public_ip"] and not self._by_ssm)
        execute = partial(run_command.execute, self.region, entry.id) if self._by_ssm else None
        return dataclasses.replace(guest, execute=execute)

    @property
    def _by_ssm(self) -> bool:
        return bool(self.settings["access"] == "ssm")

    def _group(self, run: Run, tags: Mapping[str, str]) -> str:
        """A security group for this run alone."""
        vpc = instances.network(self.region, self.settings)
        name = f"skyvypack-{run.id}"
        entry = run.intend("security-group", name=name, region=self.region.name)
        entry = run.made(entry, instances.make_group(self.region, name, vpc, tags))
        if not self._by_ssm:
            instances.open_group(self.region, entry.id)
        return entry.id

    def confirm(self, template: Template) -> Template:
        """See the contract."""
        when = datetime.now(UTC).isoformat(timespec="seconds")
        tag = marks.sent({f"{marks.PREFIX}verified": when})
        self.region.call("ec2", "create_tags", Resources=[template.id], Tags=tag)
        return dataclasses.replace(template, verified=True)

    def jobs(self, order: Order, template: Template) -> Sequence[Job]:
        """See the contract."""
        return jobs.of(order, template, self.regions, self.progress)

    def point(self, template: Template, channel: str) -> None:
        """See the contract. A region without a copy keeps what the channel meant there; none holds up another."""
        failed = []
        for region in reversed(self.regions):
            try:
                self._point(region, template, channel)
            except AwsError as error:
                failed.append(error)
        if failed:
            raise AwsError("; ".join(error.message for error in failed), failed[0].hint, failed[0].code)

    def _point(self, region: Region, template: Template, channel: str) -> None:
        image = template.id if region is self.region else jobs.copied(region, template)
        if image is None:
            self.progress.note("channel", f"{region.name} has no copy: {channel} stays there as it was")
            return
        channels.point(region, template.name, channel, image)
        if days := self.settings["deprecate_after"]:
            for words in deprecation.follow(region, template.name, days):
                self.progress.note("channel", words)

    def in_use(self, template: Template) -> Sequence[str]:
        """See the contract."""
        found: list[str] = []
        for region, image in self._everywhere(template):
            found += usage.of(region, image["ImageId"])
            held = [name for name, id in channels.read(region, template.name).items() if id == image["ImageId"]]
            found += [f"channel {name} in {region.name}" for name in held if region is not self.region]
        return found

    def _everywhere(self, template: Template) -> Iterator[tuple[Region, dict[str, Any]]]:
        """The AMI and its copies."""
        for region in self.regions:
            for image in marks.images(region, name=template.name, version=template.version, digest=template.digest):
                yield region, image

    def retire(self, template: Template, run: Run) -> None:
        """See the contract. Copies go first, so that what is left of a broken retirement is found by its AMI."""
        entries = []
        for region, image in self._everywhere(template):
            owner, left = marks.read(image)["run"], ",".join(marks.snapshots_of(image))
            entry = run.intend("image", name=image["Name"], region=region.name, owner=owner, snapshots=left)
            entries.append(run.made(entry, image["ImageId"]))
        for entry in reversed(entries):
            run.undo(entry)

    def undo(self, entry: Entry) -> None:
        """See the contract."""
        region = self.region.elsewhere(entry.mark["region"])
        undo: Mapping[str, Callable[[Region, Entry], None]] = {
            "snapshot": _undo_snapshot,
            "image": _undo_image,
            "packer": _undo_packer,
            "instance": _undo_instance,
            "security-group": _undo_group,
            "object": lambda region, entry: s3.forget(region, entry.mark["bucket"], entry.mark["key"]),
            "import": _undo_import,
        }
        undo[entry.kind](region, entry)


def _whole(tags: Mapping[str, str]) -> bool:
    return {"name", "version", "digest", "run"} <= tags.keys()


def _sound(order: Order) -> Path:
    """The order's disk, which is still what was baked and proven.

    Raises:
        InputError: it is not.
    """
    assert order.disk is not None
    if disk.sha256(order.disk.path) != order.disk.sha256:
        raise InputError(f"{order.disk.path} is not what its manifest says: its digest differs", "bake it again")
    return order.disk.path


def _sameness(order: Order, region: Region, size: int) -> dict[str, str]:
    """What must be the same for one run to go on with another's snapshot."""
    settings = order.settings
    key = (settings["kms_key"] or "default") if settings["encrypt"] else "none"
    return {"digest": order.digest, "title": order.title, "region": region.name, "size": str(size), "key": key}


def _undo_snapshot(region: Region, entry: Entry) -> None:
    """By its id where that is known, as what was made a moment ago may not be listed yet."""
    known = {"SnapshotId": entry.id, **snapshots.look(region, entry.id)} if entry.id else None
    for found in [known] if known else marks.snapshots(region, run=entry.run):
        if marks.read(found).get("run", entry.run) == entry.run:
            snapshots.delete(region, str(found["SnapshotId"]))


def _undo_image(region: Region, entry: Entry) -> None:
    """Also of a retirement, whose AMI carries the id of the run that made it."""
    run = entry.mark.get("owner", entry.run)
    found = images.look(region, entry.id) if entry.id else images.find(region, entry.mark["name"], run)
    # An id in the journal is what RegisterImage answered; a service that forgets tags forgets whose it is, too.
    if found is not None and marks.read(found).get("run", run) != run:
        return
    left = tuple(filter(None, entry.mark.get("snapshots", "").split(",")))
    images.remove(region, found, run, left)


def _undo_packer(region: Region, entry: Entry) -> None:
    """An AMI of Packer's that nobody has marked yet, or this run."""
    wanted = [{"Name": "name", "Values": [entry.mark["name"]]}]
    for found in region.call("ec2", "describe_images", Filters=wanted, Owners=["self"])["Images"]:
        if marks.read(found).get("run", entry.run) == entry.run:
            images.remove(region, found, entry.run)


def _undo_instance(region: Region, entry: Entry) -> None:
    """By its id where that is known, as what was started a moment ago may not be listed yet."""
    for instance in [entry.id] if entry.id else instances.of_run(region, entry.run):
        if marks.read(instances.describe(region, instance)).get("run", entry.run) == entry.run:
            instances.terminate(region, instance)


def _undo_group(region: Region, entry: Entry) -> None:
    group = instances.find_group(region, entry.run)
    if group and entry.id in ("", group):
        instances.delete_group(region, group)


def _undo_import(region: Region, entry: Entry) -> None:
    task = entry.id or s3.find(region, entry.run)
    if task:
        s3.cancel(region, task)


@contextmanager
def connect(settings: Mapping[str, Any], progress: Progress) -> Iterator[AwsRegistrar]:
    """See the contract."""
    yield AwsRegistrar(connect_region(settings, progress), settings, progress)
