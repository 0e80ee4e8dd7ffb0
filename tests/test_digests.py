"""A file's digest is remembered only where its stamp would tell of every later write."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from skyvypack import artifact, digests
from skyvypack.spec import loads


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "disk"
    path.write_bytes(b"abc" * 1000)
    return path


def known(path: Path) -> str:
    with path.open("rb") as handle:
        return digests.known(digests.stamp(handle.fileno()))


def test_remembered(file: Path) -> None:
    """What was digested is known, also right after it was written; what was not is unknown."""
    assert known(file) == ""
    assert digests.of(file) == hashlib.sha256(b"abc" * 1000).hexdigest()
    assert known(file) == digests.of(file)


def test_read_all_the_same(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`of` reads the file whatever is known: who asks for a digest gets that of the bytes."""
    right = digests.of(file)
    monkeypatch.setattr(digests, "_found", {stamp: "0" * 64 for stamp in digests._found})
    assert known(file) == "0" * 64
    assert digests.of(file) == right


def test_published(tmp_path: Path) -> None:
    """What a bake has digested for its manifest stays known when the artifact takes its place, and is read again."""
    spec = loads("name: web\nversion: 1.0.0\nroles: [base]\n")
    partial, final = tmp_path / "partial", tmp_path / "final"
    partial.mkdir()
    (partial / "web-1.0.0.ova").write_bytes(b"disk")
    made = artifact._described(partial / "web-1.0.0.ova", "ova")
    nothing: dict[str, dict[str, str]] = {"inputs": {}, "tools": {}, "accelerator": {}}
    artifact.write_manifest(partial, [made], spec, "vsphere", packages=(), timings={}, checks=[], **nothing)
    (file,) = artifact.publish(partial, final, replace=False).files
    assert file.path.parent == final
    assert known(file.path) == file.sha256 == made.sha256


@pytest.mark.parametrize("touch", ["write", "same bytes", "append", "replace", "mode", "times"])
def test_touched(file: Path, touch: str) -> None:
    """Whatever is done to a file, it is unknown from then on."""
    digests.of(file)
    was = file.stat()
    if touch == "replace":
        other = file.with_name("other")
        other.write_bytes(file.read_bytes())
        other.rename(file)
    elif touch == "mode":
        file.chmod(0o600)
    elif touch != "times":
        with file.open("ab" if touch == "append" else "r+b") as handle:
            handle.write(b"x" if touch != "same bytes" else b"a")
    os.utime(file, ns=(was.st_atime_ns, was.st_mtime_ns))
    assert known(file) == ""


def test_written_while_it_is_read(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The digest of a file that was written to meanwhile is not remembered."""

    class Hashlib:
        @staticmethod
        def file_digest(handle: object, name: str) -> object:
            file.write_bytes(b"xyz" * 1000)
            return hashlib.sha256(b"abc" * 1000)

    monkeypatch.setattr(digests, "hashlib", Hashlib)
    digests.of(file)
    assert known(file) == ""


@pytest.mark.parametrize(("age", "fraction", "held"), [(1.0, 1, True), (0.001, 1, False), (1.0, 0, False)])
def test_clock(file: Path, monkeypatch: pytest.MonkeyPatch, age: float, fraction: int, held: bool) -> None:
    """Nothing is remembered that began in the tick of the last write, or whose times have no fractions of seconds."""
    with file.open("rb") as handle:
        before = digests.stamp(handle.fileno())._replace(changed=1_700_000_000_000_000_000 + fraction)
    monkeypatch.setattr(digests, "stamp", lambda _: before)
    digests.remember(0, before, before.changed + int(age * 1e9), "f" * 64)
    assert digests.known(before) == ("f" * 64 if held else "")
