"""Installer components (udebs) of the next release, for an installer whose own are no longer on the mirror."""

from __future__ import annotations

import io
import lzma
import re
import subprocess
import tarfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import PurePath

Fields = dict[str, str]
INDEX = "main/debian-installer/binary-amd64/Packages.xz"
_NEXT = {"bookworm": "trixie"}
_C_LIBRARY = "libc6-udeb"


def paragraphs(text: str) -> Iterator[Fields]:
    """The paragraphs of an index, without the further lines of a field."""
    for paragraph in text.strip().split("\n\n"):
        yield dict(line.split(": ", 1) for line in paragraph.splitlines() if re.match(r"[\w-]+: ", line))


@dataclass(frozen=True, slots=True)
class Later:
    """The components of the release after an installer's own, as far as they run in it: scripts, and what is built
    against symbols that the installer's C library has.

    Args:
        suite: codename of the next release; empty when there is none to take from.
        read: one file of the mirror by its path; raises `OSError` where there is none.
        minor: of the installer's C library, 36 for 2.36.
    """

    suite: str
    read: Callable[[str], bytes]
    minor: int
    _index: Mapping[str, Fields] = field(default_factory=dict)

    @classmethod
    def than(cls, suite: str, read: Callable[[str], bytes], held: Mapping[str, str]) -> Later:
        """That of the release after `suite`, for an initrd that holds these versions of components."""
        name, library = _NEXT.get(suite, ""), re.match(r"2\.(\d+)", held.get(_C_LIBRARY, ""))
        if not name or not library:
            return cls("", read, 0)
        text = lzma.decompress(read(f"dists/{name}/{INDEX}")).decode()
        return cls(name, read, int(library[1]), {one["Package"]: one for one in paragraphs(text)})

    def take(self, name: str) -> Fields | None:
        """Its paragraph, or none: it is not there, or would not run."""
        return self._index[name] if (udeb := self._udeb(name)) and _wants(udeb) <= self.minor else None

    def acts(self, name: str) -> bool:
        """Whether it brings more than files, such as questions and what asks them: files alone do not make it."""
        udeb = self._udeb(name)
        members = _members(udeb, "--ctrl-tarfile") if udeb else ()
        return any(PurePath(member.name).name != "control" for member, _ in members)

    def _udeb(self, name: str) -> bytes | None:
        try:
            return self.read(self._index[name]["Filename"]) if name in self._index else None
        except OSError:
            return None


def _members(udeb: bytes, part: str) -> Iterator[tuple[tarfile.TarInfo, bytes]]:
    """The regular files of a part of a package with their content."""
    files = subprocess.run(["dpkg-deb", part, "/dev/stdin"], input=udeb, stdout=subprocess.PIPE, check=True).stdout
    with tarfile.open(fileobj=io.BytesIO(files)) as archive:
        for member in archive:
            if reader := archive.extractfile(member) if member.isreg() else None:
                yield member, reader.read()


def _wants(udeb: bytes) -> int:
    """The minor version of the C library that a component's programs ask for; 0 for scripts."""
    programs = [data for _, data in _members(udeb, "--fsys-tarfile") if data.startswith(b"\x7fELF")]
    return max((int(minor) for data in programs for minor in re.findall(rb"\0GLIBC_2\.(\d+)", data)), default=0)
