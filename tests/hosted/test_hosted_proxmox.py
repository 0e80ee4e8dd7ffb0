"""A template on Proxmox VE is proven by a guest that boots from what was uploaded."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hosted.conftest import PATIENCE, MakeSpec, artifact_of, skyvypack, spec_of
from simulators import lan

pytest.importorskip("fakepve", reason="the simulated Proxmox VE is in the extra `dev`")

from simulators.pve import SECRET, TOKEN, Served
from simulators.pve_host import hosting

from skyvypack.disk import sha256

pytestmark = pytest.mark.boot


@pytest.fixture
def cluster(network: None, tmp_path: Path) -> Iterator[Served]:
    with hosting(tmp_path) as served:
        yield served


def settings(served: Served) -> dict[str, Any]:
    access = {"url": served.url, "username": TOKEN, "ca_file": str(served.ca_file)}
    return {**access, "node": "pve1", "storage": "disks", "disk_format": "qcow2", "bridge": "vmbr0"}


def test_what_was_uploaded_boots_and_keeps_the_contract(
    template: Path, cluster: Served, spec_file: MakeSpec, tmp_path: Path
) -> None:
    """`register` uploads, clones, boots the clone with its own user-data, proves it over the address that the guest's
    own agent tells, removes the clone, and moves the channel."""
    path = spec_file("proxmox", settings(cluster))
    folder = artifact_of(template, spec_of(path), "proxmox", tmp_path / "artifact")
    told = ["--spec", path, "--target", "proxmox", "--channel", "stable", "--patience", str(PATIENCE), "--json"]
    done = skyvypack("register", folder, *told, environment={"PROXMOX_TOKEN": SECRET})
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(done.stdout)
    pve = cluster.pve
    assert pve.uploads[0]["sha256"] == sha256(template), "the guest's disk is the baked one"
    assert found["report"]["passed"]
    assert found["report"]["accelerator"] == lan.GUEST, "proven over the address that the agent told"
    assert found["channel"] == "stable"
    assert found["left"] == []
    (vm,) = pve.vms
    assert (str(vm.vmid), vm.template) == (found["template"]["id"], True)
    assert "channel-stable" in vm.config["tags"]
    assert "skyvypack-verified" in vm.config["tags"]
    assert pve.started == [vm.vmid + 1], "one clone was booted, once"
    assert pve.guests == {}
    assert not any(store.get("files") or "import" in str(store.get("volumes")) for store in pve.storages.values())
