"""A contract of which one clone of two must show a part."""

import pytest


@pytest.mark.once
@pytest.mark.requirement("TOY-1")
@pytest.mark.parametrize("number", [1, 2])
def test_long(number):
    """One clone is enough for this."""


@pytest.mark.requirement("TOY-2")
def test_short():
    """Every clone shows this."""
