"""The mirror before the mirror: made from a small archive that lacks an installer's components."""

from __future__ import annotations

import gzip
import hashlib
import lzma
import subprocess
from collections.abc import Iterator
from http.client import IncompleteRead
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

import mirror
import pytest
from loopback import serving
from upstream import Upstream
from upstream import serving as passing_on
from vendor_repository import Key

pytestmark = pytest.mark.tool

INDEX = "main/debian-installer/binary-amd64/Packages.xz"
NEAR, KERNEL = "6.12.107-amd64", "6.12.117-amd64"


@pytest.fixture
def key(tmp_path: Path) -> Iterator[Key]:
    key = Key(tmp_path / "gpg")
    yield key
    key.end_agent()


def package(folder: Path, path: str, files: dict[str, str], **fields: str) -> str:
    """A package with these files at a path of the archive; gives its paragraph for an index."""
    tree = folder / "tree" / path
    for name, text in files.items():
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_text(text)
        (tree / name).chmod(0o755)
    (tree / "DEBIAN").mkdir(parents=True, exist_ok=True)
    all_fields = {"Version": "1", "Architecture": "amd64", "Maintainer": "A <a@example.org>", "Description": "x"}
    control = "".join(f"{name}: {value}\n" for name, value in (fields | all_fields).items())
    (tree / "DEBIAN" / "control").write_text(control)
    (folder / "archive" / path).parent.mkdir(parents=True, exist_ok=True)
    subprocess.run(["dpkg-deb", "--build", tree, folder / "archive" / path], check=True, stdout=subprocess.DEVNULL)
    return f"{control}Filename: {path}\n"


def archive(folder: Path) -> Path:
    """An archive with one udeb of three: neither the kernel's modules nor the file systems' programs are there."""
    there = package(folder, "pool/partman.udeb", {"bin/partman": "#!"}, Package="partman")
    listed = "".join(
        f"\nPackage: {name}\nVersion: 1\nArchitecture: amd64\n{further}Filename: pool/none/{name}.udeb\n"
        for name, further in {
            f"disk-modules-{NEAR}-di": f"Kernel-Version: {NEAR}\n",
            "e2fsprogs-udeb": "Source: e2fsprogs\n",
            "gone-udeb": "Source: gone\n",
            "held-udeb": "",
        }.items()
    )
    module = f"lib/modules/{KERNEL}/disk.ko"
    main = package(folder, "pool/linux.deb", {f"usr/{module}": "module"}, Package=f"linux-image-{KERNEL}") + "\n"
    main += package(folder, "pool/e2fsprogs.deb", {"sbin/mke2fs": "mke2fs"}, Package="e2fsprogs")
    contents = (
        f"lib/modules/{NEAR}/disk.ko  debian-installer/disk-modules-{NEAR}-di\n"
        "usr/sbin/mke2fs  debian-installer/e2fsprogs-udeb\nusr/bin/gone  debian-installer/gone-udeb\n"
    )
    suite = folder / "archive" / "dists" / "trixie"
    for path, data in {
        INDEX: lzma.compress((there + listed).encode()),
        "main/binary-amd64/Packages.xz": lzma.compress(main.encode()),
        "main/Contents-udeb-amd64.gz": gzip.compress(contents.encode()),
        "Release": f"MD5Sum:\n 0 0 {INDEX}\nSHA256:\n 0 0 {INDEX}\n 1 1 other\n".encode(),
        "InRelease": b"as Debian signed it",
    }.items():
        (suite / path).parent.mkdir(parents=True, exist_ok=True)
        (suite / path).write_bytes(data)
    return folder / "archive"


def test_what_is_missing_is_made(tmp_path: Path, key: Key) -> None:
    """Modules come from the installer's own kernel, programs from their packages; the rest is passed on as it is."""
    (tmp_path / "kept").mkdir()
    netboot = mirror.Netboot(KERNEL, {"held-udeb": "2"})
    with serving(archive(tmp_path)) as (url, _):
        upstream = Upstream(url, tmp_path / "kept")
        overlay = mirror.Overlay("trixie", upstream, netboot, tmp_path / "overlay", key)
        overlay.make()
        with passing_on(overlay.folder, upstream, upstream) as port:
            base = f"http://127.0.0.1:{port}/debian"
            release = urlopen(f"{base}/dists/trixie/Release").read().decode()
            index = urlopen(f"{base}/dists/trixie/{INDEX}").read()
            found = {one["Package"]: one for one in mirror.paragraphs(lzma.decompress(index).decode())}
            for one in found.values():
                if one["Package"] != "held-udeb":
                    (tmp_path / one["Package"]).write_bytes(urlopen(f"{base}/{one['Filename']}").read())
            assert urlopen(f"{base}/dists/trixie/InRelease").read() == b"as Debian signed it"
            with pytest.raises(HTTPError, match="404"):
                urlopen(f"{base}/../etc/passwd")
    key.keyring(tmp_path / "ours.gpg")
    signature = tmp_path / "overlay" / "dists" / "trixie" / "Release.gpg"
    subprocess.run(["gpgv", "-q", "--keyring", tmp_path / "ours.gpg", signature, signature.with_suffix("")], check=True)
    assert f"{hashlib.sha256(index).hexdigest()} {len(index):8d} {INDEX}" in release
    assert set(found) == {"partman", f"disk-modules-{KERNEL}-di", "e2fsprogs-udeb", "held-udeb"}
    assert found["held-udeb"]["Version"] == "2", "the installer has it; nobody will ask"
    for name, path in {f"disk-modules-{KERNEL}-di": "disk.ko", "e2fsprogs-udeb": "./usr/sbin/mke2fs"}.items():
        listed = subprocess.run(["dpkg-deb", "--contents", tmp_path / name], capture_output=True, check=True).stdout
        assert path in listed.decode()
        assert found[name]["SHA256"] == hashlib.sha256((tmp_path / name).read_bytes()).hexdigest()
    said = {line.partition(":")[0] for line in overlay.said}
    assert said == {f"disk-modules-{KERNEL}-di", "e2fsprogs-udeb", "gone-udeb"}


