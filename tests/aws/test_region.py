"""Calls to AWS: what they leave in a log, and what they say and do when nobody answers."""

from __future__ import annotations

import logging
from itertools import chain, repeat
from pathlib import Path
from typing import Any

import pytest
from aws.conftest import HOME
from botocore.exceptions import EndpointConnectionError
from simulators.moto_aws import FaultyAws

from skyvypack.errors import InputError, ToolMissing
from skyvypack.progress import Progress
from skyvypack.registrar import find
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


PROFILES = "[profile images]\nregion = eu-central-1\n"


@pytest.mark.parametrize(
    ("config", "profile", "environment", "words", "hint"),
    [
        (PROFILES, "image", "", "profile (image) could not be found", "set `profile` under `targets: aws:`"),
        (PROFILES, "", "image", "profile (image) could not be found", "set AWS_PROFILE to one"),
        ("[profile images", "", "", "Unable to parse config file", "mend that file"),
        (PROFILES, "", "", "no region", "set AWS_REGION"),
    ],
)
def test_a_configuration_of_aws_that_does_not_do(
    config: str, profile: str, environment: str, words: str, hint: str, monkeypatch: Any, tmp_path: Path
) -> None:
    """What is wrong, and where it is set right: in the spec, in the environment or in AWS's own file."""
    (tmp_path / "none").write_text(config)
    if environment:
        monkeypatch.setenv("AWS_PROFILE", environment)
    with pytest.raises(InputError) as raised:
        calls.connect({"profile": profile, "role_arn": "", "region": "", "endpoint": ""}, Progress())
    assert words in raised.value.message
    assert hint in raised.value.hint


def test_without_boto3(monkeypatch: pytest.MonkeyPatch) -> None:
    """The extra that brings it is named."""
    monkeypatch.setattr(find, "find_spec", lambda _module: None)
    with pytest.raises(ToolMissing, match="boto3 is not installed") as raised:
        calls.connect({"profile": "", "role_arn": "", "region": HOME, "endpoint": ""}, Progress())
    assert "skyvypack[aws]" in raised.value.hint
