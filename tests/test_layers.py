"""Layers: made once, found again, never half."""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from skyvypack import cache as store
from skyvypack import command, layers, mirrors
from skyvypack.bundle import Bundle
from skyvypack.errors import BakeFailed, CommandFailed, SkyvypackError, ToolMissing
from skyvypack.layer_errors import diagnose
from skyvypack.progress import Event, Progress
from skyvypack.spec.model import Mirror, Spec

MIRROR = Mirror("http://main.example.invalid/{snapshot}", "http://sec.example.invalid/{snapshot}", "20250801T120000Z")
SPEC = Spec(name="web", version="1.0.0", debian="trixie", roles=(), mirror=MIRROR)
# Stands in for layer.sh: counts its runs beside itself in the cache, and writes what a layer has.
SCRIPT = """set -eu
echo run >> "$LAYER_DEBS/runs"
echo "== packages Install"
echo "I: installing"
mkdir "$1.part"
echo "== disk Make the disk"
for name in disk.qcow2 vmlinuz initrd.img packages.tsv; do echo "$SOURCE_DATE_EPOCH" > "$1.part/$name"; done
cp "$LAYER_SOURCES" "$1.part/sources"
mv "$1.part" "$1"
"""


def bundle(script: str = SCRIPT, packages: str = "nginx\n") -> Bundle:
    files = {"layer.sh": script, "layer/packages.txt": packages, "layer/settings.env": "", "user-data": "x"}
    return Bundle("qemu", "qemu", "1.6.6", files)


