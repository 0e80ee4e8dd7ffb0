"""The example that deploys a clone does what it says."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from vsphere_site import Site

from skyvypack import command
from skyvypack.registrar import reap
from skyvypack.targets.vsphere.vcenter import inventory

pytestmark = pytest.mark.tool

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "deploy_on_vsphere.py"


def deploy(site: Site, *words: str) -> command.Done:
    """Run the example as a user does, with a spec that says no more than it has to."""
    spec = site.folder / "skyvypack.yaml"
    lines = "\n".join(f"    {key}: {value}" for key, value in site.settings.items())
    spec.write_text(f"name: web\nversion: 1.0.0\nroles: [base]\ntargets:\n  vsphere:\n{lines}\n")
    secret = {"VSPHERE_PASSWORD": site.center.server.password, "SKYVYPACK_STATE": os.environ["SKYVYPACK_STATE"]}
    return command.run([sys.executable, EXAMPLE, spec, *words], env=secret, check=False)


def test_a_clone_of_the_channel_is_deployed(site: Site) -> None:
    """A whole machine of its own, running, with its user-data; the newer template, in no channel, is not taken."""
    site.register(site.order("1.0.0"), lambda made, _run, one: made.point(one, "stable"))
    site.register(site.order("1.1.0"))
    done = deploy(site, "stable", "web1")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-1] == "127.0.0.1"
    with site.connected(site.order()) as made:
        vm = next(one for one in made._place.folder.childEntity if one.name == "web1")
        facts = inventory.read(made._session, vm, "config.extraConfig", "runtime.powerState")
    assert facts["runtime.powerState"] == "poweredOn"
    # vcsim's clones lose their notes, so they are looked for in what was asked.
    assert any(b"<annotation>Clone of web-1.0.0<" in request for request in site.center.requests)
    assert {"guestinfo.userdata", "guestinfo.metadata"} <= {one.key for one in facts["config.extraConfig"]}
    assert site.machines() == {"web-1.0.0": True, "web-1.1.0": True, "web1": False}
    assert reap("vsphere") == ()


def test_a_channel_that_nothing_is_in(site: Site) -> None:
    """It is told, and nothing is made."""
    site.register(site.order("1.0.0"))
    done = deploy(site, "stable", "web1")
    assert done.returncode == 1
    assert "no template of web is in channel stable" in done.stderr
    assert site.machines() == {"web-1.0.0": True}
