"""The vSphere registrar against a vCenter with moods: what stands in the end, whatever goes wrong."""

from __future__ import annotations

import contextlib
import hashlib
import re
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from simulators import vcsim
from simulators.certificates import Authority
from simulators.vcenter import HANG_UP, Answer, VCenter, fault, vcenter
from vsphere_site import Site

from skyvypack import ova
from skyvypack.errors import InputError
from skyvypack.registrar import Journal, Order, RegistrarError, Template
from skyvypack.registrar.retry import Patience
from skyvypack.targets.vsphere import registrar
from skyvypack.targets.vsphere.vcenter import inventory, machines, preflight, session, tags, upload
from skyvypack.targets.vsphere.vcenter.rest import Rest

pytestmark = pytest.mark.tool

NO_SPACE = "<file>[LocalDS_0] web</file><datastore>LocalDS_0</datastore>"


def obstacles(site: Site, **settings: Any) -> dict[str, str]:
    """What a preflight finds, by check."""
    order = site.order(settings=settings)
    with site.connected(order) as made:
        return {one.check: f"{one.message}; {one.hint}" for one in made.preflight(order)}


def journals() -> list[Path]:
    return list(Journal("vsphere").folder.glob("*.jsonl"))


def test_nothing_in_the_way(site: Site) -> None:
    """A vCenter that is ready has no obstacle, and a preflight changes nothing."""
    assert obstacles(site) == {}
    assert site.machines() == {}


def test_what_is_sent(site: Site) -> None:
    """The host gets exactly the disk inside the OVA, and the template is where, what and how the settings say."""
    order = site.order(
        settings={"cpu_cores": 2, "cpu_hot_add": True, "configuration_parameters": "{disk.EnableUUID: 'TRUE'}"}
    )
    assert order.disk is not None
    template = site.register(order)
    (sent,) = site.center.uploads
    offset, size = ova.locate(order.disk.path)
    disk = order.disk.path.read_bytes()[offset : offset + size]
    assert (sent.size, sent.sha256) == (size, hashlib.sha256(disk).hexdigest())
    with site.connected(order) as made:
        vm = inventory.machine(made._session, template.id)
        paths = ["config.annotation", "config.firmware", "config.guestId", "config.version", "config.template"]
        paths += ["config.hardware.numCoresPerSocket", "config.cpuHotAddEnabled", "config.extraConfig", "name"]
        facts = inventory.read(made._session, vm, *paths)
    assert facts["name"] == "web-1.0.0"
    assert facts["config.template"] is True
    assert (facts["config.guestId"], facts["config.firmware"]) == ("debian11_64Guest", "efi")
    assert facts["config.annotation"].splitlines()[1:] == ["version 1.0.0", order.digest]
    assert (facts["config.hardware.numCoresPerSocket"], facts["config.cpuHotAddEnabled"]) == (2, True)
    extra = {one.key: one.value for one in facts["config.extraConfig"]}
    assert extra["disk.EnableUUID"] == "TRUE"
    assert extra["skyvypack.run"] == template.run


def test_tags(site: Site) -> None:
    """Version, digest and channel are tags; a channel's tag moves, and a tag without a machine goes."""
    first, second = site.order("1.0.0"), site.order("2.0.0")
    old = site.register(first, lambda made, _run, one: made.point(one, "stable"))
    new = site.register(second, lambda made, _run, one: made.point(one, "stable"))
    with site.running(second) as (made, run):
        known = tags.Tags(Rest(made._session))
        having = {name: known._objects(known._tag(tags.CHANNEL, name)["id"]) for name in ("web:stable",)}
        assert having == {"web:stable": [new.id]}
        assert [one.channels for one in made.describe("web")] == [("stable",), ()]
        made.retire(old, run)
        run.finish()
    with site.connected(second) as made:
        known = tags.Tags(made._rest)
        assert [tag["name"] for tag in known._of(tags.VERSION)] == ["web-2.0.0"]
        assert [tag["name"] for tag in known._of(tags.DIGEST)] == [second.digest]


