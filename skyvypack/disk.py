"""Disk images: convert, describe, and read the ext4 inside one without mounting it and without being root.

`qemu-img` converts, `sfdisk` lists partitions, and e2fsprogs' `debugfs` and `dumpe2fs` read the file system at its
offset in the raw image (`image?offset=N`, ext2fs_open2 in e2fsprogs).
"""

from __future__ import annotations

import json
import os
import re
import stat
import struct
import subprocess
import tempfile
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from skyvypack import command, digests
from skyvypack.errors import BakeFailed, CommandFailed, InputError

Format = Literal["qcow2", "raw", "vmdk", "vhdx", "vdi"]
FORMATS: tuple[Format, ...] = ("qcow2", "raw", "vmdk", "vhdx", "vdi")

# zstd: five times faster to write than zlib and a little smaller (205 MB: 1.7 s against 7.6 s on two cores). It sets an
# incompatible feature bit (QEMU's docs/interop/qcow2.txt), so the reader must be QEMU 5.1 (August 2020) or newer.
_OPTIONS: Mapping[str, str] = {
    "qcow2": "compression_type=zstd",
    "vmdk": "subformat=streamOptimized,adapter_type=lsilogic",
    "vhdx": "subformat=dynamic",
}
_PERCENT = re.compile(rb"\(\s*([0-9.]+)/100%\)")
_ENTRY = re.compile(r"^/(\d+)/(\d{6})/(\d+)/(\d+)/([^/]+)/(\d*)/$", re.MULTILINE)
_ECHO = re.compile(r"^debugfs: ls -p <(\d+)>$", re.MULTILINE)
_FREE = re.compile(r"^  Free blocks: (.+)$", re.MULTILINE)
_ROOT_INODE = 2
_CHUNK = 1 << 20
_WINDOW = 4 << 20

_SUPERBLOCK = 1024
_EXT_MAGIC = b"\x53\xef"
_RECOVER = 0x4  # the journal holds what the file system does not, yet


@dataclass(frozen=True, slots=True)
class Partition:
    """One partition.

    Args:
        number: as in its device's name.
        start: bytes from the beginning of the disk.
        size: bytes.
        type: GPT type as an upper-case UUID, or the MBR type in hexadecimal.
    """

    number: int
    start: int
    size: int
    type: str


@dataclass(frozen=True, slots=True)
class Entry:
    """A name in a file system.

    Args:
        path: absolute.
        inode: its inode number; hard links share one.
        mode: type and permission bits, as in `os.stat_result.st_mode`.
        uid: owner.
        gid: group.
        size: bytes; 0 for a folder.
    """

    path: str
    inode: int
    mode: int
    uid: int
    gid: int
    size: int

    @property
    def is_folder(self) -> bool:
        """True for a folder."""
        return stat.S_ISDIR(self.mode)

    @property
    def is_file(self) -> bool:
        """True for a regular file."""
        return stat.S_ISREG(self.mode)


def info(path: Path) -> dict[str, Any]:
    """What `qemu-img info` says: ``format``, ``virtual-size`` (bytes), ``actual-size``, ``format-specific`` …

    Raises:
        CommandFailed: it is no image that QEMU can read.
    """
    done = command.run(["qemu-img", "info", "--output=json", path])
    described: dict[str, Any] = json.loads(done.stdout)
    return described


def convert(
    source: Path,
    destination: Path,
    format: Format,
    *,
    source_format: str = "raw",
    progress: Callable[[float], None] | None = None,
) -> None:
    """Write a disk in another format; ranges of zeroes take no space in the result.

    Args:
        source: the image to read.
        destination: the file to make.
        format: of the result. ``qcow2`` is compressed by zstd, which QEMU reads from 5.1 on; ``vmdk`` is
            streamOptimized (compressed, what an OVA holds); ``vhdx`` and ``vdi`` are dynamic; ``raw`` is sparse.
        source_format: of the source; never guessed, because a guest can write a header that makes raw look like qcow2.
        progress: called with 0…1.

    Raises:
        InputError: `destination` exists.
        CommandFailed: the source cannot be read, or the disk is full; nothing is left of the destination.
    """
    if destination.exists():
        raise InputError(f"{destination} exists", "choose another file")
    argv: list[str | Path] = ["qemu-img", "convert", "-p", "-m", "16", "-f", source_format, "-O", format]
    if format == "qcow2":
        argv += ["-c", "-W"]  # -W: clusters are compressed side by side, at the price of their order in the file
    if format in _OPTIONS:
        argv += ["-o", _OPTIONS[format]]
    try:
        _follow([*argv, source, destination], progress)
    except BaseException:
        destination.unlink(missing_ok=True)
        raise


