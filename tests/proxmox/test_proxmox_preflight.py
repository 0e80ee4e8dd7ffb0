"""What is in the way is told before anything is made: all of it, each with what mends it."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Any

import pytest

from skyvypack.registrar import Obstacle, PreflightFailed, Wishes, plan

pytest.importorskip("fakepve", reason="the simulated Proxmox VE is in the extra `dev`")

from pve import PASSWORD, SECRET

pytestmark = pytest.mark.tool


@pytest.fixture
def look(cluster: Any, tmp_path: Path) -> Any:
    """Plans a registration; returns its obstacles, and insists that nothing was changed."""

    def looked(**wishes: Any) -> tuple[Obstacle, ...]:
        spec = cluster.spec()
        artifact = cluster.artifact(tmp_path / "output", spec)
        before = cluster.objects()
        seen: list[str] = []
        with cluster.hooked(seen.append):
            told = plan(spec, "proxmox", artifact, wishes=Wishes(**wishes))
        assert seen == []
        assert cluster.objects() == before
        return told.obstacles

    return looked


def test_a_cluster_that_is_ready_has_no_obstacle(cluster, look):
    """Nothing is invented."""
    assert look() == ()


def test_everything_is_told_at_once(cluster, look, do):
    """Seven different things are wrong, and one look tells all of them, each with a hint."""
    pve = cluster.served.pve
    cluster.more = {"bridge": "vmbr9", "pool": "golden", "vm_id": 100, "storage": "fast", "efi_storage": "disks"}
    pve.storages["local"]["content"] = "iso,backup"
    pve.storages["disks"]["active"] = 0
    pve.add_vm(100, "web-1.0.0", node="pve1")
    found = look()
    assert [one.check for one in found] == ["storage", "storage", "storage", "network", "pool", "vmid", "name"]
    assert all(one.hint for one in found)
    with pytest.raises(PreflightFailed) as raised:
        do()
    assert raised.value.obstacles == found
    assert str(raised.value).count("\n") >= 2 * len(found)
    assert any("pvesm set local --content backup,import,iso" in one.hint for one in found)


def test_each_missing_privilege_is_named_with_its_command(cluster, look):
    """One obstacle for each privilege, with the pveum lines; granted by those lines, none is left."""
    pve = cluster.served.pve
    pve.grant("somebody@pve", "/", "Sys.Audit")
    # An account without Datastore.Audit does not even see its storages.
    for storage in ("disks", "local"):
        pve.grant("ci@pve!bake", f"/storage/{storage}", "Datastore.Audit")
    found = [one for one in look() if one.check == "permission"]
    assert len(found) == 13 + 1 + 3 + 1
    assert all(one.hint.startswith("pveum role add Skyvypack") for one in found)
    granted = set()
    for one in found:
        privileges, path, token = re.search(
            r"--privs \"([^\"]+)\"; pveum acl modify (\S+) --tokens '([^']+)' --roles", one.hint
        ).groups()
        if path not in granted:
            pve.grant(token, path, *privileges.split())
            granted.add(path)
    assert look() == ()


def test_the_granted_privileges_are_enough(cluster, look, do):
    """With what the preflight asks for, and no more, a whole registration goes through."""
    pve = cluster.served.pve
    pve.acl = {}
    for storage in ("disks", "local"):
        pve.grant("ci@pve!bake", f"/storage/{storage}", "Datastore.Audit")
    for one in look():
        privileges, path = re.search(r"--privs \"([^\"]+)\"; pveum acl modify (\S+)", one.hint).groups()
        pve.grant("ci@pve!bake", path, *privileges.split())
    assert do(channel="stable", keep=1).complete


@pytest.mark.parametrize(("free", "told"), [(5 * 1024**3, ()), (3 * 1024**3, ("space",))])
def test_room_for_the_disk_is_looked_for(cluster, look, free, told):
    """A storage with less room than the disk's size is told."""
    cluster.served.pve.storages["disks"]["avail"] = free
    assert tuple(one.check for one in look()) == told


def test_an_unknown_authority_is_refused_with_the_way_to_trust_it(cluster, look):
    """The certificate is always verified, also on this very machine; the hint names both ways."""
    cluster.more = {"ca_file": ""}
    (found,) = look()
    assert found.check == "certificate"
    assert "pve-root-ca.pem" in found.hint
    assert "pvenode cert info" in found.hint


def test_a_fingerprint_takes_the_place_of_an_authority(cluster, look):
    """The right one is trusted without a CA, for a token and for a password; another one is refused."""
    pinned = ":".join(re.findall("..", cluster.served.fingerprint.upper()))
    cluster.more = {"ca_file": "", "fingerprint": pinned}
    assert look() == ()
    cluster.more["fingerprint"] = hashlib.sha256(b"another").hexdigest()
    assert [one.check for one in look()] == ["certificate"]


def test_password_login_is_verified_like_everything_else(cluster, look, monkeypatch):
    """The login itself goes over the pinned connection, and a wrong password is no matter of retries."""
    monkeypatch.delenv("PROXMOX_TOKEN")
    monkeypatch.setenv("PROXMOX_PASSWORD", PASSWORD)
    cluster.more = {"ca_file": "", "fingerprint": cluster.served.fingerprint, "username": "root@pam"}
    assert look() == ()
    monkeypatch.setenv("PROXMOX_PASSWORD", "wrong")
    (found,) = look()
    assert found.check == "credentials"
    assert "401" in found.message
    # Two questions were asked with it, and neither again.
    assert len([one for one in cluster.served.pve.requests if one[1].endswith("/ticket")]) == 1 + 2


def test_a_secret_can_come_from_a_file(cluster, look, tmp_path, monkeypatch):
    """PROXMOX_TOKEN_FILE names a file that holds it; without any, the obstacle names the variable."""
    monkeypatch.delenv("PROXMOX_TOKEN")
    (found,) = look()
    assert found.check == "credentials"
    assert "PROXMOX_TOKEN" in found.message
    (tmp_path / "token").write_text(f"{SECRET}\n")
    monkeypatch.setenv("PROXMOX_TOKEN_FILE", str(tmp_path / "token"))
    assert look() == ()


def test_nobody_there_is_told_at_once(cluster, look):
    """A port on which nothing listens is one obstacle."""
    cluster.more = {"url": "https://127.0.0.1:9"}
    (found,) = look()
    assert found.check == "reach"


def test_several_nodes_want_a_choice(cluster, look):
    """Without the setting the nodes are listed; with it there is no obstacle."""
    cluster.served.pve.add_node("pve2")
    (found,) = look()
    assert (found.check, "pve1, pve2" in found.hint) == ("node", True)
    cluster.more = {"node": "pve1"}
    assert look() == ()


def test_an_old_proxmox_is_told_what_to_do(cluster, look):
    """Before 8.4 a token cannot import: the hint says how root can; before 7.2 nobody can."""
    cluster.served.pve.version = "8.2.4"
    (found,) = look()
    assert (found.check, "root@pam" in found.hint) == ("version", True)
    cluster.served.pve.version = "7.1.2"
    assert look()[0].check == "version"


def test_a_clone_needs_the_agent_only_for_verification(cluster, look):
    """Without the guest agent a template can still be registered, unproven."""
    cluster.more = {"agent": False}
    assert [one.check for one in look()] == ["verify"]
    assert look(verify=False) == ()