def test_copies_are_not_ours(site: Site) -> None:
    """A copy of a template that somebody makes takes our attributes along, and is still not described."""
    order = site.order()
    template = site.register(order)
    with site.connected(order) as made:
        source = inventory.machine(made._session, template.id)
        options = {"some": "thing"}
        copy = machines.clone(made._session, source, made._place, "copy", options, lambda: None)
        made._marks.write(copy, made._marks.of(source))
        made._session.call("mark", copy.MarkAsTemplate)
        assert [one.id for one in made.describe("web")] == [template.id]


def test_datastore_cluster(site: Site) -> None:
    """Of a datastore cluster, the datastore with the most free space is taken."""
    with site.connected(site.order()) as made:
        pod = inventory.properties(made._session, made._session.content.rootFolder, _pod(), ["name"])[0][0]
        store = next(one for one in made._place.compute.datastore if one.name == "LocalDS_1")
        made._session.task("move the datastore", lambda: pod.MoveIntoFolder_Task([store]))
    with site.connected(site.order(settings={"datastore": "DC0_POD0"})) as made:
        assert made._place.datastore.name == "LocalDS_1"


def _pod() -> Any:
    from pyVmomi import vim

    return vim.StoragePod


def test_library(site: Site) -> None:
    """A named content library gets a copy as a job of its own; done again it is found; retiring removes it."""
    order = site.order(settings={"content_library": "golden"})
    assert "no content library `golden`" in obstacles(site, content_library="golden")["library"]
    with site.connected(order) as made:
        store = inventory.reference(made._place.datastore)
        backing = [{"type": "DATASTORE", "datastore_id": store}]
        spec = {"create_spec": {"name": "golden", "type": "LOCAL", "storage_backings": backing}}
        made._rest.post("/rest/com/vmware/content/local-library", spec)
    template = site.register(order)
    with site.running(order) as (made, run):
        (job,) = made.jobs(order, template)
        stands = job.do(run)
        assert stands.startswith("golden/web-1.0.0-library (")
        assert job.do(run) == stands
        run.finish()
    with site.running(order) as (made, run):
        made.retire(template, run)
        library = registrar.Library(made._rest, "golden")
        assert library.item("web-1.0.0-library") == ""
    assert site.machines() == {}


def test_made_by_packer(site: Site) -> None:
    """After a bake on the platform its machine is renamed, moved, marked and made a template, without an upload."""
    order = site.order(disk=None, settings={"folder": "golden"})
    with site.connected(site.order()) as made:
        made._place.datacenter.vmFolder.CreateFolder("golden")
    with site.running(order) as (made, run):
        entry = made.expect(order, run)
        _somebody_makes(made, "packer-web")
        run.made(entry, "packer-web")
        template = made.register(site.order(disk=None, source="packer-web", settings={"folder": "golden"}), run)
        run.finish()
        facts = inventory.read(made._session, inventory.machine(made._session, template.id), "name", "parent")
        assert (facts["name"], facts["parent"].name) == ("web-1.0.0", "golden")
        assert [one.id for one in made.describe("web")] == [template.id]
    assert site.machines() == {"web-1.0.0": True}
    assert site.center.uploads == []


def _somebody_makes(made: registrar.VSphere, name: str) -> None:
    from pyVmomi import vim

    config = vim.vm.ConfigSpec(name=name, guestId="otherGuest", memoryMB=32, numCPUs=1)
    config.files = vim.vm.FileInfo(vmPathName="[LocalDS_0]")
    place = made._place
    made._session.task(f"make {name}", lambda: place.datacenter.vmFolder.CreateVM_Task(config, place.pool))


def test_a_failed_bake_on_the_platform_leaves_nothing(site: Site) -> None:
    """What Packer left is removed by its name, and a machine of that name that was there before is not."""
    order = site.order(disk=None)
    with site.connected(order) as made:
        _somebody_makes(made, "web-1.0.0")
    _fail_after(site, order, lambda made: None)
    assert site.machines() == {"web-1.0.0": False}
    with site.connected(order) as made:
        machines.destroy(made._session, machines.made_by_packer(made._session, made._place.datacenter, "web-1.0.0"))
    _fail_after(site, order, lambda made: _somebody_makes(made, "web-1.0.0"))
    assert site.machines() == {}


def _fail_after(site: Site, order: Order, act: Callable[[registrar.VSphere], None]) -> None:
    """A bake by Packer that does something and then fails."""
    with contextlib.suppress(RegistrarError), site.running(order) as (made, run):
        made.expect(order, run)
        act(made)
        raise RegistrarError("Packer failed")


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
    assert list(obstacles(site, server="127.0.0.1:1")) == ["connection"]


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


