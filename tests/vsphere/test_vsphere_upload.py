"""Disks reach a host whole, are held to their digest, and every way an upload can break has its own words."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from simulators.certificates import Authority
from simulators.vcenter import VCenter, vcenter
from simulators.vcsim import Server

from skyvypack import disk as disks
from skyvypack.registrar.contract import RegistrarError
from skyvypack.targets.vsphere.vcenter.upload import Broken, Digest, Place, Source, send

SIZE = 3_500_000


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
def host(authority: Authority) -> Iterator[VCenter]:
    """Takes uploads; there is no vcsim behind it."""
    with vcenter(Server(1, authority.file), authority) as made:
        yield made


@pytest.fixture
def source(tmp_path: Path) -> Source:
    """A disk in the middle of a file, as in an OVA."""
    data = os.urandom(SIZE)
    path = tmp_path / "web.ova"
    path.write_bytes(b"h" * 1024 + data + b"t" * 3000)
    return Source(path, hashlib.sha256(path.read_bytes()).hexdigest(), 1024, SIZE)


def place(host: VCenter, **changes: object) -> Place:
    context = ssl.create_default_context(cafile=str(host.server.authority))
    return Place(f"https://{host.server.host}/nfc/lease/disk-0.vmdk", context, **changes)  # type: ignore[arg-type]


def disk(source: Source) -> str:
    return hashlib.sha256(source.path.read_bytes()[source.offset : source.offset + source.size]).hexdigest()


def test_whole(host: VCenter, source: Source) -> None:
    """The host gets exactly the disk's bytes in one POST of VMware's type, and progress ends at the whole."""
    seen: list[int] = []
    send(source, place(host), seen.append)
    (upload,) = host.uploads
    assert (upload.size, upload.sha256, upload.whole) == (SIZE, disk(source), True)
    assert upload.type == "application/x-vnd.vmware-streamVmdk"
    assert seen == sorted(seen)
    assert seen[-1] == SIZE


def test_changed_file(host: VCenter, source: Source) -> None:
    """A file that is not what its digest says fails, also when only a byte outside of the disk differs."""
    with source.path.open("r+b") as handle:
        handle.seek(-1, os.SEEK_END)
        handle.write(b"!")
    with pytest.raises(RegistrarError, match="is not what was baked"):
        send(source, place(host), lambda _: None)


def test_digest_that_lags_behind(host: VCenter, source: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the digest's thread has not taken when the disk is sent is taken then: no byte goes unseen."""
    monkeypatch.setattr(Digest, "_read", Digest._piece)  # one piece, and no more
    send(source, place(host), lambda _: None)
    test_changed_file(host, source)


def test_digest_that_is_ahead(host: VCenter, source: Source) -> None:
    """A file that is known to be wrong before all of it is sent is not sent to its end."""
    wrong = dataclasses.replace(source, sha256="0" * 64)
    sent: list[int] = []
    with Digest(wrong) as digest:
        digest._thread.join()
        with pytest.raises(RegistrarError, match="is not what was baked"):
            send(wrong, place(host), sent.append, digest)
    assert sent[-1] < SIZE / 2


def test_digest_for_several_tries(host: VCenter, source: Source) -> None:
    """One digest serves an upload that broke and the one that followed, and holds both to all of the file."""
    with Digest(source) as digest:
        host.moods.upload, host.moods.upload_limit = 0, 1 << 16
        with pytest.raises(Broken):
            send(source, place(host), lambda _: None, digest)
        host.moods.upload, host.moods.upload_limit = 200, None
        send(source, place(host), lambda _: None, digest)
        assert host.uploads[-1].whole
        with source.path.open("r+b") as handle:
            handle.write(b"!")
        with pytest.raises(RegistrarError, match="is not what was baked"):
            send(source, place(host), lambda _: None, digest)


def test_touched_file(host: VCenter, source: Source) -> None:
    """A file whose times change while it is sent, but not its bytes, is as good as before."""
    send(source, place(host), lambda _: os.utime(source.path))


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Bytes that a digest has taken, piece by piece."""
    seen: list[int] = []

    def piece(self: Digest) -> bool:
        before = self._at
        more = take(self)
        seen.append(self._at - before)
        return more

    take = Digest._piece
    monkeypatch.setattr(Digest, "_piece", piece)
    return seen


def test_known_file(host: VCenter, source: Source, reads: list[int]) -> None:
    """What this process has digested and nobody has touched since is sent without being digested again."""
    assert disks.sha256(source.path) == source.sha256
    send(source, place(host), lambda _: None)
    assert reads == []
    assert host.uploads[0].sha256 == disk(source)


def test_sent_file_is_known(host: VCenter, source: Source, reads: list[int]) -> None:
    """A second upload of the same file, as to another vCenter, relies on the first one's digest."""
    time.sleep(0.05)
    send(source, place(host), lambda _: None)
    assert sum(reads) == source.path.stat().st_size
    reads.clear()
    send(source, place(host), lambda _: None)
    assert reads == []


