"""A contract of which one clone of two must show a part."""

import pytest


@pytest.mark.once
@pytest.mark.requirement("TOY-1")
@pytest.mark.parametrize("number", [1, 2])
def test_long(number):
    """One clone is enough for this."""


@pytest.mark.requirement("TOY-2")
def test_short():
    """A clone shows this where it is judged as a whole."""


@pytest.mark.each_boot
@pytest.mark.requirement("TOY-2")
def test_boot():
    """Every clone shows this on every boot."""
