"""A template in vSphere is proven by a guest that boots from what was uploaded."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hosted.conftest import PATIENCE, MakeSpec, artifact_of, skyvypack, spec_of
from simulators import lan, vcsim
from simulators.vcenter_host import Host, hosting

from skyvypack import command

pytestmark = pytest.mark.boot


@pytest.fixture(scope="session")
def programs() -> None:
    """vcsim and govc, before a test is on a network that leads nowhere."""
    vcsim.program("vcsim")


@pytest.fixture
def host(programs: None, network: None, tmp_path: Path) -> Iterator[Host]:
    folder = tmp_path / "vcenter"
    folder.mkdir()
    with hosting(folder) as made:
        yield made


def settings(host: Host) -> dict[str, Any]:
    server = host.center.server
    access = {"server": server.host, "username": server.user, "ca_file": str(server.authority)}
    return {**access, "cluster": "DC0_C0", "datastore": "LocalDS_0", "network": "VM Network"}


def machines(host: Host) -> list[dict[str, Any]]:
    argv = [vcsim.program("govc"), "find", "-json", "/", "-type", "m"]
    found = json.loads(command.run(argv, env=host.center.behind.environment).stdout) or []
    return [{"name": path.rpartition("/")[2]} for path in found]


def test_what_was_uploaded_boots_and_keeps_the_contract(
    template: Path, host: Host, spec_file: MakeSpec, tmp_path: Path
) -> None:
    """`register` sends the OVA's disk, clones it, boots the clone from pvscsi and vmxnet3 with the user-data of its
    settings, proves it over the address that vCenter tells, removes the clone, and moves the channel."""
    path = spec_file("vsphere", settings(host))
    folder = artifact_of(template, spec_of(path), "vsphere", tmp_path / "artifact")
    told = ["--spec", path, "--target", "vsphere", "--channel", "stable", "--patience", str(PATIENCE), "--json"]
    done = skyvypack("register", folder, *told, environment={"VSPHERE_PASSWORD": host.center.server.password})
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(done.stdout)
    assert found["report"]["passed"]
    assert found["report"]["accelerator"] == lan.GUEST
    assert found["channel"] == "stable"
    assert found["left"] == []
    assert host.started == 1
    assert host.guest is None
    assert machines(host) == [{"name": "skyvyos-quickstart-1.0.0"}]
