"""A fake host that has baked and proved a template, for every test of a bake."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from fake_host import Host, Mirror


@pytest.fixture(scope="session")
def mirror() -> Iterator[Mirror]:
    """One mirror for all, because a layer is of its mirror."""
    made = Mirror()
    yield made
    made.stop()


@pytest.fixture(scope="session")
def good(tmp_path_factory: pytest.TempPathFactory, mirror: Mirror) -> Host:
    """A host that has baked and proved a template, from nothing."""
    host = Host(tmp_path_factory.mktemp("good"), mirror)
    code, said = host.bake()
    assert code == 0, said
    assert "toy 1.0.0 is proven: 12 of 12 checks passed" in said
    return host


@pytest.fixture
def host(good: Host, mirror: Mirror, tmp_path: Path) -> Host:
    """A host with a good artifact and a layer in its cache."""
    return Host(tmp_path / "host", mirror, copied=good)
