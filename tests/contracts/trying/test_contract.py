"""A contract that one clone is enough for."""

import pytest


@pytest.fixture(scope="module")
def thing():
    return "made"


@pytest.mark.once
@pytest.mark.requirement("TOY-3")
def test_first(thing):
    """It has a fixture of its module."""
    assert thing == "made"


@pytest.mark.once
@pytest.mark.requirement("TOY-3")
def test_second(thing):
    """So has this one."""
    assert thing == "made"
