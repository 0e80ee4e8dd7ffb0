"""A template on Proxmox VE is proven by a guest that boots from what was uploaded."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hosted.conftest import PATIENCE, MakeSpec, artifact_of, facts, skyvypack, spec_of

pytest.importorskip("fakepve", reason="the simulated Proxmox VE is in the extra `dev`")

from simulators.pve import PASSWORD, SECRET, TOKEN, Served
from simulators.pve_host import hosting

from skyvypack.disk import sha256

pytestmark = pytest.mark.boot

TARGET = "proxmox"
WORDS = ["--target", TARGET, "--channel", "stable", "--patience", str(PATIENCE), "--json"]


@pytest.fixture
def cluster(network: None, tmp_path: Path) -> Iterator[Served]:
    with hosting(tmp_path) as served:
        yield served


def settings(served: Served) -> dict[str, Any]:
    access = {"url": served.url, "username": TOKEN, "ca_file": str(served.ca_file)}
    return {**access, "node": "pve1", "storage": "disks", "disk_format": "qcow2", "bridge": "vmbr0"}


def test_what_was_uploaded_boots_and_keeps_the_contract(
    template: Path, cluster: Served, spec_file: MakeSpec, tmp_path: Path, record_property: Any
) -> None:
    """`register` uploads, clones, boots the clone with its own user-data, proves it over the address that the guest's
    own agent tells, removes the clone, and moves the channel."""
    path = spec_file("proxmox", settings(cluster))
    folder = artifact_of(template, spec_of(path), "proxmox", tmp_path / "artifact")
    done = skyvypack("register", folder, "--spec", path, *WORDS, environment={"PROXMOX_TOKEN": SECRET})
    found = facts(done)
    record_property("checks", len(found["report"]["checks"]))
    pve = cluster.pve
    assert pve.uploads[0]["sha256"] == sha256(template), "the guest's disk is the baked one"
    (vm,) = pve.vms
    assert (str(vm.vmid), vm.template) == (found["template"]["id"], True)
    assert "channel-stable" in vm.config["tags"]
    assert "skyvypack-verified" in vm.config["tags"]
    assert pve.started == [vm.vmid + 1], "one clone was booted, once"
    assert pve.guests == {}
    assert not any(store.get("files") or "import" in str(store.get("volumes")) for store in pve.storages.values())


def test_one_command_bakes_here_and_registers_there(
    cache: Path, cluster: Served, spec_file: MakeSpec, tmp_path: Path, record_property: Any
) -> None:
    """`bake` with nothing but a layer in the cache: Packer bakes here, two clones here are proven, the disk is uploaded
    and made a template, a clone there is proven, and the channel points to it."""
    path = spec_file("proxmox", settings(cluster))
    words = ["--offline", "--cache", cache, "--output", tmp_path / "output"]
    done = skyvypack("bake", "--spec", path, *WORDS, *words, environment={"PROXMOX_TOKEN": SECRET}, timeout=3600)
    found = facts(done)
    record_property("checks", len(found["report"]["checks"]))
    told = json.loads(done.stdout)
    assert told["bake"]["report"]["passed"], "proven here first"
    (made,) = (tmp_path / "output").glob("*/*.qcow2")
    (uploaded,) = (one for one in cluster.pve.uploads if one["content"] == "import")
    assert uploaded["sha256"] == sha256(made)
    assert {vm.name: vm.template for vm in cluster.pve.vms} == {"skyvyos-quickstart-1.0.0": True}
    assert cluster.pve.guests == {}


def test_packers_build_on_the_cluster_boots_and_keeps_the_contract(
    source: Path, cluster: Served, roles: list[Any], spec_file: MakeSpec, tmp_path: Path, record_property: Any
) -> None:
    """`bake` with a base on the cluster: Packer clones, finds the clone's address by the guest's agent, configures and
    seals it by SSH; what it made is marked, cloned, proven and pointed to, and the source stays as it is."""
    cluster.add_template(100, "debian-13")
    pve = cluster.pve
    pve.disks[100] = source
    access = {"username": "root@pam"}
    base = {"kind": "clone", "source": "debian-13"}
    path = spec_file("proxmox", settings(cluster) | access, base=base, roles=roles)
    environment = {"PROXMOX_PASSWORD": PASSWORD, "SSL_CERT_FILE": str(cluster.ca_file)}
    output = ["--output", tmp_path / "output"]
    found = facts(skyvypack("bake", "--spec", path, *WORDS, *output, environment=environment))
    record_property("checks", len(found["report"]["checks"]))
    assert {vm.name: vm.template for vm in pve.vms} == {"debian-13": True, "skyvyos-quickstart-1.0.0": True}
    (built, proven) = pve.started
    assert str(built) == found["template"]["id"] != str(proven)
    assert pve.uploads[0]["content"] == "iso", "only the seed of the clone that was proven went up"
