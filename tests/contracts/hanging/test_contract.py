"""A check without an end, and one after it."""

import time

import pytest


@pytest.mark.requirement("TOY-7")
def test_hangs():
    time.sleep(600)


def test_after_it():
    pass
