"""A mirror on loopback that has the installer's own components (udebs) which the mirror in use lacks.

Debian's installer loads its components from the mirror it installs from. Not every mirror has them: some carry no udebs
at all, some the index of an older point release. What is missing is made here from what the mirror does have: modules
from the kernel's package, programs from the packages of the same source, both by the archive's own list of which file
belongs to which udeb. Of a release that has aged, the mirror may hold the packages but not every udeb: what can neither
be fetched nor made is the next release's, as far as that runs. Everything else is passed on as it is, with Debian's
signatures. The new index is signed by a key of the test's own, which a copy of the installer trusts beside Debian's.
"""

from __future__ import annotations

import gzip
import hashlib
import lzma
import re
import shutil
import subprocess
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path, PurePath

from later import INDEX, Fields, Later, paragraphs
from upstream import Upstream
from vendor_repository import Key

# What a paragraph says of a file, which is another one now.
_OF_THE_FILE = ("Filename", "Size", "MD5sum", "SHA1", "SHA256", "Description-md5")
# What is loaded in every installation.
_UNASKED = ("required", "standard")
# The installer that is tested shows no windows and does not speak.
WINDOWS = re.compile(r"fonts-|x11-|xserver-|libx|libatk|libatspi|at-spi|libpango|libcairo|libvte|espeak|.*gtk")
# Larger packages that are the same on every machine are fonts and their like, of which no component is made.
_SCRIPTS = 1 << 20
# What the archive's list says in place of a path.
_EMPTY = "EMPTY_PACKAGE"


class Unservable(Exception):
    """The mirror lacks components that every installation loads, and they cannot be made from anything on it."""


@dataclass
class Source:
    """An installer of Debian's.

    Args:
        path: an ISO, or the package of a netboot installer.
        mirror: the spec's line of the mirror to install from; empty for the default.
        asked: what a netboot installer, and the system it installs, have asked the mirror for.
    """

    path: Path
    mirror: str = ""
    asked: list[str] = field(default_factory=list)

    @property
    def release(self) -> str:
        """Codename of what it installs."""
        return "bookworm" if "-12" in self.path.name else "trixie"


@dataclass(frozen=True, slots=True)
class Netboot:
    """What a netboot installer's package says of itself.

    Args:
        kernel: its version, as in ``/lib/modules``.
        held: versions of the udebs that are in its initrd, by name.
    """

    kernel: str
    held: Mapping[str, str]

    @classmethod
    def read(cls, package: Path, folder: Path) -> Netboot:
        """Read it, and unpack its kernel and initrd into `folder`."""
        folder.mkdir(parents=True)
        images = "./usr/lib/debian-installer/images/*/amd64/text/debian-installer/amd64"
        script = (
            'dpkg-deb --fsys-tarfile "$1" | tar -x --wildcards "$2/linux" "$2/initrd.gz"\n'
            "find . -name initrd.gz -exec gzip -d -c {} + | cpio --quiet -i -d --no-absolute-filenames"
            " var/lib/dpkg/status usr/share/keyrings/debian-archive-keyring.gpg"
            " usr/share/keyrings/debian-archive-keyring.pgp"
        )
        subprocess.run(["sh", "-euc", script, "sh", package, images], cwd=folder, check=True)
        held = {one["Package"]: one["Version"] for one in paragraphs((folder / "var/lib/dpkg/status").read_text())}
        (kernel,) = [re.sub(r"^kernel-image-(.*)-di$", r"\1", name) for name in held if name.startswith("kernel-image")]
        return cls(kernel, held)


