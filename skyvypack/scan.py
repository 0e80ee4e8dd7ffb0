"""BAS-7 on the finished disk, read offline: no identity, access, secret or trace of the build is on it.

A build guest cannot be asked whether it is clean: what asks runs in it and leaves traces. So the raw disk is read as
it will be shipped, every file by its path and every byte, deleted data included, by a search.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from skyvypack import disk
from skyvypack.disk import Entry, Ext4
from skyvypack.errors import LeakFound
from skyvypack.scan_rules import PATH_RULES, TEXT_RULES, Spared, inspect, is_read
from skyvypack.spec.model import Spec

_BREAK = rb"(?:\\[nr]|[\s\"'])"
_PEM = re.compile(
    rb"-----BEGIN (?:[A-Z0-9]+ ){0,4}PRIVATE KEY(?: BLOCK)?-----" + _BREAK + rb"+"
    rb"(?:[A-Za-z][A-Za-z-]*: [^\r\n\\]{0,200}" + _BREAK + rb"+){0,6}[A-Za-z0-9+/=]{40}"
)
_PUTTY = re.compile(rb"PuTTY-User-Key-File-\d: .{0,12000}?Private-Lines: \d+\r?\n[A-Za-z0-9+/=]{20}", re.DOTALL)
_KEYS: Mapping[bytes, re.Pattern[bytes]] = {b"PRIVATE KEY": _PEM, b"PuTTY-User-Key-File-": _PUTTY}
_BYTE_CODE = re.compile(r"/__pycache__/([^/]+)\.cpython-\d+(?:\.opt-\d)?\.pyc$")
_BEFORE = 64  # what of a PEM header can stand before the words PRIVATE KEY
_AROUND = 16384


def scan(raw: Path, *, forbidden: Mapping[str, bytes], spec: Spec) -> list[str]:
    """What a finished disk holds that a template must not.

    Args:
        raw: the disk as a raw image with one ext4 partition, cleanly unmounted.
        forbidden: byte strings that may be nowhere on the disk, by what they are; `bake_key` makes those of a key.
        spec: its roles' files are the ones that may grant sudo or lie where else only a build leaves files.

    Returns:
        One line for each path or place, saying where and what; empty for a clean disk.

    Raises:
        BakeFailed: there is no root file system that can be read.
        CommandFailed: the file system is damaged.
    """
    system = disk.root(raw)
    tree = {entry.path: entry for entry in system.walk()}
    placed = {file.path: file.text for file in (*(file for role in spec.roles for file in role.files), *spec.files)}
    job = _Scan(raw, system, tree, _owned(system, tree), placed)
    job.check_paths()
    job.check_texts()
    job.check_bytes(forbidden)
    return [f"BAS-7: {where}: {', '.join(whats)}" for where, whats in sorted(job.found.items())]


def check(raw: Path, *, forbidden: Mapping[str, bytes], spec: Spec) -> None:
    """Raise unless the disk is clean; arguments as for `scan`.

    Raises:
        LeakFound: it is not; the findings say what is where.
    """
    findings = scan(raw, forbidden=forbidden, spec=spec)
    if findings:
        raise LeakFound(findings, "a role's command or package left it there; remove it in the role")


def bake_key(private: Path) -> dict[str, bytes]:
    """The byte strings that betray a key pair, for `scan`'s `forbidden`.

    Args:
        private: an OpenSSH private key's file, with its ``.pub`` beside it.
    """
    # The last but one line is the one with secret bytes; the first ones are alike in all keys of a type.
    body = private.read_bytes().split(b"-----")[2].split()
    public = private.with_suffix(".pub").read_bytes().split()[1]
    return {"the bake's private key": body[-2], "the bake's public key": public}


def _owned(system: Ext4, tree: Mapping[str, Entry]) -> frozenset[str]:
    """The paths that packages own, as they are on a merged /usr."""
    lists = (entry for path, entry in tree.items() if re.fullmatch(r"/var/lib/dpkg/info/[^/]+\.list", path))
    merged = tuple(f"{path}/" for path, entry in tree.items() if path.count("/") == 1 and not entry.is_folder)
    lines = (line for text in system.read(lists).values() for line in text.decode(errors="replace").splitlines())
    return frozenset(f"/usr{line}" if line.startswith(merged) else line for line in lines)


@dataclass(slots=True)
class _Scan:
    """One disk under scrutiny; `found` has what is wrong by where it is."""

    raw: Path
    system: Ext4
    tree: Mapping[str, Entry]
    owned: Collection[str]
    placed: Mapping[str, str]
    found: dict[str, list[str]] = field(default_factory=dict)

    def add(self, where: str, what: str) -> None:
        """Note a finding, once."""
        whats = self.found.setdefault(where, [])
        if what not in whats:
            whats.append(what)

    def spared(self, path: str, spared: Spared) -> bool:
        """True when the rule lets packages' or roles' files be, and this is one."""
        by_role = spared == "packages and roles" and path in self.placed
        return by_role or (spared != "nothing" and path in self.owned)

    def check_paths(self) -> None:
        """What is wrong by where it lies: the first rule that matches a path decides."""
        for path, entry in self.tree.items():
            # An empty file says nothing; a folder's bare name can (an instance id, a machine id).
            if not entry.is_folder and not (entry.is_file and entry.size):
                continue
            name = f"{path}/" if entry.is_folder else path
            for rule in PATH_RULES:
                match = rule.pattern.fullmatch(name)
                if match and not self.spared(path, rule.spared):
                    self.add(_reported(match), rule.what)
                    break

    def check_texts(self) -> None:
        """What is wrong by what it says."""
        wanted = [entry for path, entry in self.tree.items() if is_read(path)]
        for path, data in self.system.read(wanted).items():
            text = data.decode(errors="replace")
            for rule in TEXT_RULES:
                if rule.path.fullmatch(path) and rule.text.search(text) and not self.spared(path, rule.spared):
                    self.add(path, rule.what)
            for what in inspect(path, text, self.placed.get(path, "")):
                self.add(path, what)
        if "/etc/machine-id" not in self.tree:
            # systemd takes a missing one for a first boot and applies its presets over what roles disabled.
            self.add("/etc/machine-id", "missing; it must be there and empty")

    def check_bytes(self, forbidden: Mapping[str, bytes]) -> None:
        """What is wrong anywhere on the disk: forbidden bytes, and private keys outside of packages."""
        labels = {needle: label for label, needle in forbidden.items()}
        hits: dict[int, str] = {}
        with self.raw.open("rb", buffering=0) as handle:
            for needle, offset in disk.search(self.raw, [*labels, *_KEYS]):
                if needle in labels:
                    hits[offset] = labels[needle]
                elif _is_key(handle.fileno(), offset, _KEYS[needle]):
                    hits[offset] = "private key"
        owners = self.system.owners(offset for offset in hits if self.system.covers(offset))
        paths: dict[int, str] = {}
        for path, entry in self.tree.items():
            paths.setdefault(entry.inode, path)
        for offset, what in hits.items():
            where = self.place(offset, owners.get(offset), paths)
            # Packages ship keys for their tests; one that a package keeps in /etc would be a key in use.
            if what != "private key" or not (where.startswith("/usr/") and _source(where) in self.owned):
                self.add(where, what)

    def place(self, offset: int, inode: int | None, paths: Mapping[int, str]) -> str:
        """Where on the disk a byte is: a path, or what else is known."""
        if inode is not None:
            return paths.get(inode, f"file without a name (inode {inode})")
        if self.system.covers(offset):
            return f"deleted data at byte {offset}"
        for partition in disk.partitions(self.raw):
            if partition.start <= offset < partition.start + partition.size:
                return f"partition {partition.number} at byte {offset}"
        return f"outside of all partitions at byte {offset}"


def _reported(match: re.Match[str]) -> str:
    """The path a rule reports: the folder in its first group, so that a whole tree is one finding, or the file."""
    group = match[1] if match.re.groups else None
    return group or match[0]


def _source(path: str) -> str:
    """The Python file that byte code was made from, which no package owns; any other path as it is."""
    return _BYTE_CODE.sub(r"/\1.py", path)


def _is_key(descriptor: int, offset: int, pattern: re.Pattern[bytes]) -> bool:
    """True when the words at this offset head a real key, not a program's text or a document."""
    start = max(0, offset - _BEFORE)
    match = pattern.search(os.pread(descriptor, _AROUND, start))
    return bool(match and start + match.start() <= offset < start + match.end())