def test_nothing_is_missing(tmp_path: Path, key: Key) -> None:
    """Where the mirror has it all, nothing is made and no line is said."""
    folder = archive(tmp_path)
    index = package(
        tmp_path, "pool/disk.udeb", {"lib/disk.ko": "x"}, Package=f"disk-{KERNEL}-di", **{"Kernel-Version": KERNEL}
    )
    (folder / "dists" / "trixie" / INDEX).write_bytes(lzma.compress(index.encode()))
    (tmp_path / "kept").mkdir()
    with serving(folder) as (url, _):
        overlay = mirror.Overlay(
            "trixie", Upstream(url, tmp_path / "kept"), mirror.Netboot(KERNEL, {}), tmp_path / "overlay", key
        )
        overlay.make()
    assert overlay.said == []


def test_what_cannot_be_made_is_named(tmp_path: Path, key: Key) -> None:
    """A script that every installation loads is in no other package: it is told before anything is made."""
    folder = archive(tmp_path)
    paragraphs = "\n".join(
        f"Package: {name}\nPriority: {priority}\nArchitecture: all\nFilename: pool/none/{name}.udeb\n"
        for name, priority in (("finish-install", "standard"), ("rescue-mode", "optional"), ("held-udeb", "standard"))
    )
    (folder / "dists" / "trixie" / INDEX).write_bytes(lzma.compress(paragraphs.encode()))
    (tmp_path / "kept").mkdir()
    netboot = mirror.Netboot(KERNEL, {"held-udeb": "2"})
    with serving(folder) as (url, _):
        overlay = mirror.Overlay("trixie", Upstream(url, tmp_path / "kept"), netboot, tmp_path / "overlay", key)
        with pytest.raises(mirror.Unservable, match="the mirror lacks finish-install, and"):
            overlay.make()
    assert not (tmp_path / "overlay").exists()


def test_the_next_releases_run_in_an_aged_installer(tmp_path: Path, key: Key) -> None:
    """Scripts, and programs that its C library can run, are the next release's; packages' own files come first."""
    folder = archive(tmp_path)
    names = ("user-setup-udeb", "partman-utils", "newer-udeb", "e2fsprogs-udeb", "tzsetup-udeb")
    own = "\n".join(
        f"Package: {name}\nVersion: 1\nArchitecture: all\nPriority: standard\nSource: {name.removesuffix('-udeb')}\n"
        f"Filename: pool/gone/{name}.udeb\n"
        for name in names
        if name != "newer-udeb"
    )
    own += "\nPackage: newer-udeb\nVersion: 1\nArchitecture: amd64\nFilename: pool/gone/newer-udeb.udeb\n"
    contents = {"user-setup-udeb": "bin/user-setup", "e2fsprogs-udeb": "sbin/mke2fs", "tzsetup-udeb": "bin/tzsetup"}
    minors = {"partman-utils": 34, "newer-udeb": 38}
    programs = {name: f"\x7fELF\0GLIBC_2.4\0GLIBC_2.{minor}\0" for name, minor in minors.items()}
    theirs = [
        package(
            tmp_path,
            f"pool/{name}.udeb",
            {f"bin/{name}": programs.get(name, "#!")} | ({"DEBIAN/postinst": "#!"} if name == "tzsetup-udeb" else {}),
            Package=name,
        )
        for name in names
    ]
    own += "\n" + package(
        tmp_path, "pool/disk.udeb", {"lib/disk.ko": "x"}, Package="disk-di", **{"Kernel-Version": KERNEL}
    )
    deb = package(tmp_path, "pool/tzsetup.deb", {"bin/tzsetup": "#!"}, Package="tzsetup")
    suites = folder / "dists"
    main = lzma.decompress((suites / "trixie/main/binary-amd64/Packages.xz").read_bytes()).decode() + f"\n{deb}"
    listed = "".join(f"{path} debian-installer/{name}\n" for name, path in contents.items())
    for path, data in {
        f"trixie/{INDEX}": lzma.compress("\n".join(theirs).encode()),
        f"bookworm/{INDEX}": lzma.compress(own.encode()),
        "bookworm/main/binary-amd64/Packages.xz": lzma.compress(main.encode()),
        "bookworm/main/Contents-udeb-all.gz": gzip.compress(listed.encode()),
        "bookworm/Release": f"SHA256:\n 0 0 {INDEX}\n".encode(),
    }.items():
        (suites / path).parent.mkdir(parents=True, exist_ok=True)
        (suites / path).write_bytes(data)
    (tmp_path / "kept").mkdir()
    netboot = mirror.Netboot(KERNEL, {"libc6-udeb": "2.36-9+deb12u14"})
    with serving(folder) as (url, _):
        overlay = mirror.Overlay("bookworm", Upstream(url, tmp_path / "kept"), netboot, tmp_path / "overlay", key)
        overlay.make()
    index = lzma.decompress((tmp_path / "overlay" / "dists" / "bookworm" / INDEX).read_bytes()).decode()
    assert {one["Package"]: one["Filename"] for one in mirror.paragraphs(index)} == {
        "disk-di": "pool/disk.udeb",
        "user-setup-udeb": "pool/user-setup-udeb.udeb",
        "partman-utils": "pool/partman-utils.udeb",
        "e2fsprogs-udeb": "pool/made/e2fsprogs-udeb.udeb",
        "tzsetup-udeb": "pool/tzsetup-udeb.udeb",
    }
    assert "partman-utils: that of trixie, 1 for 1" in overlay.said