def trusting(package: Path, folder: Path, key: Key) -> Path:
    """The same installer, which also trusts a key: a package beside `folder`, where `Netboot.read` has unpacked it."""
    keyring = folder / "trust" / "usr" / "share" / "keyrings" / "archive.gpg"
    keyring.parent.mkdir(parents=True)
    key.keyring(folder / "ours.gpg")
    debians = folder / "usr" / "share" / "keyrings" / "debian-archive-keyring.gpg"
    keyring.write_bytes(debians.read_bytes() + (folder / "ours.gpg").read_bytes())
    (initrd,) = folder.rglob("initrd.gz")
    script = 'find . -mindepth 1 | cpio --quiet -o -H newc -R 0:0 | gzip -1 >> "$1"'
    subprocess.run(["sh", "-euc", script, "sh", initrd], cwd=folder / "trust", check=True)
    tree = folder.parent / "trusting"
    shutil.copytree(folder / "usr" / "lib", tree / "usr" / "lib")
    control = subprocess.run(["dpkg-deb", "--field", package], check=True, capture_output=True).stdout
    (tree / "DEBIAN").mkdir()
    (tree / "DEBIAN" / "control").write_bytes(control)
    made = folder.parent / package.name
    argv = ["dpkg-deb", "--root-owner-group", "-Znone", "--build", tree, made]
    subprocess.run(argv, check=True, stdout=subprocess.DEVNULL)
    shutil.rmtree(tree)
    return made


