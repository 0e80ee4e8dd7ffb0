"""What is done with a finished AMI and may fail by itself: copies, shares, publication, deprecation, protection.

Each finds out whether it is done already, so that a second registration does only what is missing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from skyvypack.progress import Progress
from skyvypack.registrar.contract import Job, Order, Template
from skyvypack.registrar.journal import Run
from skyvypack.targets.aws.ec2 import deprecation, images, marks
from skyvypack.targets.aws.ec2.region import AwsError, Region

PUBLIC_WARNING = "PUBLIC: everybody with an AWS account will be able to launch it and to read all that is on its disk"


def of(order: Order, template: Template, regions: Sequence[Region], progress: Progress) -> list[Job]:
    """The jobs of an order.

    Args:
        order: what was registered.
        template: what came of it.
        regions: the AMI's own first, then those it is copied to.
        progress: told of what needs a warning.
    """
    home, *others = regions
    copies = [Job(f"copy to {one.name}", partial(_copy, one, order, template, home.name)) for one in others]
    return [*copies, *(job for one in regions for job in _Place(one, one is home, order, template, progress).jobs())]


@dataclass(frozen=True, slots=True)
class _Place:
    """An AMI in one of its regions."""

    region: Region
    home: bool
    order: Order
    template: Template
    progress: Progress

    def jobs(self) -> Iterator[Job]:
        """What is to be done with it there."""
        settings, where = self.order.settings, self.region.name
        wanted = (
            (settings["users"] or settings["organizations"], f"share in {where}", self.share),
            (settings["public"], f"make PUBLIC in {where}", self.publish),
            (settings["deprecate_at"], f"deprecate in {where} at {settings['deprecate_at']}", self.deprecate),
            (settings["protect"], f"protect in {where}", self.protect),
        )
        return (Job(name, do) for wish, name, do in wanted if wish)

    def image(self) -> dict[str, Any]:
        """The AMI as AWS describes it."""
        id = self.template.id if self.home else copied(self.region, self.template)
        found = images.look(self.region, id) if id else None
        if found is None:
            where = f"there is no copy of {self.template.title} in {self.region.name}"
            raise AwsError(where, "the copy failed: run this again")
        return found

    def share(self, _run: Run) -> str:
        settings = self.order.settings
        images.permit(self.region, self.image(), settings)
        return f"{len(settings['users'])} accounts, {len(settings['organizations'])} organisations may launch it"

    def publish(self, _run: Run) -> str:
        self.progress.note("publish", PUBLIC_WARNING)
        images.publish(self.region, self.image())
        return "PUBLIC"

    def deprecate(self, _run: Run) -> str:
        when = str(self.order.settings["deprecate_at"])
        deprecation.at(self.region, self.image()["ImageId"], when)
        return f"deprecated from {when}"

    def protect(self, _run: Run) -> str:
        id = self.image()["ImageId"]
        self.region.call("ec2", "enable_image_deregistration_protection", ImageId=id, WithCooldown=False)
        return "protected against deregistration"


def copied(region: Region, template: Template) -> str | None:
    """Id of the copy of a template in another region; None when there is none that can be launched."""
    found = marks.images(region, name=template.name, version=template.version, digest=template.digest)
    return next((str(image["ImageId"]) for image in found if image["State"] == "available"), None)


def _copy(region: Region, order: Order, template: Template, home: str, run: Run) -> str:
    """Copy the AMI, or find it copied; one that an earlier run has begun and lost sight of is waited for."""
    begun = marks.images(region, name=template.name, version=template.version, digest=template.digest)
    standing = next((image for image in begun if image["State"] in ("available", "pending")), None)
    if standing is not None:
        return str(images.available(region, standing["ImageId"])["ImageId"])
    entry = run.intend("image", name=order.title, region=region.name)
    token = f"{run.id}-{region.name}"
    id = images.copy(region, order, template.id, home, token=token, run=run.id)
    run.made(entry, id)
    verified = {f"{marks.PREFIX}verified": "the original"} if template.verified else {}
    images.available(region, id)
    if verified:
        region.call("ec2", "create_tags", Resources=[id], Tags=marks.sent(verified))
    return id
