"""The vSphere registrar against vcsim: what a registration that goes well leaves, and what it says."""

from __future__ import annotations

import contextlib
import hashlib
import time
from collections.abc import Callable
from typing import Any

import pytest
from simulators import vcsim
from simulators.certificates import Authority
from simulators.vcenter import vcenter
from vsphere_site import Site, journals, obstacles, somebody_makes

from skyvypack import ova, ovf
from skyvypack.registrar import Order, RegistrarError, Template
from skyvypack.targets.vsphere import registrar
from skyvypack.targets.vsphere.vcenter import inventory, library, machines, tags

pytestmark = pytest.mark.tool


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
    version = int(facts["config.version"].removeprefix("vmx-"))
    assert (facts["config.guestId"], facts["config.firmware"]) == (ovf.guest_id(order.spec, version), "efi")
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
        known = tags.Tags(made._rest)
        having = {name: known._objects(known._tag(tags.CHANNEL, name)["id"]) for name in ("web:stable",)}
        assert having == {"web:stable": [new.id]}
        assert [one.channels for one in made.describe("web")] == [("stable",), ()]
        made.retire(old, run)
        run.finish()
    with site.connected(second) as made:
        known = tags.Tags(made._rest)
        assert [tag["name"] for tag in known._of(tags.VERSION)] == ["web-2.0.0"]
        assert [tag["name"] for tag in known._of(tags.DIGEST)] == [second.digest]


def test_what_stands_costs_no_more_calls(site: Site) -> None:
    """However many templates there are, a preflight and marking a new one ask vCenter as often as before."""

    def asked(version: str) -> tuple[int, int]:
        site.center.calls.clear()
        obstacles(site)
        looked = len(site.center.calls)
        site.register(site.order(version))
        return looked, sum(" /rest/" in call for call in site.center.calls)

    site.register(site.order("0.9.0"))
    first = asked("1.1.0")
    for number in range(4):
        site.register(site.order(f"1.2.{number}"))
    assert asked("1.3.0") == first


def test_copies_are_not_ours(site: Site) -> None:
    """A copy of a template that somebody makes takes our attributes along, and is still not described."""
    order = site.order()
    template = site.register(order)
    with site.connected(order) as made:
        source = inventory.machine(made._session, template.id)
        wanted = machines.Clone(made._place, "copy", "A copy", {"some": "thing"})
        copy = machines.clone(made._session, source, wanted, lambda: None)
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


def make_library(site: Site) -> None:
    """A content library `golden`."""
    with site.connected(site.order()) as made:
        store = inventory.reference(made._place.datastore)
        backing = [{"type": "DATASTORE", "datastore_id": store}]
        spec = {"create_spec": {"name": "golden", "type": "LOCAL", "storage_backings": backing}}
        made._rest.post("/rest/com/vmware/content/local-library", spec)


def test_library(site: Site) -> None:
    """A named content library gets a copy as a job of its own; done again it is found; retiring removes it."""
    order = site.order(settings={"content_library": "golden"})
    assert "no content library `golden`" in obstacles(site, content_library="golden")["library"]
    make_library(site)
    template = site.register(order)
    with site.running(order) as (made, run):
        (job,) = made.jobs(order, template)
        stands = job.do(run)
        assert stands.startswith("golden/web-1.0.0-library (")
        assert job.do(run) == stands
        run.finish()
    with site.running(order) as (made, run):
        made.retire(template, run)
        assert library.Library(made._rest, "golden").item("web-1.0.0-library") == ""
    assert site.machines() == {}


def test_library_that_takes_long(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """A copy may take longer than another call; one whose answer does not come is found, and not made twice."""
    order = site.order(settings={"content_library": "golden"})
    make_library(site)
    template = site.register(order)
    asked = "POST /rest/vcenter/vm-template/library-items"
    monkeypatch.setattr(library, "COPY", 0.3)
    site.center.moods.after = lambda call, *_: time.sleep(call == asked)
    with site.running(order) as (made, run):
        (job,) = made.jobs(order, template)
        assert job.do(run).startswith("golden/web-1.0.0-library (")
        assert site.center.calls.count(asked) == 1
        run.finish()


def test_made_by_packer(site: Site) -> None:
    """After a bake on the platform its machine is renamed, moved, marked and made a template, without an upload."""
    order = site.order(disk=None, settings={"folder": "golden"})
    with site.connected(site.order()) as made:
        made._place.datacenter.vmFolder.CreateFolder("golden")
    with site.running(order) as (made, run):
        entry = made.expect(order, run)
        somebody_makes(made, "packer-web")
        run.made(entry, "packer-web")
        template = made.register(site.order(disk=None, source="packer-web", settings={"folder": "golden"}), run)
        run.finish()
        facts = inventory.read(made._session, inventory.machine(made._session, template.id), "name", "parent")
        assert (facts["name"], facts["parent"].name) == ("web-1.0.0", "golden")
        assert [one.id for one in made.describe("web")] == [template.id]
    assert site.machines() == {"web-1.0.0": True}
    assert site.center.uploads == []


def test_a_failed_bake_on_the_platform_leaves_nothing(site: Site) -> None:
    """What Packer left is removed by its name, and a machine of that name that was there before is not."""
    vcsim.need_current("does not tell when a machine was made")
    order = site.order(disk=None)
    with site.connected(order) as made:
        somebody_makes(made, "web-1.0.0")
    _fail_after(site, order, lambda made: None)
    assert site.machines() == {"web-1.0.0": False}
    with site.connected(order) as made:
        machines.destroy(made._session, machines.made_by_packer(made._session, made._place.datacenter, "web-1.0.0"))
    _fail_after(site, order, lambda made: somebody_makes(made, "web-1.0.0"))
    assert site.machines() == {}


def _fail_after(site: Site, order: Order, act: Callable[[registrar.VSphere], None]) -> None:
    """A bake by Packer that does something and then fails."""
    with contextlib.suppress(RegistrarError), site.running(order) as (made, run):
        made.expect(order, run)
        act(made)
        raise RegistrarError("Packer failed")


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