@pytest.fixture(autouse=True)
def _no_tools(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The stand-in needs no tools, and no run folder is looked for; real layers get both."""
    if not request.node.get_closest_marker("layer"):
        monkeypatch.setattr(layers, "_check_tools", lambda: None)
        monkeypatch.setenv(command.RUN_MARK, "test")


def runs(cache: Path) -> int:
    path = cache / "debs" / "runs"
    return len(path.read_text().splitlines()) if path.exists() else 0


def ensure(cache: Path, made_of: Bundle | None = None, spec: Spec = SPEC, **options: bool) -> layers.Layer:
    return layers.ensure(made_of or bundle(), spec, cache=cache, progress=Progress(), **options)


def test_a_layer_is_made_once_and_then_found(tmp_path: Path) -> None:
    """The second call finds what the first made, under the key that `key` foretells; its date is the snapshot's."""
    with ensure(tmp_path) as first, ensure(tmp_path) as second:
        assert (first.cached, second.cached, runs(tmp_path)) == (False, True, 1)
        assert first.folder == second.folder == tmp_path / "layers" / layers.key(bundle(), SPEC, cache=tmp_path)
        assert first.disk.read_text() == "1754049600\n"
        assert first.digest == second.digest
        assert "20250801T120000Z" in (first.folder / "sources").read_text()
        assert all(path.is_file() for path in (first.kernel, first.initrd, first.packages))


@pytest.mark.parametrize(
    ("other", "spec"),
    [
        (bundle(packages="nginx\nhtop\n"), SPEC),
        (bundle(script=SCRIPT + "# changed\n"), SPEC),
        (bundle(), replace(SPEC, mirror=replace(MIRROR, snapshot="20250901T000000Z"))),
        (bundle(), replace(SPEC, debian="bookworm")),
    ],
    ids=["packages", "script", "snapshot", "release"],
)
def test_whatever_goes_in_changes_the_key(tmp_path: Path, other: Bundle, spec: Spec) -> None:
    """Packages, script, snapshot and release each make another layer."""
    assert layers.key(other, spec, cache=tmp_path) != layers.key(bundle(), SPEC, cache=tmp_path)


def test_configuration_does_not_change_the_key(tmp_path: Path) -> None:
    """What only cloud-init reads leaves the layer as it is."""
    other = Bundle("qemu", "qemu", "1.6.6", {**bundle().files, "user-data": "y"})
    assert layers.key(other, SPEC, cache=tmp_path) == layers.key(bundle(), SPEC, cache=tmp_path)


def test_newer_packages_make_a_new_layer_but_not_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The archive's content is part of the key; offline the newest of the same inputs is taken, unasked."""
    now = mirrors.Freshness("one", 1)
    monkeypatch.setattr(mirrors, "freshness", lambda _: now)
    ensure(tmp_path).close()
    now = mirrors.Freshness("two", 2)
    with ensure(tmp_path) as newer:
        assert (newer.cached, runs(tmp_path)) == (False, 2)
    monkeypatch.setattr(mirrors, "freshness", lambda _: pytest.fail("offline asks no mirror"))
    with ensure(tmp_path, offline=True) as found:
        assert (found.key, found.cached) == (newer.key, True)
    assert layers.key(bundle(), SPEC, cache=tmp_path, offline=True) == newer.key


def test_offline_without_a_layer_says_so(tmp_path: Path) -> None:
    """A layer of another spec does not count."""
    ensure(tmp_path).close()
    with pytest.raises(SkyvypackError, match="no layer of this spec is in the cache"):
        ensure(tmp_path, bundle(packages="other\n"), offline=True)


def test_an_unreachable_mirror_fails_before_anything_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The mirror is asked first; its host is in the message."""
    monkeypatch.setattr(mirrors, "_APT_HELPER", Path("/nonexistent"))
    spec = replace(SPEC, mirror=Mirror("http://127.0.0.1:9/debian", "http://127.0.0.1:9/security"))
    with pytest.raises(SkyvypackError, match=r"127\.0\.0\.1:9"):
        ensure(tmp_path, spec=spec)
    assert runs(tmp_path) == 0


def test_force_makes_it_again_in_the_same_place(tmp_path: Path) -> None:
    """A forced layer replaces the cached one."""
    ensure(tmp_path).close()
    with ensure(tmp_path, force=True) as again:
        assert (again.cached, runs(tmp_path)) == (False, 2)
    assert len(list((tmp_path / "layers").iterdir())) == 1


def test_two_at_once_make_it_once(tmp_path: Path) -> None:
    """The second waits, says so, and uses what the first made."""
    slow = bundle(SCRIPT.replace('echo "== disk', 'sleep 0.5; echo "== disk'))
    found: list[layers.Layer] = []
    notes: list[Event] = []

    def bake() -> None:
        found.append(layers.ensure(slow, SPEC, cache=tmp_path, progress=Progress(notes.append)))

    threads = [threading.Thread(target=bake) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(layer.cached for layer in found) == [False, True]
    assert runs(tmp_path) == 1
    assert any("waiting" in event.text for event in notes)
    for layer in found:
        layer.close()


def test_a_layer_in_use_is_not_pruned(tmp_path: Path) -> None:
    """As long as a bake holds its layer, no limit removes it."""
    with ensure(tmp_path) as layer:
        store.prune(tmp_path, 0)
        assert layer.disk.exists()
    store.prune(tmp_path, 0)
    assert not layer.folder.exists()


def test_a_new_layer_makes_room(tmp_path: Path) -> None:
    """After a layer was made, what was used least recently goes; the new one stays."""
    ensure(tmp_path).close()
    with layers.ensure(bundle(packages="x\n"), SPEC, cache=tmp_path, progress=Progress(), limit=0) as newer:
        assert list((tmp_path / "layers").iterdir()) == [newer.folder]


def test_a_failed_script_leaves_nothing(tmp_path: Path) -> None:
    """Nothing half-made stays, nothing looks like a layer, and the next try begins anew."""
    failing = bundle('mkdir "$1.part"; echo "E: Unable to locate package ngin"; exit 100')
    for _ in range(2):
        with pytest.raises(BakeFailed, match="Debian has no package ngin") as failed:
            ensure(tmp_path, failing)
        assert "packages" in failed.value.hint
        assert isinstance(failed.value.__cause__, CommandFailed)
        assert list((tmp_path / "layers").iterdir()) == []


def test_an_unknown_failure_shows_the_scripts_last_words(tmp_path: Path) -> None:
    """What cannot be explained is shown."""
    with pytest.raises(BakeFailed, match="something quite new"):
        ensure(tmp_path, bundle("echo something quite new; exit 3"))


def test_what_a_killed_build_left_is_not_taken_for_a_layer(tmp_path: Path) -> None:
    """A half-made folder of the same key is thrown away, and so is a whole-looking one without its last file."""
    key = layers.key(bundle(), SPEC, cache=tmp_path)
    for left in (store.half_path(tmp_path / "layers" / key), tmp_path / "layers" / key):
        (left / "layer").mkdir(parents=True)
        (left / "disk.qcow2").write_text("half")
    with ensure(tmp_path) as layer:
        assert layer.disk.read_text() == "1754049600\n"
    assert list((tmp_path / "layers").iterdir()) == [layer.folder]


FULL = 'echo "cp: error writing x: No space left on device"; echo "E: failed"; exit 1'


def test_a_full_disk_says_which_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error names the cache, what is free, about how much it takes, and how to free some."""
    free = iter([1 << 40, 1, 1])
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=next(free)))
    with pytest.raises(SkyvypackError, match=f"not enough space in {tmp_path} for a layer") as full:
        ensure(tmp_path, bundle(FULL))
    assert "cache prune" in full.value.hint
    assert list((tmp_path / "layers").iterdir()) == []


def test_another_limit_is_not_taken_for_a_full_disk(tmp_path: Path) -> None:
    """Where the cache has room, the line itself is told: the kernel says the same of its other limits."""
    with pytest.raises(BakeFailed, match=r"could not be made: cp: error writing x: No space left on device") as other:
        ensure(tmp_path, bundle(FULL))
    assert "has room" in other.value.hint


