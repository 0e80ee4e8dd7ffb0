"""Everything that would make a registration with vSphere fail is said at once, and nothing is made."""

from __future__ import annotations

import dataclasses
import re
import socket
import ssl
from pathlib import Path

import pytest
from simulators.certificates import Authority
from simulators.vcenter import VCenter
from vsphere_site import Site, journals, obstacles, somebody_makes

from skyvypack.errors import InputError
from skyvypack.registrar import Order, RegistrarError
from skyvypack.targets.vsphere.vcenter import preflight

pytestmark = pytest.mark.tool


def test_nothing_in_the_way(site: Site) -> None:
    """A vCenter that is ready has no obstacle, and a preflight changes nothing."""
    assert obstacles(site) == {}
    assert site.machines() == {}


def test_tls_is_always_verified(site: Site, tmp_path: Path) -> None:
    """A certificate nobody we trust has signed is refused, on loopback too, and no password is sent."""
    other = Authority(tmp_path, "other")
    found = obstacles(site, ca_file=other.file)
    assert list(found) == ["connection"]
    assert "certificate verify failed" in found["connection"]
    assert "ca_file" in found["connection"]
    assert "Login" not in site.center.calls


def test_pyvmomi_left_to_itself_would_trust_anybody(center: VCenter) -> None:
    """Why a context is always given: without one, pyvmomi logs in at a stranger's on loopback."""
    from pyVim import connect

    server = center.server
    with pytest.raises(ssl.SSLCertVerificationError):
        connect.SmartConnect(host="127.0.0.1", port=server.port, sslContext=ssl.create_default_context())
    trusting = connect.SmartConnect(host="127.0.0.1", port=server.port, user=server.user, pwd=server.password)
    trusting.content.sessionManager.Logout()
    trusting._stub.DropConnections()


def test_insecure_is_refused(site: Site) -> None:
    """A setting that trusts anybody is an error of the input."""
    with pytest.raises(InputError, match="nobody verified"), site.connected(site.order(settings={"insecure": "true"})):
        pass


