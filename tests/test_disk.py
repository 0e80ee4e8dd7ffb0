"""Reading and converting disks without mounting them."""

from __future__ import annotations

import os
import shutil
import struct
from pathlib import Path

import images
import pytest

from skyvypack import command, disk
from skyvypack.errors import BakeFailed, CommandFailed, InputError

FILES = {"/etc/a": "one", "/etc/new\nline": "two", "/etc/ümlaut b": "three", "/a/b/c/d": "deep", "/link": "-> etc/a"}


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One disk for all tests that only read."""
    return images.disk(tmp_path_factory.mktemp("disk"), FILES)


@pytest.fixture
def own(raw: Path, tmp_path: Path) -> Path:
    """A copy to change."""
    return Path(shutil.copy(raw, tmp_path / "own.raw"))


def test_extents_skip_holes(tmp_path: Path) -> None:
    """Only ranges with data are read, cut to what was asked for."""
    path = tmp_path / "sparse"
    with path.open("wb") as handle:
        handle.truncate(10 << 20)
    images.write_at(path, 4 << 20, b"x" * (1 << 20))
    with path.open("rb") as handle:
        assert list(disk.data_extents(handle.fileno(), 0, 10 << 20)) == [(4 << 20, 5 << 20)]
        assert list(disk.data_extents(handle.fileno(), 0, (4 << 20) + 10)) == [(4 << 20, (4 << 20) + 10)]
        assert list(disk.data_extents(handle.fileno(), 6 << 20, 10 << 20)) == []


def test_search_finds_across_windows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A needle on the border of two windows is found, and each occurrence is told once."""
    monkeypatch.setattr(disk, "_WINDOW", 16)
    path = tmp_path / "raw"
    path.write_bytes(b"." * 12 + b"secretkey" + b"." * 11 + b"secretkey" + b"secretkey")
    assert sorted(disk.search(path, [b"secretkey", b"key", b"none"])) == [
        (b"key", 18),
        (b"key", 38),
        (b"key", 47),
        (b"secretkey", 12),
        (b"secretkey", 32),
        (b"secretkey", 41),
    ]


def test_sha256(tmp_path: Path) -> None:
    """The digest is that of the whole file."""
    (tmp_path / "f").write_bytes(b"abc")
    assert disk.sha256(tmp_path / "f") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


@pytest.mark.parametrize("content", [b"", b"\0" * 4096])
def test_no_ext4(tmp_path: Path, content: bytes) -> None:
    """What is no ext4 is refused, and so is a file that ends too early."""
    (tmp_path / "f").write_bytes(content)
    with pytest.raises(BakeFailed, match="no ext4"):
        disk.Ext4(tmp_path / "f", 0)


def test_convert_never_overwrites(tmp_path: Path) -> None:
    """A file that is there stays."""
    (tmp_path / "there").write_text("mine")
    with pytest.raises(InputError, match="exists"):
        disk.convert(tmp_path / "f", tmp_path / "there", "qcow2")
    assert (tmp_path / "there").read_text() == "mine"


def test_full_disk_leaves_nothing(tmp_path: Path, fake_tool: object) -> None:
    """When qemu-img runs out of space its half file goes, and the hint says what to do."""
    write_half = 'for last; do :; done; echo half > "$last"; echo "(10.00/100%)"'
    fake_tool("qemu-img", f'{write_half}; echo "error: No space left on device"; exit 1')  # type: ignore[operator]
    seen: list[float] = []
    with pytest.raises(CommandFailed, match="No space left") as caught:
        disk.convert(tmp_path / "f", tmp_path / "half", "qcow2", progress=seen.append)
    assert "free some space" in caught.value.hint
    assert seen == [0.1]
    assert not (tmp_path / "half").exists()


@pytest.mark.tool
def test_partitions(raw: Path) -> None:
    """Every partition with its place in bytes."""
    boot, esp, root = disk.partitions(raw)
    assert (boot.number, boot.start, boot.size) == (1, 1 << 20, 1 << 20)
    assert (esp.start, esp.type) == (images.ESP_START, "C12A7328-F81F-11D2-BA4B-00A0C93EC93B")
    assert root.start == images.ROOT_START


