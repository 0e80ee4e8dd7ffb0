"""Orders for the registrar of the target aws, carried out against the stand-in, and what was asked for them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import pytest
from aws.conftest import Asked

from skyvypack.progress import Event, Progress
from skyvypack.registrar import Journal, RegistrarError, Run, Template
from skyvypack.registrar.contract import Order
from skyvypack.targets.aws.ec2.region import AwsError
from skyvypack.targets.aws.registrar import AwsRegistrar, connect

ABROAD = ("eu-west-1", "us-east-1")
ALIEN = "111122223333"
ORGANIZATION = "arn:aws:organizations::111122223333:organization/o-abc"


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