def test_every_wrong_place_at_once(site: Site) -> None:
    """Several wrong names give several obstacles."""
    found = obstacles(site, datastore="x", network="y", folder="z", resource_pool="p")
    assert set(found) == {"datastore", "network", "folder", "resource pool"}


def test_no_space(site: Site) -> None:
    """A datastore that cannot hold the template and a clone of it is told with both figures."""

    site.center.moods.rewrites.append(lambda _, answer: re.sub(rb"<freeSpace>\d+<", b"<freeSpace>1000<", answer))
    assert "has 0 MiB free" in obstacles(site)["datastore"]


def test_name_is_taken(site: Site) -> None:
    """A machine of this name that is not ours stands in the way, and is left alone."""
    with site.connected(site.order()) as made:
        _somebody_makes(made, "web-1.0.0")
    assert "web-1.0.0 is in the folder already" in obstacles(site)["name"]
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


FAILURES = {
    "refused import": ("ImportVApp", fault("NoPermission", "denied", "<privilegeId>VApp.Import</privilegeId>")),
    "duplicate name": ("ImportVApp", fault("DuplicateName", "exists", "<name>web-1.0.0</name>")),
    "datastore full": ("ImportVApp", fault("NoDiskSpace", "Insufficient disk space", NO_SPACE)),
    "lease cannot complete": ("HttpNfcLeaseComplete", fault("InvalidState", "the lease is gone")),
    "attribute refused": (
        "SetField",
        fault("NoPermission", "denied", "<privilegeId>Global.SetCustomField</privilegeId>"),
    ),
    "tag refused": ("POST /rest/com/vmware/cis/tagging/tag", Answer(403)),
    "template refused": ("MarkAsTemplate", fault("InvalidState", "not now")),
    "vCenter down": ("ImportVApp", Answer(503)),
    "vCenter hangs up": ("MarkAsTemplate", HANG_UP),
}


@pytest.mark.parametrize("name", FAILURES)
def test_failed_step_leaves_nothing(site: Site, name: str) -> None:
    """Whatever step fails for good, its words are told, the machine and its tags are gone and the journal is empty."""
    call, answer = FAILURES[name]
    site.center.always(call, answer)
    with pytest.raises(RegistrarError):
        site.register(site.order())
    assert site.machines() == {}
    with site.connected(site.order()) as made:
        assert [list(made._tags._of(category)) for category in tags.CATEGORIES] == [[], [], []]
    assert journals() == []


def test_refused_upload(site: Site) -> None:
    """A host that refuses the disk is quoted; the lease is aborted and the machine gone."""
    site.center.moods.upload = 500
    with pytest.raises(RegistrarError, match="told to fail"):
        site.register(site.order())
    assert "HttpNfcLeaseAbort" in site.center.calls
    assert site.machines() == {}


def test_broken_upload_is_begun_again(site: Site) -> None:
    """A connection that breaks half-way ends that import and begins another: one template, whose disk is whole."""
    moods = site.center.moods
    moods.upload, moods.upload_limit = 0, 1 << 16

    def mended() -> None:
        if len(site.center.uploads) == 2:
            moods.upload, moods.upload_limit = 200, None

    moods.on_upload = mended
    site.register(site.order())
    assert [one.whole for one in site.center.uploads] == [False, True]
    assert site.machines() == {"web-1.0.0": True}
    assert journals() == []


def test_upload_never_succeeds(site: Site) -> None:
    """After three broken uploads it is given up, and nothing is left."""
    site.center.moods.upload, site.center.moods.upload_limit = 0, 1 << 16
    with pytest.raises(RegistrarError, match="broke off"):
        site.register(site.order())
    assert len(site.center.uploads) == 3
    assert site.machines() == {}


