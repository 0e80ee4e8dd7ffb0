"""Whole bakes on a fake host: what a signal at every stage, bad input and bad luck leave behind."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from fake_host import PUBLISHING, STAGES, Host, Mirror, contents, living, until

from skyvypack import artifact, disk

pytestmark = pytest.mark.tool

QUICK = ("--force", "--no-verify")


@pytest.fixture(scope="module")
def mirror() -> Iterator[Mirror]:
    """One mirror for all, because a layer is of its mirror."""
    made = Mirror()
    yield made
    made.stop()


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory, mirror: Mirror) -> Host:
    """A host that has baked and proved a template, from nothing."""
    host = Host(tmp_path_factory.mktemp("good"), mirror)
    code, said = host.bake()
    assert code == 0, said
    assert "toy 1.0.0 is proven: 17 of 17 checks passed" in said
    return host


@pytest.fixture
def host(good: Host, mirror: Mirror, tmp_path: Path) -> Host:
    """A host with a good artifact and a layer in its cache."""
    return Host(tmp_path / "host", mirror, copied=good)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def is_tidy(host: Host) -> bool:
    """Nothing but the artifact is in the output, no run and nothing half-made in the cache, and no lock is held."""
    for path in [*host.output.glob(".*.lock"), *host.cache.rglob("*.lock")]:
        with path.open() as handle:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    half = [path for path in host.cache.rglob("*") if path.suffix in (".part", ".new")]
    return names(host.output) == [f".{host.final.name}.lock", host.final.name] and not half and not host.marks()


def strike(host: Host, stage: str, number: signal.Signals) -> tuple[int, list[str]]:
    """Send a signal to a bake that stands at a stage; returns its exit code and its runs' ids."""
    host.close(stage)
    options = ("--force",) if stage == "verify" else QUICK
    if stage in ("packages", "disk"):
        shutil.rmtree(host.cache / "layers")
    with (host.folder / "log").open("w+b") as log:
        process = host.start(*options, log=log)
        try:
            host.wait_for(stage)
            marks = host.marks()
            assert marks
            assert stage in ("inputs", *PUBLISHING) or living(marks), "what the bake started is not found by its mark"
            process.send_signal(number)
            code = process.wait(30)
        finally:
            process.kill()
            (host.gates / stage).unlink()
        log.seek(0)
        assert "Traceback" not in log.read().decode()
    return code, marks


@pytest.mark.parametrize("stage", [*STAGES, *(moment for moment in PUBLISHING if moment != "remove")])
def test_stopped_bake_leaves_everything_as_it_was(host: Host, stage: str) -> None:
    """At every stage SIGINT and SIGTERM undo all, and the bake after a kill -9 does; the good artifact never changes.

    Every bake begins after what the one before left, and the last one succeeds.
    """
    before = contents(host.final)
    for number in (signal.SIGINT, signal.SIGTERM):
        code, marks = strike(host, stage, number)
        assert code == 130
        assert not living(marks)
        assert is_tidy(host)
        assert contents(host.final) == before
    code, marks = strike(host, stage, signal.SIGKILL)
    assert code == -signal.SIGKILL
    assert stage == "place" or contents(host.final) == before
    code, said = host.bake()
    assert (code, "Nothing changed" in said) == (0, True)
    assert not living(marks)
    assert contents(host.final) == before
    code, said = host.bake(*QUICK)
    assert code == 0, said
    assert is_tidy(host)
    is_whole(host)


