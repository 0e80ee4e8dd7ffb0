"""Bakes on bad input and with bad luck: what is said, and what is left as it was."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from fake_host import Host, Mirror, contents
from tidy import is_tidy, is_whole

pytestmark = pytest.mark.tool

QUICK = ("--force", "--no-verify")


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