def test_libraries_that_only_packages_need_come_along(
    tmp_path: Path, key: Key, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A package's program is built with more than a udeb's; what the installer or a udeb brings is not doubled."""
    wanted = {"lvm": ["libevent.so.1", "libc.so.6", "libblkid.so.1"], "libevent.so.1": ["libdeep.so.2"]}
    monkeypatch.setattr(mirror, "needed", lambda file: wanted.get(file.name, []))
    library = "usr/lib/x86_64-linux-gnu"
    parts = {
        "lvm2": ({"sbin/lvm": "x"}, "libevent1 (>= 1), libblkid1"),
        "libevent1": ({f"{library}/libevent.so.1": "x"}, "libdeep2 | other"),
        "libdeep2": ({f"{library}/libdeep.so.2": "x"}, "libc6"),
        "libblkid1": ({f"{library}/libblkid.so.1": "x"}, "libc6"),
    }
    main = "\n".join(
        package(tmp_path, f"pool/{name}.deb", files, Package=name, Depends=needs)
        for name, (files, needs) in parts.items()
    )
    index = package(tmp_path, "pool/disk.udeb", {"disk.ko": "x"}, Package="disk-di", **{"Kernel-Version": KERNEL})
    index += "\nPackage: lvm2-udeb\nSource: lvm2\nVersion: 1\nArchitecture: amd64\nDepends: libblkid1-udeb (>= 2)\n"
    index += "Filename: pool/none/lvm2-udeb.udeb\n"
    contents = "sbin/lvm x/lvm2-udeb\nlib/libblkid.so.1 x/libblkid1-udeb\nlib/libc.so.6 x/libc6-udeb\n"
    suite = tmp_path / "archive" / "dists" / "trixie"
    for path, data in {
        INDEX: lzma.compress(index.encode()),
        "main/binary-amd64/Packages.xz": lzma.compress(main.encode()),
        "main/Contents-udeb-amd64.gz": gzip.compress(contents.encode()),
        "Release": f"SHA256:\n 0 0 {INDEX}\n".encode(),
    }.items():
        (suite / path).parent.mkdir(parents=True, exist_ok=True)
        (suite / path).write_bytes(data)
    (tmp_path / "kept").mkdir()
    netboot = mirror.Netboot(KERNEL, {"libc6-udeb": "2.41-12"})
    with serving(tmp_path / "archive") as (url, _):
        overlay = mirror.Overlay("trixie", Upstream(url, tmp_path / "kept"), netboot, tmp_path / "overlay", key)
        overlay.make()
    made = tmp_path / "overlay" / "pool" / "made" / "lvm2-udeb.udeb"
    listed = subprocess.run(["dpkg-deb", "--contents", made], capture_output=True, check=True).stdout.decode()
    files = {line.rpartition("/")[2] for line in listed.splitlines() if line.startswith("-")}
    assert files == {"lvm", "libevent.so.1", "libdeep.so.2"}


def test_a_mirror_that_fails_is_asked_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three times in all; what it does not have is believed at once."""
    monkeypatch.setattr("upstream._PAUSE", 0)
    with serving(tmp_path, half=b"half") as (url, requests):
        upstream = Upstream(url, tmp_path)
        with pytest.raises(IncompleteRead):
            upstream.read("broken.qcow2")
        assert len(requests) == 3
        with pytest.raises(HTTPError, match="404"):
            upstream.read("none")
        assert len(requests) == 4
