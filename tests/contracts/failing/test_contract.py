"""Checks that do not hold, in each way a check can."""

import pytest


@pytest.mark.requirement("TOY-4")
def test_fails(host):
    assert host.check_output("echo red") == "green", "the colour is wrong"


@pytest.fixture
def broken():
    raise RuntimeError("no ladder")


@pytest.mark.requirement("TOY-4")
def test_setup_breaks(broken):
    pass


@pytest.fixture
def leaky():
    yield
    raise RuntimeError("left open")


@pytest.mark.requirement("TOY-4")
def test_teardown_breaks(leaky):
    pass
