"""`bake --target …` with a base on the platform, from Packer's own builder to the channel.

A guest that carries nothing out plays the build machine (`simulators.ssh_guest`); tests/hosted has guests that boot.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from simulators.ssh_guest import Guest, Reply, serving

_TESTS = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(_TESTS / "registrars"), str(_TESTS / "simulators")]

pytest.importorskip("fakepve", reason="the simulated Proxmox VE is in the extra `dev`")

from adapters import FakeProver  # noqa: E402
from pve import ADDRESS, PASSWORD, Served  # noqa: E402
from pve import serving as serving_pve  # noqa: E402
from simulators import vcsim  # noqa: E402
from simulators.certificates import Authority  # noqa: E402
from simulators.vcenter import Answer, VCenter, vcenter  # noqa: E402

from skyvypack import bundle, command, write  # noqa: E402
from skyvypack import spec as specs  # noqa: E402
from skyvypack.errors import BakeFailed, ContractFailed  # noqa: E402
from skyvypack.registrar import PreflightFailed, Wishes, describe, reap  # noqa: E402
from skyvypack.registrar import deliver as deliver_module  # noqa: E402
from skyvypack.registrar.deliver import BakeWishes, Delivery, deliver  # noqa: E402
from skyvypack.spec.model import Spec  # noqa: E402

pytestmark = pytest.mark.tool

APPLY, WAIT, SEAL = "handing the configuration", "waiting for cloud-init", "skyvypack-seal.sh"
HANG_UP = Reply(hang_up=True)
TYPED = b"""<?xml version="1.0"?>
<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"><s:Body>
<PutUsbScanCodesResponse xmlns="urn:vim25"><returnval>1</returnval></PutUsbScanCodesResponse>
</s:Body></s:Envelope>"""
Deeds = Mapping[str, Callable[[], Reply]]


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    """A guest that really boots needs pauses; this one is there at once."""

    def written(made: bundle.Bundle, folder: Path) -> Path:
        write.write(made, folder)
        document = folder / "skyvyos.pkr.hcl"
        document.write_text(re.sub('"(15|5)s"', '"1s"', document.read_text()).replace("<wait3>", "<wait>"))
        return folder

    monkeypatch.setattr(deliver_module, "write", written)


@pytest.fixture
def guest() -> Iterator[Guest]:
    with serving(Guest("packer", "")) as served:
        yield served


@dataclass
class Site:
    """A platform, and how to bake on it.

    Args:
        target: its name.
        settings: that lead to it.
        guest: plays the build machine.
        folder: for what a bake leaves on this machine.
        arguments: that Packer's builder gets besides.
    """

    target: str
    settings: dict[str, Any]
    guest: Guest
    folder: Path
    arguments: dict[str, Any] = field(default_factory=dict)

    def spec(self, base: Mapping[str, str], version: str = "1.0.0") -> Spec:
        """A small spec, whose build machine is the guest."""
        access = {"ssh_host": "127.0.0.1", "ssh_port": self.guest.port}
        settings = {**self.settings, "arguments": access | self.arguments}
        machine = {"firmware": "bios", "disk": 12}
        given = {"name": "web", "version": version, "roles": ["base"], "machine": machine, "base": base}
        return specs.loads(yaml.safe_dump({**given, "targets": {self.target: settings}}))

    def bake(self, spec: Spec, deeds: Deeds, prover: FakeProver | None = None) -> Delivery:
        """Bake, prove, register, point: `skyvypack bake --channel stable`."""

        def answer(line: str, script: str) -> Reply:
            return next((deed() for words, deed in deeds.items() if words in line + script), Reply())

        self.guest.answer = answer
        baking = BakeWishes(output=self.folder / "output")
        return deliver(spec, self.target, wishes=Wishes(channel="stable"), baking=baking, prover=prover or FakeProver())


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Served]:
    """A Proxmox VE with the template `debian-13`."""
    folder = tmp_path / "pve"
    folder.mkdir()
    with serving_pve(folder) as served:
        served.add_template(100, "debian-13")
        yield served


@pytest.fixture
def proxmox(cluster: Served, guest: Guest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    monkeypatch.setenv("PROXMOX_PASSWORD", PASSWORD)
    monkeypatch.setenv("SSL_CERT_FILE", str(cluster.ca_file))
    access = {"url": cluster.url, "username": "root@pam", "ca_file": str(cluster.ca_file)}
    return Site("proxmox", {**access, "node": "pve1", "storage": "disks", "storage_type": "dir"}, guest, tmp_path)


def switching_off(cluster: Served) -> Callable[[], Reply]:
    """What sealing does: the machine that Packer runs goes off."""

    def seal() -> Reply:
        (running,) = [vm for vm in cluster.pve.vms if vm.status == "running"]
        running.status = running.qmpstatus = "stopped"
        return HANG_UP

    return seal


def test_proxmox_clone(proxmox: Site, cluster: Served) -> None:
    """Packer clones, configures and seals; its template is marked, proven by a clone, and the channel's."""
    spec = proxmox.spec({"kind": "clone", "source": "debian-13"})
    prover = FakeProver()
    done = proxmox.bake(spec, {APPLY: lambda: HANG_UP, SEAL: switching_off(cluster)}, prover)
    assert [guest.address for guest in prover.guests] == [ADDRESS]
    (template,) = describe(spec, "proxmox")
    assert (template.verified, template.channels) == (True, ("stable",))
    assert template.digest.startswith("bundle:")
    assert {vm.name: vm.template for vm in cluster.pve.vms} == {"debian-13": True, "web-1.0.0": True}
    assert done.registration.left == ()
    assert reap("proxmox") == ()