def is_whole(host: Host) -> None:
    """The artifact is what its manifest says, to the byte, and so is every layer."""
    for file in artifact.load(host.final).files:
        assert disk.sha256(file.path) == file.sha256
    for layer in (host.cache / "layers").iterdir():
        assert disk.sha256(layer / "disk.qcow2") == json.loads((layer / "layer.json").read_text())["digest"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_bake_stopped_after_it_was_published_leaves_the_new_artifact(host: Host, number: signal.Signals) -> None:
    """When only the earlier artifact is left to remove, the new one stands, whole; the next bake removes the rest."""
    before = contents(host.final)
    strike(host, "remove", number)
    assert contents(host.final) != before
    is_whole(host)
    host.bake("--no-verify")
    assert is_tidy(host)
    is_whole(host)


def test_first_bake_that_is_stopped_leaves_no_artifact(good: Host, mirror: Mirror, tmp_path: Path) -> None:
    """Where there was nothing, nothing is: no folder that could be taken for a template."""
    host = Host(tmp_path, mirror)
    host.close("packer")
    process = host.start()
    host.wait_for("packer")
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 130
    assert names(host.output) == [f".{host.final.name}.lock"]


def test_nothing_changed_is_said_at_once(host: Host) -> None:
    """A second bake of the same inputs says so in under two seconds and touches nothing; --force bakes anew."""
    before = contents(host.output)
    seconds = []
    for _ in range(3):  # others use this machine, too
        began = time.monotonic()
        code, said = host.bake()
        seconds.append(time.monotonic() - began)
        assert (code, "Nothing changed" in said) == (0, True)
    assert min(seconds) < 2
    assert contents(host.output) == before
    code, said = host.bake(*QUICK)
    assert (code, "Nothing changed" in said) == (0, False)
    assert contents(host.final) != before


def test_our_own_process_is_small(good: Host) -> None:
    """A whole bake with its verification takes less than 200 MB of our own process."""
    assert 0 < good.memory() < 200 * 1024


@pytest.mark.parametrize(
    ("name", "version", "says"),
    [
        ("packer", "echo Packer v1.5.6", "Packer 1.5.6 is too old, need 1.6"),
        ("qemu-system-x86_64", "echo QEMU emulator version 5.2.0", "QEMU is too old: 5.2.0, need 6"),
        ("mmdebstrap", "echo mmdebstrap 0.7.5", "mmdebstrap 0.7.5 is too old: 1.3"),
        *((name, None, f"{name} is not installed") for name in ("packer", "qemu-system-x86_64", "mmdebstrap")),
        *((name, None, f"{name} is not installed") for name in ("ssh", "xorriso", "qemu-img")),
    ],
)
def test_tool_that_is_missing_or_too_old_is_told_before_anything_is_made(
    host: Host, name: str, version: str | None, says: str
) -> None:
    """The error names program and cure before the first stage has begun, and changes nothing."""
    before = contents(host.output)
    shutil.rmtree(host.cache / "layers")
    if version:
        host.tool(name, version)
    else:
        host.hide(name)
    code, said = host.bake("--force")
    assert code == 1
    assert says in said
    assert "doctor --fix" in said or "Debian 12 or newer" in said
    assert "packages:" not in said
    assert contents(host.output) == before
    assert is_tidy(host)


def test_unreachable_mirror_is_named_and_can_be_done_without(host: Host) -> None:
    """A mirror that nobody answers for ends the bake with its name; --offline bakes from the cached layer."""
    before = contents(host.final)
    gone = Mirror()
    gone.stop()
    host.bake("--no-verify")
    spec = host.folder / "skyvypack.yaml"
    spec.write_text(spec.read_text().replace(host.mirror.url, gone.url))
    code, said = host.bake()
    assert code == 1
    assert f"cannot read the Debian mirror {gone.url.removeprefix('http://')}" in said
    assert "--offline" in said
    assert contents(host.final) == before
    code, said = host.bake("--offline")
    assert code == 1
    assert "no layer of this spec is in the cache" in said
    assert is_tidy(host)


def test_offline_bake_asks_no_mirror(host: Host) -> None:
    """With a layer in the cache --offline bakes although the mirror would never answer."""
    host.close("inputs")
    code, said = host.bake("--offline", *QUICK)
    assert code == 0, said
    assert not (host.gates / "inputs.reached").exists()


@pytest.fixture
def tmpfs(tmp_path: Path) -> Iterator[Path]:
    """A file system of 16 MiB."""
    if os.geteuid():
        pytest.skip("only root can mount a small file system")
    folder = tmp_path / "small"
    folder.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", folder], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"cannot mount a small file system: {done.stderr.strip()}")
    yield folder
    subprocess.run(["umount", folder], check=True)


def fill(folder: Path, left: int) -> None:
    """Leave so many bytes free."""
    usage = os.statvfs(folder)
    (folder / "full").write_bytes(bytes(usage.f_bavail * usage.f_frsize - left))


def test_cache_too_small_for_a_layer_is_told_before_it_is_begun(host: Host, tmpfs: Path) -> None:
    """How much is free and how much it takes is said, and what helps."""
    host.cache = tmpfs / "cache"
    code, said = host.bake("--force")
    assert code == 1
    assert f"not enough space in {tmpfs}/cache" in said
    assert "GiB needed" in said
    assert "cache prune" in said
    assert "packages:" not in said
    assert is_tidy(host)


@pytest.mark.parametrize("left", [0, 64 << 10, 1 << 20])
def test_cache_that_fills_up_during_a_bake_fails_it(host: Host, tmpfs: Path, left: int) -> None:
    """Wherever the last byte is taken, the bake ends with that reason, and removes what it made."""
    before = contents(host.final)
    shutil.copytree(host.cache, tmpfs / "cache")
    host.cache = tmpfs / "cache"
    fill(tmpfs, left)
    code, said = host.bake(*QUICK)
    assert code in (1, 2)
    assert "no space left" in said.lower()
    assert "bug" not in said
    assert contents(host.final) == before
    (tmpfs / "full").unlink()
    assert is_tidy(host)
    assert host.bake(*QUICK)[0] == 0


@pytest.mark.parametrize("left", [0, 16 << 10, 600 << 10])
def test_output_that_fills_up_during_a_bake_fails_it(host: Host, tmpfs: Path, left: int) -> None:
    """An output disk without room for the artifact: the error says so, and the earlier artifact stays whole."""
    shutil.copytree(host.output, tmpfs / "output")
    host.output = tmpfs / "output"
    host.final = host.output / host.final.name
    before = contents(host.final)
    fill(tmpfs, left)
    code, said = host.bake(*QUICK)
    assert code in (1, 2)
    assert "no space left" in said.lower()
    assert "bug" not in said
    assert contents(host.final) == before
    assert is_tidy(host)


def fill_after_formats(host: Host, folder: Path) -> None:
    """Let the next bake find a file system full as soon as the formats are written."""
    convert = f"""{shutil.which("qemu-img")} "$@" || exit
        for last; do :; done
        case "$1 $last" in "convert "*.partial/*) cat /dev/zero > {folder}/full ;; esac
        exit 0"""
    host.tool("qemu-img", convert)


def test_output_without_room_for_the_manifest_fails_the_bake(host: Host, tmpfs: Path) -> None:
    """Where our own process is the one that finds no room it says so, too, and undoes all."""
    shutil.copytree(host.output, tmpfs / "output")
    host.output = tmpfs / "output"
    host.final = host.output / host.final.name
    before = contents(host.final)
    fill_after_formats(host, tmpfs)
    code, said = host.bake(*QUICK)
    assert code == 1
    assert "error: no space left" in said
    assert "cache prune" in said
    assert contents(host.final) == before
    assert is_tidy(host)


def test_cache_without_room_for_the_timings_fails_nothing(host: Host, tmpfs: Path) -> None:
    """What only predicts the next bake's duration is no reason to throw this one away."""
    shutil.copytree(host.cache, tmpfs / "cache")
    host.cache = tmpfs / "cache"
    before = (host.cache / "timings.json").read_bytes()
    fill_after_formats(host, tmpfs)
    code, said = host.bake(*QUICK)
    assert code == 0, said
    assert (host.cache / "timings.json").read_bytes() == before
    assert is_tidy(host)
    is_whole(host)


def test_artifact_of_other_inputs_is_not_replaced(host: Host) -> None:
    """A changed spec of the same name and version is refused, saying what changed; --force replaces."""
    before = contents(host.output)
    host.write_spec(more="packages: [vim]\n")
    code, said = host.bake()
    assert code == 2
    assert f"{host.final} holds an artifact made from other inputs" in said
    assert "bundle" in said
    assert "--force" in said
    assert contents(host.output) == before
    assert is_tidy(host)
    assert host.bake(*QUICK)[0] == 0
    assert contents(host.output) != before


def test_artifact_that_nobody_proved_does_not_count_as_proven(host: Host) -> None:
    """What was baked without verification stands for a bake without, and is refused by one with it."""
    assert host.bake(*QUICK)[0] == 0
    assert "Nothing changed" in host.bake("--no-verify")[1]
    code, said = host.bake()
    assert code == 2
    assert "verification" in said


@pytest.mark.parametrize("kind", ["file", "link", "folder", "foreign file", "damaged"])
@pytest.mark.parametrize("force", [True, False])
def test_what_no_bake_made_is_never_replaced(host: Host, kind: str, force: bool) -> None:
    """Something else in the artifact's place, or in it, is refused before anything is baked, --force or not."""
    if kind in ("file", "link", "folder"):
        host.final.rename(host.folder / "away")
    if kind == "file":
        host.final.write_text("mine")
    elif kind == "link":
        host.final.symlink_to(host.folder / "away" if force else "nowhere")
    elif kind == "folder":
        host.final.mkdir()
        (host.final / "thesis.txt").write_text("mine")
    elif kind == "foreign file":
        (host.final / "thesis.txt").write_text("mine")
        host.write_spec(more="packages: [vim]\n")
    elif kind == "damaged":
        (host.final / "manifest.json").write_text("{}")
    before = contents(host.output)
    code, said = host.bake(*(QUICK if force else ()))
    assert code == 2, said
    assert "packer:" not in said
    assert contents(host.output) == before
    assert is_tidy(host)


@pytest.mark.parametrize("option", ["output", "cache"])
def test_folder_that_cannot_be_made_is_the_callers_fault(host: Host, option: str) -> None:
    """A file where a folder is to be: the error says which, and what to choose."""
    (host.folder / "taken").write_text("mine")
    setattr(host, option, host.folder / "taken" / "below")
    code, said = host.bake()
    assert code == 2
    assert f"cannot write to {host.folder}/taken/below" in said
    assert f"choose another --{option}" in said
    assert (host.folder / "taken").read_text() == "mine"


@pytest.mark.parametrize("option", ["output", "cache"])
def test_folder_that_is_read_only_is_the_callers_fault(host: Host, tmpfs: Path, option: str) -> None:
    """A file system that takes no writes: the error says which folder, and what to choose."""
    subprocess.run(["mount", "-o", "remount,ro", tmpfs], check=True)
    setattr(host, option, tmpfs / "below")
    code, said = host.bake()
    assert code == 2
    assert f"cannot write to {tmpfs}/below: Read-only file system" in said
    assert f"choose another --{option}" in said


def test_broken_contract_publishes_nothing_and_keeps_the_logs(host: Host) -> None:
    """Exit code 3; the earlier artifact stays, and consoles and report are beside it for whoever must mend it."""
    before = contents(host.final)
    host.write_contract("elsewhere")
    code, said = host.bake("--force")
    assert code == 3
    assert "TOY-1" in said
    kept = host.final.with_name(f"{host.final.name}.failed")
    assert str(kept) in said
    assert {"contract.xml", "bios-console.log", "uefi-console.log", "bios-first-boot.log"} <= set(names(kept))
    assert contents(host.final) == before
    assert names(host.output) == [f".{host.final.name}.lock", host.final.name, kept.name]
    assert not host.marks()


def test_leak_fails_the_bake_and_names_its_path(host: Host) -> None:
    """A shell history on the finished disk: no artifact, and the error says where it lies."""
    before = contents(host.final)
    shutil.rmtree(host.cache / "layers")
    (host.tree / "root" / ".bash_history").write_text("mysql -psecret\n")
    code, said = host.bake(*QUICK)
    assert code == 1
    assert "/root/.bash_history" in said
    assert contents(host.final) == before
    assert is_tidy(host)


def test_guest_that_fails_fails_the_bake(host: Host) -> None:
    """A Packer that ends with an error: no artifact, its words are shown, and what it made is gone."""
    before = contents(host.final)
    host.tool(
        "packer",
        """case $1 in version) echo Packer v1.6.6; exit ;; esac
        echo '1,,ui,say,==> qemu.toy: Waiting for SSH to become available...'
        echo '1,,ui,say,==> qemu.toy: Connected to SSH!'
        echo '1,,ui,message,    qemu.toy: skyvypack: error: modules-final: module scripts_user'
        exit 1""",
    )
    code, said = host.bake(*QUICK)
    assert code == 1
    assert "module scripts_user" in said
    assert contents(host.final) == before
    assert is_tidy(host)


def test_second_bake_of_the_same_waits_and_finds_nothing_to_do(good: Host, mirror: Mirror, tmp_path: Path) -> None:
    """Of two bakes at once into one output the second says that it waits, and then that nothing changed."""
    host = Host(tmp_path, mirror)
    shutil.copytree(good.cache, host.cache)
    host.close("packer")
    first = host.start("--no-verify")
    host.wait_for("packer")
    with (host.folder / "log").open("w+b") as log:
        second = host.start("--no-verify", log=log)
        until(lambda: b"waiting for it" in (host.folder / "log").read_bytes())
        host.open("packer")
        assert (first.wait(60), second.wait(60)) == (0, 0)
        log.seek(0)
        assert b"Nothing changed" in log.read()
    is_whole(host)
    assert is_tidy(host)


def test_two_bakes_share_one_layer(good: Host, mirror: Mirror, tmp_path: Path) -> None:
    """Of two bakes at once into different outputs one makes the layer, and the other waits and uses it."""
    host = Host(tmp_path, mirror)
    host.close("packages")
    first = host.start("--no-verify")
    host.wait_for("packages")
    with (host.folder / "log").open("w+b") as log:
        second = host.start("--no-verify", "-o", str(host.folder / "other"), log=log)
        until(lambda: b"another bake is making this layer" in (host.folder / "log").read_bytes())
        host.open("packages")
        assert (first.wait(60), second.wait(60)) == (0, 0)
        log.seek(0)
        assert b"packages:" not in log.read()
    assert len(names(host.cache / "layers")) == 1
    is_whole(host)
    artifact.load(host.folder / "other" / host.final.name)


def test_a_living_bake_is_left_alone_by_the_next(host: Host) -> None:
    """A bake that begins while another one of the cache runs takes neither its processes nor its folder."""
    host.close("packer")
    first = host.start(*QUICK)
    host.wait_for("packer")
    marks = host.marks()
    host.close("scan")
    second = host.start("--no-verify", "-o", str(host.folder / "other"))
    until(lambda: len(host.marks()) == 2)
    assert living(marks)
    second.send_signal(signal.SIGTERM)
    assert second.wait(60) == 130
    assert living(marks)
    host.open("scan")
    host.open("packer")
    assert first.wait(60) == 0
    assert is_tidy(host)
