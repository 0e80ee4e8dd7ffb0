"""What a registration makes on Proxmox VE, request by request."""

from __future__ import annotations

import json
from typing import Any

import adapters
import pytest

from skyvypack import registrar
from skyvypack.errors import BakeFailed, ContractFailed
from skyvypack.progress import Progress
from skyvypack.registrar import RegistrarError, Wishes, describe, register
from skyvypack.spec.model import Machine

pytest.importorskip("fakepve", reason="the simulated Proxmox VE is in the extra `dev`")

from pve import ADDRESS, PASSWORD, SECRET

from skyvypack.targets.proxmox.pve import address, hardware, marks

pytestmark = pytest.mark.tool


def config_of(cluster: Any, vmid: str) -> dict[str, Any]:
    return dict(cluster.served.pve.vm(int(vmid)).config)


def test_the_machine_is_what_the_issue_asks_for(cluster, do):
    """UEFI on q35 with an EFI disk, virtio-scsi-single with discard, agent, serial port, cloud-init drive, NIC."""
    cluster.served.pve.pools["golden"] = set()
    cluster.more = {"vlan": 7, "tpm": True, "pool": "golden", "tags": ["team-a"], "vm_ids": "9000-9010"}
    done = do(manifest="https://images.example/web/1.0.0/manifest.json")
    assert done.template.id == "9000"
    config = config_of(cluster, "9000")
    assert (config["bios"], config["machine"], config["scsihw"]) == ("ovmf", "q35", "virtio-scsi-single")
    assert "efitype=4m" in config["efidisk0"]
    assert "version=v2.0" in config["tpmstate0"]
    assert config["scsi0"].startswith("disks:9000/base-9000-disk-")
    assert {"discard=on", "iothread=1", "size=4G"} <= set(config["scsi0"].split(","))
    assert "media=cdrom" in config["ide2"]
    assert (config["serial0"], config["agent"]) == ("socket", "enabled=1,fstrim_cloned_disks=1")
    assert "bridge=vmbr0" in config["net0"]
    assert "tag=7" in config["net0"]
    assert (config["cores"], config["memory"], config["cpu"]) == (2, "2048", "x86-64-v2-AES")
    assert marks.split(config["tags"]) == ["skyvypack", "skyvypack-verified", "team-a"]
    assert config["template"] == 1
    assert config["boot"] == "order=scsi0"
    assert cluster.served.pve.pools["golden"] == {9000}
    for words in ("SkyvyOS Server 1.0.0", "sha256:", "[manifest](https://images.example/web/1.0.0/manifest.json)"):
        assert words in config["description"]


def test_bios_has_no_efi_disk(cluster, do, monkeypatch):
    """A spec for BIOS gets SeaBIOS."""
    monkeypatch.setattr(adapters, "Machine", lambda disk: Machine(disk=disk, firmware="bios"))
    config = config_of(cluster, do().template.id)
    assert config["bios"] == "seabios"
    assert "efidisk0" not in config


def test_the_upload_is_checked_and_removed(cluster, do):
    """Proxmox VE is told the checksum and compares it; the file has the run's id in its name and is gone afterwards."""
    done = do()
    disk, seed = cluster.served.pve.uploads
    assert (disk["content"], disk["checksum-algorithm"], disk["checksum"]) == ("import", "sha256", disk["sha256"])
    assert disk["filename"] == f"web-1.0.0-{done.template.run}.qcow2"
    assert seed["content"] == "iso"
    assert [name for name in cluster.objects() if name.startswith("local:")] == []


def test_a_disk_that_arrives_broken_is_refused(cluster, do):
    """What arrived differs from what was sent: Proxmox VE's own words, and nothing is left."""
    before = cluster.objects()
    cluster.served.pve.corrupt = True
    with pytest.raises(RegistrarError, match="checksum mismatch"):
        do()
    assert cluster.objects() == before


def test_a_failed_task_is_told_with_the_end_of_its_log(cluster, do):
    """`exitstatus` decides, not that the task ended."""
    with cluster.hooked(lambda call: _fail_create(cluster, call)), pytest.raises(RegistrarError) as raised:
        do()
    assert "qmcreate 100: no such volume group\n" in raised.value.message
    assert "TASK ERROR: no such volume group" in raised.value.message


def _fail_create(cluster: Any, call: str) -> None:
    if call == "POST /nodes/pve1/qemu":
        cluster.served.pve.fail_task = "no such volume group"