def test_proxmox_clone_that_fails(proxmox: Site, cluster: Served) -> None:
    """A configuration that fails in the guest is told in its words; Packer's machine is gone, and nothing is open."""
    words = "skyvypack: error: cloud-init failed\n"
    deeds = {APPLY: lambda: HANG_UP, WAIT: lambda: Reply(1, words)}
    with pytest.raises(BakeFailed, match="cloud-init failed"):
        proxmox.bake(proxmox.spec({"kind": "clone", "source": "debian-13"}), deeds)
    assert [vm.name for vm in cluster.pve.vms] == ["debian-13"]
    assert reap("proxmox") == ()


def test_proxmox_clone_whose_template_breaks_the_contract(proxmox: Site, cluster: Served) -> None:
    """What Packer made goes again, and the template that the channel points to stands."""
    deeds = {APPLY: lambda: HANG_UP, SEAL: switching_off(cluster)}
    with pytest.raises(ContractFailed):
        proxmox.bake(proxmox.spec({"kind": "clone", "source": "debian-13"}), deeds, FakeProver(passes=False))
    assert [vm.name for vm in cluster.pve.vms] == ["debian-13"]
    assert reap("proxmox") == ()


@pytest.fixture
def center(tmp_path: Path) -> Iterator[VCenter]:
    """A vCenter with one machine, whose guests tell an address."""
    folder = tmp_path / "authority"
    folder.mkdir()
    authority = Authority(folder)
    with vcsim.running(authority, "-vm=1", "-address=127.0.0.1") as behind, vcenter(behind, authority) as made:
        yield made


