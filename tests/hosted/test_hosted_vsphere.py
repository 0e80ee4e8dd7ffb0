"""A template in vSphere is proven by a guest that boots from what was uploaded."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hosted.conftest import PATIENCE, MakeSpec, artifact_of, facts, skyvypack, spec_of
from simulators import vcsim
from simulators.vcenter_host import Host, hosting

from skyvypack import command

pytestmark = pytest.mark.boot

TARGET = "vsphere"
WORDS = ["--target", TARGET, "--channel", "stable", "--patience", str(PATIENCE), "--json"]
# vcsim makes one for each pool.
SOURCE = "DC0_C0_RP0_VM0"
OTHERS = {"DC0_H0_VM0"}


@pytest.fixture(scope="session")
def programs() -> None:
    """vcsim and govc, before a test is on a network that leads nowhere."""
    vcsim.program("vcsim")


@pytest.fixture
def host(programs: None, network: None, tmp_path: Path) -> Iterator[Host]:
    folder = tmp_path / "vcenter"
    folder.mkdir()
    with hosting(folder, "-vm=1") as made:
        yield made


def settings(host: Host) -> dict[str, Any]:
    server = host.center.server
    access = {"server": server.host, "username": server.user, "ca_file": str(server.authority)}
    return {**access, "datacenter": "DC0", "cluster": "DC0_C0", "datastore": "LocalDS_0", "network": "VM Network"}


def environment(host: Host) -> dict[str, str]:
    server = host.center.server
    return {"VSPHERE_PASSWORD": server.password, "SSL_CERT_FILE": str(server.authority)}


def machines(host: Host) -> set[str]:
    argv = [vcsim.program("govc"), "find", "/", "-type", "m"]
    found = command.run(argv, env=host.center.behind.environment).stdout.splitlines()
    return {path.rpartition("/")[2] for path in found} - OTHERS


def test_what_was_uploaded_boots_and_keeps_the_contract(
    template: Path, host: Host, spec_file: MakeSpec, tmp_path: Path, record_property: Any
) -> None:
    """`register` sends the OVA's disk, clones it, boots the clone from pvscsi and vmxnet3 with the user-data of its
    settings, proves it over the address that vCenter tells, removes the clone, and moves the channel."""
    path = spec_file("vsphere", settings(host))
    folder = artifact_of(template, spec_of(path), "vsphere", tmp_path / "artifact")
    found = facts(skyvypack("register", folder, "--spec", path, *WORDS, environment=environment(host)))
    record_property("checks", len(found["report"]["checks"]))
    assert host.started == 1
    assert host.guest is None
    assert machines(host) == {SOURCE, "skyvyos-quickstart-1.0.0"}


def test_one_command_bakes_here_and_registers_there(
    cache: Path, host: Host, spec_file: MakeSpec, tmp_path: Path, record_property: Any
) -> None:
    """`bake` with nothing but a layer in the cache: Packer bakes here, open-vm-tools inside, clones here are proven,
    the OVA's disk is sent and made a template, a clone there is proven, and the channel points to it."""
    path = spec_file("vsphere", settings(host))
    words = ["--offline", "--cache", cache, "--output", tmp_path / "output"]
    done = skyvypack("bake", "--spec", path, *WORDS, *words, environment=environment(host), timeout=3600)
    found = facts(done)
    record_property("checks", len(found["report"]["checks"]))
    assert json.loads(done.stdout)["bake"]["report"]["passed"], "proven here first"
    manifest = json.loads(next((tmp_path / "output").glob("*/manifest.json")).read_text())
    assert "open-vm-tools" in {package["name"] for package in manifest["packages"]}
    assert len(host.center.uploads) == 1
    assert machines(host) == {SOURCE, "skyvyos-quickstart-1.0.0"}


def test_packers_build_on_vcenter_boots_and_keeps_the_contract(
    source: Path, host: Host, roles: list[Any], spec_file: MakeSpec, tmp_path: Path, record_property: Any
) -> None:
    """`bake` with a base on vCenter: Packer clones a machine, boots it with a disc of its data, configures and seals it
    by SSH; what it made is marked, cloned, proven and pointed to, without an upload of a disk."""
    host.template = source
    base = {"kind": "clone", "source": SOURCE}
    machine = {"cpus": 2, "memory": 2048, "disk": 12, "firmware": "bios"}
    path = spec_file("vsphere", settings(host), base=base, machine=machine, roles=roles)
    output = ["--output", tmp_path / "output"]
    found = facts(skyvypack("bake", "--spec", path, *WORDS, *output, environment=environment(host)))
    record_property("checks", len(found["report"]["checks"]))
    assert host.started == 2
    assert host.guest is None
    assert host.center.uploads == []
    assert machines(host) == {SOURCE, "skyvyos-quickstart-1.0.0"}