def _follow(argv: list[str | Path], progress: Callable[[float], None] | None) -> None:
    """qemu-img ends its percentages with a carriage return, so lines cannot be waited for."""
    tail: deque[bytes] = deque(maxlen=8)
    with command.start(argv, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        with process.stdout as stdout:
            while piece := os.read(stdout.fileno(), 4096):
                found = _PERCENT.findall(piece)
                if found and progress:
                    progress(float(found[-1]) / 100)
                tail.append(_PERCENT.sub(b"", piece))
        returncode = process.wait()
    if returncode:
        text = b"".join(tail).decode(errors="replace").replace("\r", "").strip()
        hint = "free some space on that disk" if "No space left" in text else ""
        raise CommandFailed([str(part) for part in argv], returncode, text, hint)


def sha256(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal; `skyvypack.digests` remembers it."""
    return digests.of(path)


def partitions(raw: Path) -> tuple[Partition, ...]:
    """The partitions of a raw disk, GPT or MBR, in order.

    Raises:
        CommandFailed: it has no partition table.
    """
    table = json.loads(command.run(["sfdisk", "--json", raw]).stdout)["partitiontable"]
    sector = int(table.get("sectorsize", 512))
    return tuple(
        Partition(
            int(entry["node"].removeprefix(table["device"]).lstrip("p")),
            entry["start"] * sector,
            entry["size"] * sector,
            entry["type"].upper(),
        )
        for entry in table.get("partitions", ())
    )


def data_extents(descriptor: int, start: int, end: int) -> Iterator[tuple[int, int]]:
    """The ranges of a sparse file between `start` and `end` (bytes) that are not holes."""
    while start < end:
        try:
            begin = os.lseek(descriptor, start, os.SEEK_DATA)
        except OSError:  # ENXIO: only a hole is left
            return
        if begin >= end:
            return
        start = min(os.lseek(descriptor, begin, os.SEEK_HOLE), end)
        yield begin, start


def search(raw: Path, needles: Iterable[bytes]) -> Iterator[tuple[bytes, int]]:
    """Where byte strings stand on a raw disk, in files, deleted data, gaps and every partition; holes are skipped.

    Args:
        raw: the disk.
        needles: what to look for; without bytes of zero, so that none can reach into a hole.

    Returns:
        Each needle with the byte offset it begins at.
    """
    wanted = sorted(set(needles))
    overlap = max(map(len, wanted), default=1) - 1
    with raw.open("rb", buffering=0) as handle:
        for start, end in data_extents(handle.fileno(), 0, raw.stat().st_size):
            for at in range(start, end, _WINDOW):
                window = os.pread(handle.fileno(), min(_WINDOW + overlap, end - at), at)
                for needle in wanted:
                    # A match that begins in the overlap is the next window's.
                    last = _WINDOW + len(needle) - 1
                    found = window.find(needle, 0, last)
                    while found >= 0:
                        yield needle, at + found
                        found = window.find(needle, found + 1, last)


class Ext4:
    """An ext4 file system inside a raw disk image, read without mounting it.

    Args:
        image: the raw disk.
        offset: bytes from its beginning to the file system.

    Raises:
        BakeFailed: there is no ext4 there, or it was not unmounted, so that its journal holds what is not yet in it.
    """

    def __init__(self, image: Path, offset: int) -> None:
        with image.open("rb") as handle:
            handle.seek(offset + _SUPERBLOCK)
            superblock = handle.read(1024)
        if not _is_ext(superblock):
            raise BakeFailed(f"no ext4 file system at byte {offset} of {image}")
        if struct.unpack_from("<I", superblock, 0x60)[0] & _RECOVER:
            raise BakeFailed(
                f"the file system at byte {offset} of {image} was not unmounted",
                "the machine was cut off instead of shut down; bake again",
            )
        self.image = image
        self.offset = offset
        self.block_size: int = 1024 << struct.unpack_from("<I", superblock, 24)[0]
        blocks: int = struct.unpack_from("<I", superblock, 4)[0] | struct.unpack_from("<I", superblock, 0x150)[0] << 32
        self.size: int = blocks * self.block_size
        self._device = f"{image}?offset={offset}"

    def covers(self, offset: int) -> bool:
        """True when this byte of the disk is in the file system."""
        return self.offset <= offset < self.offset + self.size

    def _debugfs(self, commands: Iterable[str]) -> str:
        done = command.run(["debugfs", "-f", "-", self._device], text="".join(f"{line}\n" for line in commands))
        complaints = [line for line in done.stderr.splitlines() if not line.startswith("debugfs ")]
        if complaints:
            raise CommandFailed(done.argv, done.returncode, "\n".join(complaints[-5:]), "the file system is damaged")
        return done.stdout

    def walk(self) -> Iterator[Entry]:
        """Everything in it but the root folder itself, folders before what is in them.

        One debugfs process for each level of folders, because it answers no question before all have been asked.
        """
        level = {_ROOT_INODE: ""}
        while level:
            answers = _ECHO.split(self._debugfs(f"ls -p <{inode}>" for inode in level))[1:]
            below: dict[int, str] = {}
            for inode, listing in zip(answers[::2], answers[1::2], strict=True):
                for entry in _entries(level[int(inode)], listing):
                    yield entry
                    if entry.is_folder:
                        below[entry.inode] = entry.path
            level = below

    def read(self, entries: Iterable[Entry]) -> dict[str, bytes]:
        """The contents of regular files by path; all are held in memory, so ask for small ones."""
        wanted = [entry for entry in entries if entry.is_file]
        with tempfile.TemporaryDirectory(prefix="skyvypack-") as folder:
            self._debugfs(f'dump <{inode}> "{folder}/{inode}"' for inode in {entry.inode for entry in wanted})
            return {entry.path: Path(folder, str(entry.inode)).read_bytes() for entry in wanted}

    def read_path(self, path: str) -> bytes:
        """The content of one regular file.

        Raises:
            CommandFailed: there is none.
        """
        with tempfile.TemporaryDirectory(prefix="skyvypack-") as folder:
            self._debugfs([f'dump "{path}" "{folder}/file"'])
            return Path(folder, "file").read_bytes()

    def owners(self, offsets: Iterable[int]) -> dict[int, int]:
        """Which inode's data is at each byte offset of the disk; an offset in no file is left out."""
        blocks: dict[int, list[int]] = {}
        for offset in offsets:
            blocks.setdefault((offset - self.offset) // self.block_size, []).append(offset)
        numbers = sorted(blocks)
        # debugfs reads lines of at most 8 KiB.
        lines = [" ".join(map(str, numbers[at : at + 400])) for at in range(0, len(numbers), 400)]
        answer = self._debugfs(f"icheck {line}" for line in lines) if lines else ""
        found = re.findall(r"^(\d+)\t(\d+)$", answer, re.MULTILINE)
        return {offset: int(inode) for block, inode in found for offset in blocks[int(block)]}

    def free(self) -> Iterator[tuple[int, int]]:
        """The byte ranges of the disk that belong to the file system and to no file in it."""
        listing = command.run(["dumpe2fs", self._device]).stdout
        for ranges in _FREE.findall(listing):
            for text in ranges.split(","):
                first, _, last = text.strip().partition("-")
                start = self.offset + int(first) * self.block_size
                yield start, self.offset + (int(last or first) + 1) * self.block_size


def _is_ext(superblock: bytes) -> bool:
    return len(superblock) == 1024 and superblock[56:58] == _EXT_MAGIC


def _entries(folder: str, listing: str) -> Iterator[Entry]:
    for inode, mode, uid, gid, name, size in _ENTRY.findall(listing):
        if name not in (".", "..") and inode != "0":
            yield Entry(f"{folder}/{name}", int(inode), int(mode, 8), int(uid), int(gid), int(size or 0))


def root(raw: Path) -> Ext4:
    """The root file system of a template's disk: its one ext4.

    Raises:
        BakeFailed: it has none, or several.
    """
    found = []
    with raw.open("rb") as handle:
        for partition in partitions(raw):
            handle.seek(partition.start + _SUPERBLOCK)
            if _is_ext(handle.read(1024)):
                found.append(partition)
    if len(found) != 1:
        raise BakeFailed(f"{raw} has {len(found)} ext4 partitions; a template has one, with everything in it")
    return Ext4(raw, found[0].start)


def zero_free(raw: Path) -> int:
    """Overwrite what deleted files left in the root file system's free blocks; returns how many bytes.

    Secrets of the bake go, and the compressed disk shrinks, without the guest writing or trimming anything.

    Raises:
        BakeFailed: as for `root`; a file system that was not unmounted is left alone.
    """
    system = root(raw)
    zeroes = bytes(_CHUNK)
    written = 0
    with raw.open("r+b", buffering=0) as handle:
        for first, last in system.free():
            for start, end in data_extents(handle.fileno(), first, last):
                for at in range(start, end, _CHUNK):
                    written += os.pwrite(handle.fileno(), zeroes[: min(_CHUNK, end - at)], at)
    return written