@pytest.fixture
def vsphere(center: VCenter, guest: Guest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    server = center.server
    monkeypatch.setenv("VSPHERE_PASSWORD", server.password)
    monkeypatch.setenv("SSL_CERT_FILE", str(server.authority))
    access = {"server": server.host, "username": server.user, "ca_file": str(server.authority)}
    place = {"datacenter": "DC0", "cluster": "DC0_C0", "datastore": "LocalDS_0", "network": "VM Network"}
    return Site("vsphere", access | place, guest, tmp_path)


def off(center: VCenter) -> Callable[[], Reply]:
    """What sealing does."""

    def seal() -> Reply:
        argv = [vcsim.program("govc"), "vm.power", "-off", "-force", "web-1.0.0"]
        command.run(argv, env=center.behind.environment)
        return HANG_UP

    return seal


def test_vsphere_clone(vsphere: Site, center: VCenter) -> None:
    """Packer clones, configures and seals; its template is marked, tagged, proven by a clone, and the channel's."""
    spec = vsphere.spec({"kind": "clone", "source": "DC0_C0_RP0_VM0"})
    vsphere.arguments["ip_settle_timeout"] = "1s"
    prover = FakeProver()
    done = vsphere.bake(spec, {SEAL: off(center)}, prover)
    assert [guest.address for guest in prover.guests] == ["127.0.0.1"]
    (template,) = describe(spec, "vsphere")
    assert (template.verified, template.channels) == (True, ("stable",))
    assert template.digest.startswith("bundle:")
    assert center.uploads == []
    assert done.registration.left == ()
    assert reap("vsphere") == ()


def test_proxmox_iso(proxmox: Site, cluster: Served) -> None:
    """Packer installs from a stored ISO, types its line and seals; its template is marked, proven and the channel's."""
    cluster.pve.store_file("local", "debian-13.iso", 1 << 20, "iso")
    proxmox.arguments["boot_key_interval"] = "1ms"
    spec = proxmox.spec({"kind": "iso", "url": "local:iso/debian-13.iso", "checksum": f"sha256:{'0' * 64}"})
    done = proxmox.bake(spec, {SEAL: switching_off(cluster)})
    (template,) = describe(spec, "proxmox")
    assert (template.verified, template.channels) == (True, ("stable",))
    assert template.id == done.registration.template.id
    assert {vm.name for vm in cluster.pve.vms} == {"debian-13", "web-1.0.0"}
    assert reap("proxmox") == ()


def test_vsphere_iso(vsphere: Site, center: VCenter) -> None:
    """Packer installs from a stored ISO; what it types is taken by a stand-in, as vcsim has no keyboard."""
    center.always("PutUsbScanCodes", Answer(200, TYPED))
    # Without one Packer sets its own and clears it in the end, which vcsim refuses for a template.
    vsphere.arguments |= {"boot_order": "disk,cdrom", "boot_keygroup_interval": "1ms", "ip_settle_timeout": "1s"}
    spec = vsphere.spec({"kind": "iso", "url": "[LocalDS_0]iso/debian-13.iso", "checksum": f"sha256:{'0' * 64}"})
    done = vsphere.bake(spec, {SEAL: off(center)})
    (template,) = describe(spec, "vsphere")
    assert (template.verified, template.channels) == (True, ("stable",))
    assert template.id == done.registration.template.id
    assert center.calls.count("PutUsbScanCodes") > 20
    assert reap("vsphere") == ()


def test_proxmox_source_that_is_not_there(proxmox: Site, cluster: Served) -> None:
    """It is told before Packer starts, with what was probably meant."""
    with pytest.raises(PreflightFailed, match=r"sees no VM or template debian-31\s+did you mean `debian-13`"):
        proxmox.bake(proxmox.spec({"kind": "clone", "source": "debian-31"}), {})


@pytest.mark.parametrize(
    ("source", "disk", "words"),
    [
        ("DC0_C0_RP0_VM1", 12, "did you mean `DC0_C0_RP0_VM0`"),
        ("vm/DC0_C0_RP0_VM0", 8, "has 10 GiB, and cannot shrink to 8"),
    ],
)
def test_vsphere_source_that_cannot_be(vsphere: Site, source: str, disk: int, words: str) -> None:
    """It is told before Packer starts: one that is not there, and one whose disk would have to shrink."""
    spec = vsphere.spec({"kind": "clone", "source": source})
    spec = replace(spec, machine=replace(spec.machine, disk=disk))
    with pytest.raises(PreflightFailed, match=words):
        vsphere.bake(spec, {})