def test_too_little_space_is_found_before_the_script_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bake that cannot end does not begin."""
    monkeypatch.setattr(layers, "_PACKAGE", 1 << 60)
    with pytest.raises(SkyvypackError, match="not enough space"):
        ensure(tmp_path)
    assert runs(tmp_path) == 0
    assert list((tmp_path / "layers").iterdir()) == []


def test_stages_are_told_and_timed(tmp_path: Path) -> None:
    """The script's stages become stages, its lines lines; a failing stage ends as failed."""
    events: list[Event] = []
    progress = Progress(events.append)
    layers.ensure(bundle(), SPEC, cache=tmp_path, progress=progress).close()
    told = [(event.kind, event.stage, event.text) for event in events]
    assert told[:5] == [
        ("begin", "packages", "Install"),
        ("line", "packages", "I: installing"),
        ("end", "packages", "Install"),
        ("begin", "disk", "Make the disk"),
        ("end", "disk", "Make the disk"),
    ]
    assert set(progress.timings) == {"packages", "disk"}
    events.clear()
    failing = bundle('echo "== packages Install"; exit 1')
    with pytest.raises(BakeFailed):
        layers.ensure(failing, SPEC, cache=tmp_path, progress=progress)
    assert [event.kind for event in events] == ["begin", "fail"]


@pytest.mark.parametrize("version", ["mmdebstrap 0.7.5", "mmdebstrap 1.2.9", "nonsense"])
def test_an_old_mmdebstrap_is_refused(fake_tool: Callable[[str, str], Path], version: str) -> None:
    """Versions before 1.3 lack what layer.sh needs; the hint is the doctor."""
    fake_tool("mmdebstrap", f"echo {version}")
    with pytest.raises(ToolMissing, match=r"too old: 1\.3 or newer") as old:
        layers.mmdebstrap_version()
    assert "doctor" in old.value.hint


@pytest.mark.parametrize("version", ["1.3.5", "1.10.0", "2.0"])
def test_a_new_mmdebstrap_is_accepted(fake_tool: Callable[[str, str], Path], version: str) -> None:
    """Numbers are compared as numbers."""
    fake_tool("mmdebstrap", f"echo mmdebstrap {version}")
    assert layers.mmdebstrap_version() == version


def test_a_missing_tool_is_named_and_only_when_it_is_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cached layer needs no tools; making one names the first that is missing."""
    ensure(tmp_path).close()
    monkeypatch.undo()
    monkeypatch.setattr(layers, "_TOOLS", ("skyvypack-no-such-tool",))
    ensure(tmp_path).close()
    with pytest.raises(ToolMissing, match="skyvypack-no-such-tool is not installed") as missing:
        ensure(tmp_path, force=True)
    assert "doctor" in missing.value.hint


@pytest.mark.parametrize(
    ("printed", "cause"),
    [
        ("E: Unable to locate package ngin", "Debian has no package ngin"),
        ("E: Package 'php7.4' has no installation candidate", "Debian has no package php7.4"),
        ("W: GPG error: ... NO_PUBKEY 6ED0E7B82643E131", "key 6ED0E7B82643E131 is not in this host's keyring"),
        ("E: The repository 'http://m.example.invalid trixie InRelease' is not signed.", "http://m.example.invalid is"),
        ("E: Release file for http://m.example.invalid/x is expired (invalid since 3d)", "is expired"),
        ("E: Release file for http://m.example.invalid/x is not valid yet (2h)", "of the future"),
        ("  Temporary failure resolving 'm.example.invalid'", "cannot find the mirror m.example.invalid"),
        ("  Could not connect to 127.0.0.1:9 (127.0.0.1). - connect (111)", "cannot reach 127.0.0.1:9"),
        ("E: Failed to fetch http://m.example.invalid/a.deb  Hash Sum mismatch", "a.deb: Hash Sum mismatch"),
        (" a : Depends: b (>= 2) but 1 is to be installed", "package a cannot be installed: it needs b"),
        ("dpkg: error processing package nginx (--configure):", "package nginx failed to install"),
        ('unshare: no line matching user "joe" in /etc/subuid', "joe has no range of ids in /etc/subuid"),
        ("unshare: unshare failed: Operation not permitted", "this host gives no namespaces"),
    ],
)
def test_failures_are_explained_in_a_sentence_and_a_hint(printed: str, cause: str) -> None:
    """Each known failure is told from the noise around it."""
    found = diagnose(["I: working", "I: failing soon", printed, "E: mmdebstrap failed to run"])
    assert found
    assert cause in found[0]
    assert found[1]
    assert diagnose(["I: working"]) is None


def test_the_first_cause_is_told_not_its_consequence() -> None:
    """An unknown package also ends in other errors."""
    found = diagnose(["E: Failed to fetch http://x.example.invalid/y  404", "E: Unable to locate package ngin"])
    assert found == diagnose(["E: Unable to locate package ngin"])


def test_interrupted_while_the_script_runs_leaves_nothing(tmp_path: Path) -> None:
    """Ctrl-C ends the script and removes the half-made layer."""
    began = time.monotonic()

    def interrupt(event: Event) -> None:
        if event.kind == "line":
            raise KeyboardInterrupt

    slow = bundle('trap "exit 130" INT; mkdir "$1.part"; echo "== packages P"; echo go; sleep 30 & wait')
    with pytest.raises(KeyboardInterrupt):
        layers.ensure(slow, SPEC, cache=tmp_path, progress=Progress(interrupt))
    assert time.monotonic() - began < 5
    assert list((tmp_path / "layers").iterdir()) == []
    assert os.environ[command.RUN_MARK] == "test"