@dataclass(slots=True)
class Overlay:
    """What stands before the mirror, in `folder`, for one release and one installer.

    Args:
        suite: codename of the release.
        upstream: the mirror in use.
        netboot: the installer that is to be served.
        folder: where the files are made.
        key: what signs the index.
        said: one line for each udeb that is not the mirror's own.
    """

    suite: str
    upstream: Upstream
    netboot: Netboot
    folder: Path
    key: Key
    said: list[str] = field(default_factory=list)
    _packages: Mapping[str, Fields] = field(default_factory=dict)
    _lists: Mapping[str, Sequence[str]] = field(default_factory=dict)
    _later: Later = field(init=False)
    _unpacking: threading.Lock = field(default_factory=threading.Lock)

    def make(self) -> None:
        """Make what the mirror lacks, with an index of what there is then; raises `Unservable` when it cannot."""
        base = f"dists/{self.suite}"
        index = [*paragraphs(lzma.decompress(self.upstream.read(f"{base}/{INDEX}")).decode())]
        self._later = Later.than(self.suite, self.upstream.read, self.netboot.held)
        if lacking := self._lacking(index):
            raise Unservable(f"the mirror lacks {', '.join(lacking)}, and no package of it has their files")
        main = lzma.decompress(self.upstream.read(f"{base}/main/binary-amd64/Packages.xz")).decode()
        self._packages = {one["Package"]: one for one in paragraphs(main)}
        self._lists = self._contents(base)
        kernels = [*self._kernel([one for one in index if "Kernel-Version" in one])]
        with ThreadPoolExecutor(6) as pool:
            others = pool.map(self._other, [one for one in index if "Kernel-Version" not in one])
        whole = [*kernels, *(one for one in others if one)]
        text = "\n".join("".join(f"{name}: {value}\n" for name, value in one.items()) for one in whole)
        self._write_index(base, lzma.compress(text.encode(), preset=1))

    def _lacking(self, index: Sequence[Fields]) -> list[str]:
        """Components that are loaded unasked and are scripts, which are in no other package, but nowhere to be had."""
        unasked = [one for one in index if one.get("Priority") in _UNASKED and one["Architecture"] == "all"]
        wanted = [one for one in unasked if one["Package"] not in self.netboot.held]
        with ThreadPoolExecutor(6) as pool:
            there = pool.map(lambda one: self.upstream.has(one["Filename"]) or self._later.take(one["Package"]), wanted)
        return [one["Package"] for one, has in zip(wanted, there, strict=True) if not has]

    def _contents(self, base: str) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        lists = [f"{base}/main/Contents-udeb-{architecture}.gz" for architecture in ("amd64", "all")]
        for data in (self.upstream.read(path) for path in lists if self.upstream.has(path)):
            for line in gzip.decompress(data).decode().splitlines():
                path, _, packages = line.rpartition(" ")
                for package in packages.split(","):
                    found.setdefault(package.rpartition("/")[2], []).append(path.strip())
        return found

    def _kernel(self, known: Sequence[Fields]) -> Iterator[Fields]:
        """The modules of the installer's kernel: the mirror's, or those of its package in the order of a near one."""
        wanted = self.netboot.kernel
        own = [one for one in known if one["Kernel-Version"] == wanted]
        if own and all(self.upstream.has(one["Filename"]) for one in own):
            yield from own
            return
        near = wanted if own else max({one["Kernel-Version"] for one in known}, key=_numbers)
        image = self._packages[f"linux-image-{wanted}"]
        tree = self._unpacked(image)
        for one in known:
            if one["Kernel-Version"] != near:
                continue
            name = one["Package"].replace(near, wanted)
            files = {
                path.replace(near, wanted): place
                for path in self._lists.get(one["Package"], ())
                if (place := _find(tree, path.replace(near, wanted)))
            }
            fields = {key: value.replace(near, wanted) for key, value in one.items()}
            fields |= {"Package": name, "Version": image["Version"]}
            yield self._pack(fields, files, f"modules of {image['Package']}")

    def _other(self, one: Fields) -> Fields | None:
        """A udeb's paragraph: the mirror's own, one made here, the next release's, or none."""
        name = one["Package"]
        if name in self.netboot.held:
            return one | {"Version": self.netboot.held[name]}
        if WINDOWS.match(name) or self.upstream.has(one["Filename"]):
            return one
        files, taken = self._files(one), self._later.take(name)
        if files and None not in files.values() and not self._later.acts(name):
            whole = {path: place for path, place in files.items() if place}
            whole |= self._libraries(one, whole.values())
            return self._pack(one, whole, f"packages of {one.get('Source', name).split()[0]}")
        if taken:
            self.said.append(f"{name}: that of {self._later.suite}, {taken['Version']} for {one['Version']}")
        elif missing := [path for path, place in files.items() if place is None]:
            self.said.append(f"{name}: left out, nothing on the mirror has its {missing[0]}")
        return taken

    def _files(self, one: Fields) -> dict[str, Path | None]:
        """Where the files of a udeb are in the packages of the same source."""
        trees = [self._unpacked(fields) for fields in self._of_the_same(one)]
        listed = self._lists.get(one["Package"], ())
        wanted = [path for path in listed if "/lintian/" not in path and path != _EMPTY]
        return {path: next((place for tree in trees if (place := _find(tree, path))), None) for path in wanted}

    def _of_the_same(self, one: Fields) -> list[Fields]:
        """The packages of a udeb's source."""
        source = one.get("Source", one["Package"]).split()[0]
        return [
            fields
            for fields in self._packages.values()
            if fields.get("Source", fields["Package"]).split()[0] == source
            and (fields["Architecture"] != "all" or int(fields["Size"]) < _SCRIPTS)
        ]

    def _libraries(self, one: Fields, programs: Iterable[Path]) -> dict[str, Path]:
        """What packages' programs need beyond a udeb's, which are built with less: libraries no udeb of its brings."""
        beside = [*self.netboot.held, *_names(one.get("Depends", ""))]
        waiting, found = [*programs], dict[str, Path]()
        known = {PurePath(path).name for name in beside for path in self._lists.get(name, ())}
        known |= {place.name for place in waiting}
        while waiting:
            for name in set(needed(waiting.pop())) - known:
                known.add(name)
                for package in self._needing(self._of_the_same(one)):
                    if place := _find(self._unpacked(package), f"lib/{name}"):
                        found[f"usr/lib/x86_64-linux-gnu/{name}"] = place.resolve()
                        waiting.append(place.resolve())
                        break
        return found

    def _needing(self, packages: Iterable[Fields]) -> Iterator[Fields]:
        """The libraries' packages that packages depend on, nearest first."""
        waiting, seen = [*packages], set[str]()
        while waiting:
            for name in _names(waiting.pop(0).get("Depends", "")):
                if name.startswith("lib") and name in self._packages and name not in seen:
                    seen.add(name)
                    waiting.append(self._packages[name])
                    yield self._packages[name]

    def _unpacked(self, fields: Fields) -> Path:
        place = self.folder / "unpacked" / fields["Package"]
        place.parent.mkdir(parents=True, exist_ok=True)
        with self._unpacking:
            if place.is_dir():
                return place
            file = self.folder / f"{fields['Package']}.deb"
            file.write_bytes(self.upstream.read(fields["Filename"]))
            part = place.with_name(f"{place.name}.part")
            shutil.rmtree(part, ignore_errors=True)
            subprocess.run(["dpkg-deb", "--extract", file, part], check=True)
            file.unlink()
            part.rename(place)
        return place

    def _pack(self, fields: Fields, files: Mapping[str, Path], of: str) -> Fields:
        tree = self.folder / "pack" / fields["Package"]
        (tree / "DEBIAN").mkdir(parents=True)
        for path, place in files.items():
            (tree / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(place, tree / path, follow_symlinks=False)
        kept = {name: value for name, value in fields.items() if name not in _OF_THE_FILE}
        (tree / "DEBIAN/control").write_text("".join(f"{name}: {value}\n" for name, value in kept.items()))
        # No version in it: its colon and its plus mean something in a URL.
        path = f"pool/made/{fields['Package']}.udeb"
        file = self.folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        # What unpacks it is an emulated processor, for which xz is slow.
        argv = ["dpkg-deb", "--root-owner-group", "-Zgzip", "-z1", "--build", tree, file]
        subprocess.run(argv, check=True, stdout=subprocess.DEVNULL)
        shutil.rmtree(tree)
        self.said.append(f"{fields['Package']}: {len(files)} files, made from {of}")
        return kept | {"Filename": path, **_digests(file.read_bytes())}

    def _write_index(self, base: str, data: bytes) -> None:
        place = self.folder / base / INDEX
        place.parent.mkdir(parents=True)
        place.write_bytes(data)
        sums, lines = _digests(data), []
        kind = ""
        # The installer reads Release, apt and debootstrap read InRelease: theirs stays as Debian signed it.
        for line in self.upstream.read(f"{base}/Release").decode().splitlines():
            kind = kind if line.startswith(" ") else line.partition(":")[0]
            if line.endswith(f" {INDEX}") and kind in ("SHA256", "MD5Sum"):
                digest = sums["SHA256" if kind == "SHA256" else "MD5sum"]
                line = f" {digest} {len(data):8d} {INDEX}"
            lines.append(f"{line}\n")
        release = self.folder / base / "Release"
        release.write_text("".join(lines))
        self.key.detach_sign(release)


def _digests(data: bytes) -> Fields:
    md5 = hashlib.md5(data, usedforsecurity=False).hexdigest()
    return {"Size": str(len(data)), "MD5sum": md5, "SHA256": hashlib.sha256(data).hexdigest()}


def _names(needs: str) -> list[str]:
    """The packages of a list of dependencies, of alternatives the first."""
    return [re.split(r"[\s:|]", need, maxsplit=1)[0] for need in needs.split(", ") if need]


def needed(file: Path) -> list[str]:
    """The libraries that a program or a library is linked with; none for a file that is neither."""
    if not file.is_file() or file.read_bytes()[:4] != b"\x7fELF":
        return []
    said = subprocess.run(["objdump", "-p", file], stdout=subprocess.PIPE, text=True, check=True).stdout
    return re.findall(r"^  NEEDED +(\S+)$", said, re.MULTILINE)


def _numbers(version: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", version)]


def _find(tree: Path, path: str) -> Path | None:
    """A file of an unpacked package, whether or not its release has moved it below /usr; libraries by architecture."""
    plain = path.removeprefix("usr/")
    multi = re.sub(r"^lib/([^/]+)$", r"lib/x86_64-linux-gnu/\1", plain)
    places = (tree / below / one for one in dict.fromkeys((plain, multi)) for below in ("", "usr"))
    return next((place for place in places if place.is_file() or place.is_symlink()), None)
