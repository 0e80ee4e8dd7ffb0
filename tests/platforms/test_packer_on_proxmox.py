"""Packer 1.6.6's proxmox-clone with our document, against fakepve over verified TLS and a guest that runs nothing."""

from __future__ import annotations

import sys
import time
import urllib.parse
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from platforms.conftest import Prepare
from simulators.ssh_guest import Reply

# The server's module imports its neighbours as if it were a program.
sys.path.insert(0, str(Path(__file__).parent.parent / "simulators"))

from pve import PASSWORD, Served, serving

proxmoxer = pytest.importorskip("proxmoxer")

NODE = "pve"
pytestmark = pytest.mark.tool


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    folder = tmp_path / "pve"
    folder.mkdir()
    with serving(folder) as running:
        yield running


@pytest.fixture
def api(served: Served) -> Any:
    """Its API, and the template `debian-13` with a cloud-init drive."""
    place = urllib.parse.urlsplit(served.url)
    client = proxmoxer.ProxmoxAPI(
        place.hostname, port=place.port, user="root@pam", password=PASSWORD, verify_ssl=str(served.ca_file)
    )
    node = client.nodes(client.nodes.get()[0]["node"])
    disk = {"scsihw": "virtio-scsi-single", "scsi0": "disks:8,format=raw", "ide2": "disks:cloudinit"}
    task = node.qemu.post(
        vmid=100, name="debian-13", ostype="l26", net0="virtio,bridge=vmbr0", agent="enabled=1", **disk
    )
    until(lambda: node.tasks(task).status.get()["status"] == "stopped")
    node.qemu(100).template.post()
    until(lambda: node.qemu(100).config.get().get("template") == 1)
    return node


def until(fact: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not fact():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def environment(served: Served) -> dict[str, str]:
    return {"PROXMOX_PASSWORD": PASSWORD, "SSL_CERT_FILE": str(served.ca_file)}


def settings(served: Served, api: Any) -> dict[str, Any]:
    node = api._store["base_url"].rpartition("/")[2]
    return {"url": served.url, "username": "root@pam", "node": node, "storage": "disks", "bridge": "vmbr0"}


def machines(api: Any) -> dict[str, dict[str, Any]]:
    return {one["name"]: api.qemu(one["vmid"]).config.get() for one in api.qemu.get()}


def test_a_template_is_made(served: Served, api: Any, prepare: Prepare) -> None:
    """Clone, key by cloud-init, configuration by SSH, restart, seal, template; the source stays as it is."""
    before = machines(api)["debian-13"]
    build = prepare("proxmox", "debian-13", settings(served, api))
    keys: list[str] = []

    def restart() -> Reply:
        running = machines(api)["skyvyos-server-1.0.0"]
        keys.append(f"{running['ciuser']} {urllib.parse.unquote(running['sshkeys'])}")
        return Reply(hang_up=True)

    def seal() -> Reply:
        (running,) = [one["vmid"] for one in api.qemu.get() if one["name"] == "skyvyos-server-1.0.0"]
        api.qemu(running).status.stop.post()
        return Reply(hang_up=True)

    build.answer(apply=restart, seal=seal)
    done = build.run(environment(served))
    assert done.returncode == 0, done.stdout + done.stderr
    assert build.steps == ["apply", "wait", "seal"]
    assert build.guest.key in keys[0]
    assert keys[0].startswith("packer ")
    made = machines(api)
    template = made["skyvyos-server-1.0.0"]
    assert template["template"] == 1
    assert template["description"].strip() == build.spec.title
    assert (int(template["cores"]), int(template["memory"])) == (2, 2048)
    assert made["debian-13"] == before
    assert PASSWORD not in done.stdout + done.stderr


def test_a_failed_configuration_leaves_nothing(served: Served, api: Any, prepare: Prepare) -> None:
    """When cloud-init fails in the guest the build fails, says so, and the clone goes."""
    build = prepare("proxmox", "debian-13", settings(served, api))
    words = "skyvypack: error: cloud-init failed\n"
    build.answer(apply=lambda: Reply(hang_up=True), wait=lambda: Reply(1, words))
    done = build.run(environment(served))
    assert done.returncode == 1
    assert words.strip() in done.stdout
    assert {*machines(api)} == {"debian-13"}
