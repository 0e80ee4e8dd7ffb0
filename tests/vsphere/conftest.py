"""A vCenter with moods, and who uses it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from simulators import vcsim
from simulators.certificates import Authority
from simulators.vcenter import VCenter, vcenter
from vsphere_site import Site

from skyvypack.registrar.retry import Patience
from skyvypack.targets.vsphere.vcenter import lease, machines, rest, session


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def center(authority: Authority) -> Iterator[VCenter]:
    """A vCenter with two datastores in a datastore cluster, and nothing that runs."""
    with (
        vcsim.running(authority, "-address=127.0.0.1", "-pod=1", "-ds=2") as behind,
        vcenter(behind, authority) as made,
    ):
        yield made


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (lease, machines, session):
        monkeypatch.setattr(module, "PAUSE", 0.02)
    for module in (rest, session):
        monkeypatch.setattr(module, "PATIENCE", Patience(2.0, first=0.01, longest=0.05))


@pytest.fixture
def site(center: VCenter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    monkeypatch.setenv("VSPHERE_PASSWORD", center.server.password)
    monkeypatch.setenv("SKYVYPACK_STATE", str(tmp_path / "state"))
    return Site(center, tmp_path)
