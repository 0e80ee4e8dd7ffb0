"""What calls to AWS leave in a log."""

from __future__ import annotations

import logging

import pytest
from aws.conftest import HOME
from simulators.moto_aws import FaultyAws

from skyvypack.progress import Progress
from skyvypack.targets.aws.ec2 import region as calls


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
