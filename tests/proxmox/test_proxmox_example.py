"""The example that deploys a clone does what it says."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import pytest
import yaml

from skyvypack.registrar import reap

pytest.importorskip("fakepve", reason="the simulated Proxmox VE is in the extra `dev`")

from pve import ADDRESS

pytestmark = pytest.mark.tool

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "deploy_on_proxmox.py"


def test_a_clone_of_the_channel_is_deployed(cluster: Any, do: Any, tmp_path: Path) -> None:
    """A whole VM of its own, running, with the host name's user-data; no run has to be reaped."""
    do("1.0.0", channel="stable")
    do("1.1.0", content=b"newer")
    ours = {name: cluster.settings()[name] for name in ("url", "username", "ca_file", "storage", "disk_format")}
    spec = tmp_path / "skyvypack.yaml"
    spec.write_text(yaml.safe_dump({"name": "web", "version": "1.0.0", "roles": ["ssh"], "targets": {"proxmox": ours}}))
    address = runpy.run_path(str(EXAMPLE))["deploy"](spec, "stable", "web1")
    assert address == ADDRESS
    vm = next(one for one in cluster.served.pve.vms if one.name == "web1")
    assert vm.status == "running"
    assert f"{vm.vmid}/vm-{vm.vmid}-disk" in vm.config["scsi0"]
    assert "base-" not in vm.config["scsi0"]
    assert vm.config["ide2"].startswith("local:iso/")
    assert "Clone of web-1.0.0." in vm.config["description"]
    assert reap("proxmox") == ()