def test_an_older_proxmox_imports_from_a_path(cluster, do, monkeypatch):
    """8.2 takes no disks for import: root uploads it as an image and imports it by its path."""
    cluster.served.pve.version = "8.2.4"
    cluster.more = {"username": "root@pam"}
    monkeypatch.delenv("PROXMOX_TOKEN")
    monkeypatch.setenv("PROXMOX_PASSWORD", PASSWORD)
    done = do()
    disk = cluster.served.pve.uploads[0]
    assert (disk["content"], disk["filename"]) == ("iso", f"web-1.0.0-{done.template.run}.img")
    assert "size=4G" in config_of(cluster, done.template.id)["scsi0"]
    assert [name for name in cluster.objects() if name.startswith("local:")] == []


def test_an_id_that_somebody_took_meanwhile_is_left_alone(cluster, do):
    """Between the look for a free id and its use another VM appears: the next id is taken."""

    def take(call: str) -> None:
        if call == "POST /nodes/pve1/qemu" and cluster.served.pve.vm(100) is None:
            cluster.served.pve.add_vm(100, "quicker", node="pve1")

    with cluster.hooked(take):
        done = do()
    assert done.template.id == "101"
    assert cluster.served.pve.vm(100).name == "quicker"


def test_an_expired_ticket_is_renewed(cluster, do, monkeypatch):
    """A registration may last longer than a ticket."""
    cluster.more = {"username": "root@pam"}
    monkeypatch.delenv("PROXMOX_TOKEN")
    monkeypatch.setenv("PROXMOX_PASSWORD", PASSWORD)
    seen: set[str] = set()

    def expire(call: str) -> None:
        if call not in seen:
            seen.add(call)
            cluster.served.pve.revoke_tickets()

    with cluster.hooked(expire):
        assert do(channel="stable").complete
    assert len(seen) >= 10


def test_the_clone_boots_with_our_user_data_and_tells_its_address(cluster, tmp_path):
    """The clone's cloud-init drive is replaced by a disc with the prover's data; the agent's address is used."""
    prover = adapters.FakeProver()
    states: list[Any] = []

    def look(guest: Any, *others: Any) -> Any:
        vm = cluster.served.pve.vm(int(guest.id))
        states.append((guest.address, vm.status, vm.config["ide2"], vm.config["name"]))
        return adapters.FakeProver.prove(prover, guest, *others)

    prover.prove = look  # type: ignore[method-assign]
    spec = cluster.spec()
    register(spec, "proxmox", cluster.artifact(tmp_path, spec), prover=prover)
    ((where, status, drive, name),) = states
    assert (where, status, name) == (ADDRESS, "running", "web-1.0.0-verify")
    assert drive.startswith("local:iso/skyvypack-")


def test_a_protected_template_is_not_retired(cluster, do):
    """Proxmox VE's own protection is a reason to keep it."""
    old = do("1.0.0").template
    cluster.served.pve.vm(int(old.id)).config["protection"] = 1
    done = do("1.1.0", content=b"new", keep=1)
    assert "protection" in done.retirement.refused[0].reasons[0]


def test_somebody_elses_change_of_tags_is_kept(cluster, do):
    """A tag that is set while ours is being set stays."""
    calls = 0

    def meddle(call: str) -> None:
        nonlocal calls
        if call.startswith("PUT") and call.endswith("/qemu/100/config"):
            calls += 1
            if calls == 1:
                cluster.served.pve.vm(100).config["tags"] += ";theirs"

    with cluster.hooked(meddle):
        done = do()
    assert {"theirs", "skyvypack-verified"} <= set(marks.split(config_of(cluster, done.template.id)["tags"]))


def test_no_secret_leaves_the_process(cluster, do, tmp_path, capfd):
    """Neither journal, notes, output nor any request but the header of the login hold the token or the password."""
    kept: list[str] = []

    def look(call: str) -> None:
        kept.extend(path.read_text() for path in registrar.Journal("proxmox").folder.glob("*.jsonl"))

    with cluster.hooked(look):
        do(channel="stable")
    assert kept
    shown = capfd.readouterr()
    texts = [*kept, shown.out, shown.err, json.dumps(cluster.objects()), repr(cluster.served.pve.requests)]
    texts += [repr(one) for one in describe(cluster.spec(), "proxmox")]
    assert not [text for text in texts if SECRET in text or PASSWORD in text]