@pytest.mark.tool
def test_walk_and_read(raw: Path) -> None:
    """All names are found, odd ones too, with type, size and content."""
    system = disk.root(raw)
    tree = {entry.path: entry for entry in system.walk()}
    assert {*FILES, "/a/b/c", "/lost+found"} <= tree.keys()
    assert tree["/a/b"].is_folder
    assert tree["/etc/a"].is_file
    assert (tree["/etc/a"].size, tree["/etc/a"].mode & 0o7777) == (3, 0o644 & ~_umask())
    assert not tree["/link"].is_file
    assert system.read(tree.values()) == {
        path: text.encode() for path, text in FILES.items() if not text.startswith("-> ")
    }
    assert system.read_path("/a/b/c/d") == b"deep"


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


@pytest.mark.tool
def test_missing_file(raw: Path) -> None:
    """A file that is not there is an error, not empty content."""
    with pytest.raises(CommandFailed, match="nowhere"):
        disk.root(raw).read_path("/nowhere")


@pytest.mark.tool
def test_owners(raw: Path) -> None:
    """A byte of the disk leads to the file it is in; a free one leads nowhere."""
    system = disk.root(raw)
    ((_, offset),) = disk.search(raw, [b"deep"])
    free, _ = next(system.free())
    inodes = {entry.path: entry.inode for entry in system.walk()}
    assert system.owners([offset, free]) == {offset: inodes["/a/b/c/d"]}


@pytest.mark.tool
def test_zero_free(own: Path) -> None:
    """What a deleted file held is gone; files and the file system are unharmed."""
    images.debugfs(own, "rm /a/b/c/d")
    assert list(disk.search(own, [b"deep"]))
    assert disk.zero_free(own) > 0
    assert not list(disk.search(own, [b"deep"]))
    assert disk.root(own).read_path("/etc/a") == b"one"
    system = disk.root(own)
    alone = own.with_name("root.ext4")
    alone.write_bytes(own.read_bytes()[system.offset : system.offset + system.size])
    command.run(["e2fsck", "-fn", alone])


@pytest.mark.tool
def test_dirty_file_system(own: Path) -> None:
    """A journal that was not written back is refused: what is on the disk would not be what boots."""
    with own.open("rb") as handle:
        handle.seek(images.ROOT_START + 1024 + 0x60)
        (features,) = struct.unpack("<I", handle.read(4))
    images.write_at(own, images.ROOT_START + 1024 + 0x60, struct.pack("<I", features | 4))
    with pytest.raises(BakeFailed, match="not unmounted"):
        disk.zero_free(own)


@pytest.mark.tool
def test_no_root(tmp_path: Path) -> None:
    """A disk without partitions fails by sfdisk's words."""
    empty = tmp_path / "empty.raw"
    empty.write_bytes(bytes(1 << 20))
    with pytest.raises(CommandFailed, match="partition"):
        disk.root(empty)


@pytest.mark.tool
@pytest.mark.parametrize("format", disk.FORMATS)
def test_convert_round_trip(raw: Path, tmp_path: Path, format: disk.Format) -> None:
    """Every format gives back the same disk, and says it is what was asked for."""
    seen: list[float] = []
    made, back = tmp_path / "made", tmp_path / "back"
    disk.convert(raw, made, format, progress=seen.append)
    disk.convert(made, back, "raw", source_format=format)
    assert disk.info(made)["format"] == format
    assert seen[-1] == 1.0
    assert back.read_bytes()[: images.SIZE] == raw.read_bytes()
    assert made.stat().st_blocks * 512 < images.SIZE / 2


@pytest.mark.tool
def test_compression(raw: Path, tmp_path: Path) -> None:
    """A qcow2 is compressed by zstd, a vmdk is streamOptimized."""
    disk.convert(raw, tmp_path / "q", "qcow2")
    disk.convert(raw, tmp_path / "v", "vmdk")
    assert disk.info(tmp_path / "q")["format-specific"]["data"]["compression-type"] == "zstd"
    assert disk.info(tmp_path / "v")["format-specific"]["data"]["create-type"] == "streamOptimized"