def test_other_process(host: VCenter, source: Source, reads: list[int]) -> None:
    """What another process has digested is digested again: an artifact that came from elsewhere is always read."""
    code = f"from pathlib import Path; from skyvypack import disk; print(disk.sha256(Path({str(source.path)!r})))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == source.sha256
    send(source, place(host), lambda _: None)
    assert sum(reads) == source.path.stat().st_size


@pytest.mark.parametrize("when", ["before", "meanwhile"])
def test_known_file_changes(host: VCenter, source: Source, when: str) -> None:
    """A known file that is written to before or while it is sent is caught, its old size and time put back or not."""
    disks.sha256(source.path)

    def change(_: int = 0) -> None:
        was = source.path.stat()
        with source.path.open("r+b") as handle:
            handle.seek(-1, os.SEEK_END)
            handle.write(b"!")
        os.utime(source.path, ns=(was.st_atime_ns, was.st_mtime_ns))

    if when == "before":
        change()
    with pytest.raises(RegistrarError, match="is not what was baked"):
        send(source, place(host), change)


def test_known_file_with_another_digest(host: VCenter, source: Source) -> None:
    """That a file is known is no proof that it is the one the manifest names."""
    disks.sha256(source.path)
    with pytest.raises(RegistrarError, match="is not what was baked"):
        send(dataclasses.replace(source, sha256="0" * 64), place(host), lambda _: None)


def test_unknown_authority(host: VCenter, source: Source, tmp_path: Path) -> None:
    """A host whose certificate nobody we trust has signed gets nothing, on loopback too."""
    other = Authority(tmp_path, "other")
    stranger = Place(place(host).url, ssl.create_default_context(cafile=str(other.file)))
    with pytest.raises(RegistrarError, match="certificate verify failed"):
        send(source, stranger, lambda _: None)
    assert host.uploads == []


@pytest.mark.parametrize("algorithm", ["sha1", "sha256"])
def test_pinned(host: VCenter, source: Source, algorithm: str) -> None:
    """A thumbprint that vCenter vouches for takes the place of an authority."""
    print_ = hashlib.new(algorithm, host.certificate.der).hexdigest().upper()
    colons = ":".join(print_[at : at + 2] for at in range(0, len(print_), 2))
    send(source, Place(place(host).url, ssl.create_default_context(), thumbprint=colons), lambda _: None)
    assert host.uploads[0].sha256 == disk(source)


def test_wrong_pin(host: VCenter, source: Source) -> None:
    """A host with another certificate than vCenter vouches for gets nothing."""
    with pytest.raises(RegistrarError, match="another certificate"):
        send(source, place(host, thumbprint="ab" * 20), lambda _: None)
    assert host.uploads == []


@pytest.mark.parametrize("url", ["http://127.0.0.1/nfc/x", "https:///nfc/x"])
def test_not_https(source: Source, url: str) -> None:
    """A disk goes nowhere but to an https URL."""
    with pytest.raises(RegistrarError, match="not https"):
        send(source, Place(url, ssl.create_default_context()), lambda _: None)


def test_refused(host: VCenter, source: Source) -> None:
    """A host that refuses is quoted."""
    host.moods.upload = 500
    with pytest.raises(RegistrarError, match=r"refused web.ova: 500 .*told to fail"):
        send(source, place(host), lambda _: None)


def test_refused_early(host: VCenter, source: Source) -> None:
    """A host that refuses before it has everything ends the upload."""
    host.moods.upload, host.moods.upload_limit = 507, 1 << 16
    with pytest.raises(RegistrarError, match=r"refused web.ova: 507|broke off"):
        send(source, place(host), lambda _: None)


def test_hung_up(host: VCenter, source: Source) -> None:
    """A host that hangs up ends the upload."""
    host.moods.upload, host.moods.upload_limit = 0, 1 << 16
    with pytest.raises(RegistrarError, match="broke off"):
        send(source, place(host), lambda _: None)


def test_stalled(host: VCenter, source: Source) -> None:
    """A host that stops taking or does not answer is given up after the stall time."""
    host.moods.upload_pause = 3.0
    host.moods.upload_limit = 1 << 16
    with pytest.raises(RegistrarError, match="no progress for"):
        send(source, place(host, stall=0.3), lambda _: None)


def test_stopped(host: VCenter, source: Source) -> None:
    """What `advance` raises, as on Ctrl-C, ends the upload at once and leaves no thread behind."""

    def advance(sent: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        send(source, place(host), advance)
    assert [thread.name for thread in threading.enumerate() if thread.name == "skyvypack-digest"] == []


def test_nobody(source: Source) -> None:
    """A host that cannot be reached is named."""
    context = ssl.create_default_context()
    with pytest.raises(RegistrarError, match=r"to 127.0.0.1:1 broke off"):
        send(source, Place("https://127.0.0.1:1/nfc/x", context), lambda _: None)


def test_missing_file(host: VCenter, source: Source) -> None:
    """A file that is gone ends the upload with its name."""
    source.path.unlink()
    with pytest.raises(RegistrarError, match="No such file"):
        send(source, place(host), lambda _: None)