@pytest.mark.parametrize(
    ("text", "name"),
    [("web-1.0.0", "web-1.0.0"), ("web-1.0.0+b~2", "web-1.0.0-b-2"), ("web-1.0.~", "web-1.0")],
)
def test_a_version_becomes_a_dns_name(text, name):
    """Proxmox VE takes DNS names only."""
    assert hardware.dns_name(text) == name


def test_marks_are_read_back_whatever_they_hold(cluster):
    """Also a URL that would end the comment."""
    told = {"name": "web", "manifest": "https://x.example/-->?a=1"}
    assert marks.read({"description": f"text\n{marks.hidden(told)}\nmore"}) == told
    assert marks.read({"description": "somebody's own"}) == {}


CARD = "virtio=BC:24:11:00:00:01,bridge=vmbr0"


@pytest.mark.parametrize(
    ("addresses", "picked"),
    [
        (["fe80::1", "169.254.1.1"], None),
        (["2001:db8::5", "192.0.2.9"], "192.0.2.9"),
        (["2001:db8::5", "fe80::1"], "2001:db8::5"),
        ([], None),
    ],
)
def test_the_address_is_that_of_the_card(addresses, picked):
    """Of the interface with the card's MAC address, and none that only the link knows."""
    ours = {"hardware-address": "bc:24:11:00:00:01", "ip-addresses": [{"ip-address": one} for one in addresses]}
    docker = {"hardware-address": "02:42:00:00:00:01", "ip-addresses": [{"ip-address": "172.17.0.1"}]}
    assert address.pick([docker, ours], CARD) == picked


def test_wishes_are_told_in_the_plan(cluster, tmp_path):
    """Who we are, where, which VMID and which storages."""
    spec = cluster.spec()
    told = registrar.plan(spec, "proxmox", cluster.artifact(tmp_path, spec), wishes=Wishes(channel="stable"))
    assert told.where.startswith("ci@pve!bake at https://127.0.0.1:")
    text = "\n".join(step.text for step in told.steps)
    for words in ("to local on pve1 as import", "VM 100 (web-1.0.0)", "disk on disks", "move stable to web-1.0.0"):
        assert words in text


class Packer:
    """A bake on the cluster: makes a template as Packer's builders do, without a mark of ours."""

    digest = "bundle:abc"

    def __init__(self, cluster: Any, error: Exception | None = None) -> None:
        self._cluster = cluster
        self._error = error

    def build(self, progress: Progress) -> str:
        """Make VM 300, or leave it half-made."""
        config = {"agent": "1", "net0": "virtio=BC:24:11:00:00:01,bridge=vmbr0", "tags": "from-packer"}
        made = self._cluster.served.pve.add_vm(300, "web-1.0.0", node="pve1", template=not self._error, config=config)
        if self._error:
            raise self._error
        made.config["template"] = 1
        return "300"


def test_what_packer_made_is_marked_proven_and_pointed_to(cluster):
    """The remote bake: Packer's template gets our notes and tags, keeps its own, and a clone of it is proven."""
    done = register(
        cluster.spec(), "proxmox", Packer(cluster), wishes=Wishes(channel="stable"), prover=adapters.FakeProver()
    )
    assert (done.template.id, done.template.digest, done.channel) == ("300", "bundle:abc", "stable")
    tags = marks.split(config_of(cluster, "300")["tags"])
    assert tags == ["channel-stable", "from-packer", "skyvypack", "skyvypack-verified"]
    assert [vm.vmid for vm in cluster.served.pve.vms] == [300]


@pytest.mark.parametrize("error", [BakeFailed("packer build failed"), KeyboardInterrupt()], ids=["failed", "Ctrl-C"])
def test_what_packer_left_is_removed(cluster, error):
    """Packer tidies up by itself; what it left under the name that is ours goes, and a VM of another name stays."""
    cluster.served.pve.add_vm(200, "web-0.9.0", node="pve1")
    with pytest.raises(type(error)):
        register(cluster.spec(), "proxmox", Packer(cluster, error), prover=adapters.FakeProver())
    assert [vm.vmid for vm in cluster.served.pve.vms] == [200]


def test_packers_work_goes_when_it_breaks_the_contract(cluster):
    """Whoever made the template, an unproven one does not stand."""
    with pytest.raises(ContractFailed):
        register(cluster.spec(), "proxmox", Packer(cluster), prover=adapters.FakeProver(passes=False))
    assert cluster.served.pve.vms == []