def test_credentials_are_named(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every variable that is missing is named at once."""
    monkeypatch.delenv("VSPHERE_PASSWORD")
    nobody = site.order(settings={"server": "''", "username": "''"})
    wanted = "not set: VSPHERE_SERVER, VSPHERE_USER, VSPHERE_PASSWORD"
    with pytest.raises(InputError, match=wanted), site.connected(nobody):
        pass


def test_bad_login(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """A wrong password is the one obstacle, and it is never shown."""
    monkeypatch.setenv("VSPHERE_PASSWORD", "wr0ng-canary")
    found = obstacles(site)
    assert list(found) == ["connection"]
    assert "refuses user" in found["connection"]
    assert "wr0ng-canary" not in str(found)


def test_unreachable(site: Site) -> None:
    """A vCenter that is not there is the one obstacle."""
    found = obstacles(site, server="127.0.0.1:1")
    assert list(found) == ["connection"]
    assert "check the server's name" in found["connection"]


def test_unknown_name(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that nobody has is told at once: waiting would not help."""

    def look(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    order = site.order(settings={"server": "vcenter.invalid"})
    monkeypatch.setattr(socket, "getaddrinfo", look)
    with site.connected(order) as made:
        (found,) = made.preflight(order)
    assert "Name or service not known" in found.message
    assert "check the server's name" in found.hint
    assert [event for event in site.events if "again" in event.text] == []


def test_one_login_is_enough_to_know(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """A registration with a wrong password tries it once: more could lock the account."""
    monkeypatch.setenv("VSPHERE_PASSWORD", "wrong")
    order = site.order()
    with site.connected(order) as made:
        with pytest.raises(RegistrarError, match="refuses user"):
            made.describe("web")
        assert [one.check for one in made.preflight(order)] == ["connection"]
    assert site.center.calls.count("Login") == 1


def test_unreadable_authority(site: Site, tmp_path: Path) -> None:
    """A file of certificates that cannot be read is told as what it is, not as a vCenter that cannot be reached."""
    found = obstacles(site, ca_file=tmp_path / "missing.pem")
    assert found["connection"].startswith("cannot read certificates from")


def test_privileges_are_named_one_by_one(site: Site) -> None:
    """Each missing privilege is told with what it is missing on."""
    every = [(what, name) for what, names in preflight.PRIVILEGES.items() for name in names]
    site.center.moods.denied = {name for _, name in every}
    order = site.order()
    with site.connected(order) as made:
        found = [one.message for one in made.preflight(order) if one.check == "privilege"]
    assert len(found) == len(every)
    for what, name in every:
        assert any(f"lacks {name} on the {what}" in message for message in found)


@pytest.mark.parametrize(
    ("setting", "value", "check", "words"),
    [
        ("cluster", "DC0_C1", "cluster", "did you mean `DC0_C0`?"),
        ("cluster", "''", "cluster", "no cluster is named"),
        ("host", "nobody", "host", "there is no host `nobody`"),
        ("resource_pool", "gold", "resource pool", "there is no resource pool `gold`"),
        ("datastore", "LocalDS_7", "datastore", "did you mean `LocalDS_"),
        ("network", "VM Netwrk", "network", "did you mean `VM Network`?"),
        ("folder", "a/b", "folder", "there is no folder `a` of `a/b`"),
        ("datacenter", "DC9", "datacenter", "there is no datacenter `DC9`"),
        ("vm_version", "30", "hardware", "newer than the hosts know"),
    ],
)
def test_wrong_places(site: Site, setting: str, value: str, check: str, words: str) -> None:
    """What the settings name and is not there is told with what was probably meant."""
    assert words in obstacles(site, **{setting: value})[check]


def test_what_the_account_cannot_see(site: Site) -> None:
    """What vCenter leaves out of its answers because a right is missing is told, and no traceback."""

    def blind(call: str, answer: bytes) -> bytes:
        hidden = rb"<propSet><name>(?:resourcePool|network)</name>.*?</propSet>"
        return re.sub(hidden, b"", answer) if call == "RetrievePropertiesEx" else answer

    site.center.moods.rewrites.append(blind)
    assert "cannot see what the cluster or host has; give" in obstacles(site)["privilege"]


def test_every_wrong_place_at_once(site: Site) -> None:
    """Several wrong names give several obstacles."""
    found = obstacles(site, datastore="x", network="y", folder="z", resource_pool="p")
    assert set(found) == {"datastore", "network", "folder", "resource pool"}


def test_what_remains_of_a_template_that_stands(site: Site) -> None:
    """Its own name is free, and only what a clone and its marks need is asked for; proven, only what its marks need."""
    every = {name for names in preflight.PRIVILEGES.values() for name in names}
    order = site.order()
    standing = dataclasses.replace(order, standing=site.register(order))
    proven = dataclasses.replace(standing, verify=False)
    site.center.moods.denied = every
    site.center.moods.rewrites.append(lambda _, answer: re.sub(rb"<freeSpace>\d+<", b"<freeSpace>1000<", answer))

    def lacks(rest: Order) -> tuple[set[str], set[str]]:
        with site.connected(rest) as made:
            found = made.preflight(rest)
        words = {word for one in found if one.check == "privilege" for word in one.message.split()}
        return {one.check for one in found}, words & every

    making = {"VirtualMachine.Inventory.Create", "VirtualMachine.Config.AddNewDisk", "VApp.Import"}
    making.add("VirtualMachine.Provisioning.MarkAsTemplate")
    assert lacks(standing) == ({"datastore", "privilege"}, every - making)
    assert lacks(proven) == ({"privilege"}, set(preflight.PRIVILEGES["vCenter"]))


def test_no_space(site: Site) -> None:
    """A datastore that cannot hold the template and a clone of it is told with both figures."""

    site.center.moods.rewrites.append(lambda _, answer: re.sub(rb"<freeSpace>\d+<", b"<freeSpace>1000<", answer))
    assert "has 0 MiB free" in obstacles(site)["datastore"]


def test_name_is_taken(site: Site) -> None:
    """A machine of this name that is not ours stands in the way, and is left alone."""
    with site.connected(site.order()) as made:
        somebody_makes(made, "web-1.0.0")
    assert "is called web-1.0.0 already" in obstacles(site)["name"]
    assert site.machines() == {"web-1.0.0": False}
    assert journals() == []


def test_old_vcenter(site: Site) -> None:
    """A vCenter that is too old is told."""
    site.center.moods.rewrites.append(lambda _, answer: answer.replace(b"<version>6.5.0<", b"<version>6.0.0<"))
    assert "older than 6.5" in obstacles(site)["version"]


def test_host_in_maintenance(site: Site) -> None:
    """A cluster whose hosts take no machine is told."""
    pattern = re.compile(rb"(<name>runtime.inMaintenanceMode</name><val[^>]*>)false")
    site.center.moods.rewrites.append(lambda _, answer: pattern.sub(rb"\1true", answer))
    assert "no host can take a machine now" in obstacles(site)["host"]
