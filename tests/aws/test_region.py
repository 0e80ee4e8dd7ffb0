"""Calls to AWS: what they leave in a log, and what they say and do when nobody answers."""

from __future__ import annotations

import logging
from itertools import chain, repeat
from typing import Any

import pytest
from aws.conftest import HOME
from botocore.exceptions import EndpointConnectionError
from simulators.moto_aws import FaultyAws

from skyvypack.progress import Progress
from skyvypack.targets.aws.ec2 import region as calls
from skyvypack.targets.aws.ec2.region import AwsError, Region


def test_debug_tells_neither_keys_nor_contents(aws: FaultyAws, caplog: pytest.LogCaptureFixture) -> None:
    """`--debug` logs all that libraries tell, but not botocore's requests and answers: STS hands out keys in one."""
    role = "arn:aws:iam::123456789012:role/baker"
    with caplog.at_level(logging.DEBUG):
        region = calls.connect({"profile": "", "role_arn": role, "region": HOME, "endpoint": aws.url}, Progress())
        region.call("ssm", "put_parameter", Name="/canary", Value="seen-in-a-log", Type="String")
    keys = region.session.get_credentials().get_frozen_credentials()
    assert aws.count("AssumeRole") == 1
    assert caplog.text, "libraries did tell something"
    for secret in (keys.secret_key, keys.token, "seen-in-a-log"):
        assert secret not in caplog.text


def answering(region: Region, *answers: bool) -> list[str]:
    """Let nobody answer where an answer is False, and all further requests like the last; returns what is asked."""
    asked: list[str] = []
    given = chain(answers, repeat(answers[-1]))

    def decide(request: Any, **_: Any) -> None:
        asked.append(request.url)
        if not next(given):
            raise EndpointConnectionError(endpoint_url=request.url)

    region.session.events.register("before-send", decide)
    return asked


def test_a_line_that_breaks_is_waited_for(region: Region) -> None:
    """A service that has answered will again, so a name that does not resolve for a while does not end an upload."""
    asked = answering(region, True, False, False, True)
    region.call("sts", "get_caller_identity")
    region.call("sts", "get_caller_identity")
    assert len(asked) == 4


@pytest.mark.parametrize(
    ("name", "endpoint", "hint"),
    [
        ("eu-centrall-1", "", "did you mean `eu-central-1`?"),
        ("eu-central-1", "", "see whether this machine reaches AWS"),
        ("eu-central-1", "http://127.0.0.1:1", "see whether http://127.0.0.1:1 is what `endpoint`"),
    ],
)
def test_where_nobody_answers_the_hint_says_where_to_look(name: str, endpoint: str, hint: str) -> None:
    """A region's or an endpoint's name is told to be wrong at the first call, without waiting for it."""
    region = calls.connect({"profile": "", "role_arn": "", "region": name, "endpoint": endpoint}, Progress())
    asked = answering(region, False)
    with pytest.raises(AwsError, match="Could not connect") as raised:
        region.call("sts", "get_caller_identity")
    assert hint in raised.value.hint
    assert len(asked) == 1


def test_a_region_that_cannot_be_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also one from the environment, which no spec has checked."""
    monkeypatch.setenv("AWS_REGION", "EU Central")
    region = calls.connect({"profile": "", "role_arn": "", "region": "", "endpoint": ""}, Progress())
    with pytest.raises(AwsError, match="supported format") as raised:
        region.call("sts", "get_caller_identity")
    assert "EU Central is no region" in raised.value.hint