def test_stalled_upload(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """A host that takes nothing for too long is given up."""
    monkeypatch.setattr(registrar, "_IMPORTS", 1)
    place = upload.Place
    monkeypatch.setattr("skyvypack.targets.vsphere.vcenter.importing.Place", lambda *args: place(*args, stall=0.3))
    site.center.moods.upload_pause = 2.0
    with pytest.raises(RegistrarError, match="no progress for"):
        site.register(site.order())
    assert site.machines() == {}


def test_lease_in_error(site: Site) -> None:
    """A lease that turns to error is quoted, and what vSphere began is gone."""

    def broken(call: str, answer: bytes) -> bytes:
        return answer.replace(b">ready</", b">error</") if call == "Fetch" else answer

    site.center.moods.rewrites.append(broken)
    with pytest.raises(RegistrarError, match="vSphere ended the import"):
        site.register(site.order())
    site.center.moods.rewrites.clear()
    assert site.machines() == {}
    assert journals() == []


def test_session_lost_midway(site: Site) -> None:
    """A session that is lost during the upload takes its lease along: it is renewed, and the import begun again."""

    def lose() -> None:
        site.center.moods.expired = len(site.center.uploads) == 1

    site.center.moods.on_upload = lose
    site.register(site.order())
    assert site.center.calls.count("Login") == 2
    assert len(site.center.uploads) == 2
    assert any("logging in again" in event.text for event in site.events)
    site.center.moods.on_upload = lambda: None
    assert site.machines() == {"web-1.0.0": True}


def test_interrupted_upload(site: Site) -> None:
    """Ctrl-C during the upload aborts the lease, removes the machine and empties the journal."""
    original = upload.send

    def interrupted(source: Any, place: Any, advance: Any) -> None:
        def stop(sent: int) -> None:
            raise KeyboardInterrupt

        original(source, place, stop)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("skyvypack.targets.vsphere.vcenter.lease.send", interrupted)
        with pytest.raises(KeyboardInterrupt):
            site.register(site.order())
    assert "HttpNfcLeaseAbort" in site.center.calls
    assert site.machines() == {}
    assert journals() == []


def test_clone_that_tells_no_address(site: Site, monkeypatch: pytest.MonkeyPatch, authority: Authority) -> None:
    """A clone without VMware Tools is given up after the boot time, and goes."""
    monkeypatch.setattr(machines, "BOOT", 0.2)
    with vcsim.running(authority) as behind, vcenter(behind, authority) as silent:
        site.center = silent
        site.settings["server"] = silent.server.host
        order = site.order()
        with pytest.raises(RegistrarError, match="open-vm-tools"):
            site.register(order, lambda made, run, one: made.boot(one, "#cloud-config\n", run))
        assert site.machines() == {}


def test_user_data_reaches_the_clone(site: Site) -> None:
    """A clone has its user-data in its settings, its own instance id, and is found at the address the tools tell."""
    order = site.order()

    def look(made: registrar.VSphere, run: Any, template: Template) -> None:
        with run.temporary():
            guest = made.boot(template, "#cloud-config\n{}\n", run)
            assert (guest.address, guest.port) == ("127.0.0.1", 22)
            vm = inventory.machine(made._session, guest.id)
            extra = inventory.read(made._session, vm, "config.extraConfig")["config.extraConfig"]
            assert {"guestinfo.userdata", "guestinfo.metadata"} <= {one.key for one in extra}

    site.register(order, look)
    assert site.machines() == {"web-1.0.0": True}


def test_slow_calls_have_a_deadline(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """A vCenter that answers nothing is given up after the time a call may take."""
    monkeypatch.setattr(session, "_CALL", 0.3)
    monkeypatch.setattr(session, "PATIENCE", Patience(0.1, first=0.01, longest=0.01))
    site.center.always("CreateImportSpec", Answer(seconds=1.0))
    with pytest.raises(RegistrarError, match="timed out"):
        site.register(site.order())
    assert site.machines() == {}


def test_the_password_is_nowhere(site: Site) -> None:
    """No request but the login, no journal, no message and no plan holds the password."""
    order = site.order()
    seen: list[str] = []

    def look(made: registrar.VSphere, run: Any, template: Template) -> None:
        seen.extend(path.read_text() for path in journals())
        seen.extend([str(made.plan(order)), made.where(), str(template), repr(made._session.login)])

    site.register(order, look)
    assert len(seen) == 5
    told = [event.text for event in site.events]
    assert not any(site.center.server.password in text for text in [*seen, *told])
    assert not any(site.center.server.password.encode() in body for body in site.center.requests)
