"""The vSphere registrar against a vCenter with moods: what stands in the end, whatever goes wrong."""

from __future__ import annotations

from typing import Any

import pytest
from simulators import vcsim
from simulators.vcenter import HANG_UP, Answer, fault
from vsphere_site import Site, journals

from skyvypack.registrar import RegistrarError
from skyvypack.registrar.retry import Patience
from skyvypack.targets.vsphere import registrar
from skyvypack.targets.vsphere.vcenter import session, tags, upload

pytestmark = pytest.mark.tool

NO_SPACE = "<file>[LocalDS_0] web</file><datastore>LocalDS_0</datastore>"

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
    vcsim.need_current("answers for leases in another form")

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

    def interrupted(source: Any, place: Any, advance: Any, digest: Any) -> None:
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


def test_slow_calls_have_a_deadline(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """A vCenter that answers nothing is given up after the time a call may take."""
    monkeypatch.setattr(session, "_CALL", 0.3)
    monkeypatch.setattr(session, "PATIENCE", Patience(0.1, first=0.01, longest=0.01))
    site.center.always("CreateImportSpec", Answer(seconds=1.0))
    with pytest.raises(RegistrarError, match="timed out"):
        site.register(site.order())
    assert site.machines() == {}
