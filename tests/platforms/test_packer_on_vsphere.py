"""Packer 1.6.6's vsphere-clone with our document, against vcsim over verified TLS and a guest that runs nothing.

vcsim's machines have disks of 10 GiB, and as on a real vCenter a disk can grow, but not shrink; its clones lose their
notes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from platforms.conftest import Build, Prepare
from simulators import vcsim
from simulators.certificates import Authority
from simulators.ssh_guest import Reply
from simulators.vcsim import PASSWORD, USER, Server

from skyvypack import command

SOURCE = "DC0_C0_RP0_VM0"
NAME = "skyvyos-server-1.0.0"
pytestmark = pytest.mark.tool


@pytest.fixture
def prepared(vcenter: Server, prepare: Prepare) -> Build:
    """A build of ours, whose disk is not smaller than its source's."""
    build = prepare("vsphere", SOURCE, settings(vcenter))
    document = build.folder / "skyvyos.pkr.hcl"
    text, found = re.subn(r"(\n  disk_size += )8192", r"\g<1>12288", document.read_text())
    assert found == 1
    document.write_text(text)
    return build


@pytest.fixture
def vcenter(tmp_path: Path) -> Iterator[Server]:
    """A vCenter with one machine in its cluster, whose guests tell an address."""
    folder = tmp_path / "authority"
    folder.mkdir()
    with vcsim.running(Authority(folder), "-vm=1", "-address=127.0.0.1") as server:
        yield server


def govc(vcenter: Server, *words: str) -> str:
    return command.run([vcsim.program("govc"), *words], env=vcenter.environment).stdout


def machine(vcenter: Server, name: str) -> dict[str, Any]:
    found = json.loads(govc(vcenter, "vm.info", "-json", name)).get("virtualMachines") or [{}]
    return dict(found[0])


def settings(vcenter: Server) -> dict[str, Any]:
    place = {"datacenter": "DC0", "cluster": "DC0_C0", "datastore": "LocalDS_0", "network": "VM Network"}
    return {"server": vcenter.host, "username": USER, **place}


def environment(vcenter: Server) -> dict[str, str]:
    return {"VSPHERE_PASSWORD": PASSWORD, "SSL_CERT_FILE": str(vcenter.authority)}


def test_a_template_is_made(vcenter: Server, prepared: Build) -> None:
    """Clone, configuration on a CD, seal as the shutdown command, template without the CD; the source stays."""
    build = prepared

    def seal() -> Reply:
        govc(vcenter, "vm.power", "-off", "-force", NAME)
        return Reply(hang_up=True)

    build.answer(seal=seal)
    done = build.run(environment(vcenter))
    assert done.returncode == 0, done.stdout + done.stderr
    assert build.steps == ["wait"]
    assert build.guest.commands[-1].strip() == "sudo sh /tmp/skyvypack-seal.sh"
    made = machine(vcenter, NAME)
    assert made["config"]["template"] is True
    assert (made["config"]["hardware"]["numCPU"], made["config"]["hardware"]["memoryMB"]) == (2, 2048)
    devices = json.dumps(made["config"]["hardware"]["device"])
    assert "cidata" not in devices
    assert machine(vcenter, SOURCE)["config"]["template"] is False
    assert PASSWORD not in done.stdout + done.stderr


def test_a_failed_configuration_leaves_nothing(vcenter: Server, prepared: Build) -> None:
    """When cloud-init fails in the guest the build fails, says so, and the clone goes."""
    build = prepared
    words = "skyvypack: error: cloud-init failed\n"
    build.answer(wait=lambda: Reply(1, words))
    done = build.run(environment(vcenter))
    assert done.returncode == 1
    assert words.strip() in done.stdout
    assert machine(vcenter, NAME) == {}
