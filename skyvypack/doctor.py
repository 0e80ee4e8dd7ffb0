"""What this machine has, what a local bake misses, and the exact command that mends it."""

from __future__ import annotations

import getpass
import os
import platform
import re
import shlex
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from skyvypack import command
from skyvypack.command import Line
from skyvypack.errors import CommandFailed, SkyvypackError, ToolMissing
from skyvypack.machine import find_ovmf
from skyvypack.runs import cache_folder

Severity = Literal["needed", "useful"]

_GIB = 1024**3
_DISK = 6 * _GIB  # the unpacked tree, the raw disk's used blocks and the qcow2 stand side by side for a while
_MEMORY = 3 * _GIB  # a guest of 2 GiB, QEMU, Packer and us
_KEYRINGS = ("/usr/share/keyrings/debian-archive-keyring.gpg", "/usr/share/keyrings/debian-archive-keyring.pgp")


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing a bake needs or profits from.

    Args:
        name: of the program, file or resource.
        purpose: what it is for.
        found: the version or amount found; empty when it is missing.
        ok: whether it will do.
        severity: ``needed`` when a bake cannot do without it, else ``useful``.
        package: Debian's package that brings it; empty when none does.
        fix: the command that mends it here; empty when we know none.
    """

    name: str
    purpose: str
    found: str
    ok: bool
    severity: Severity = "needed"
    package: str = ""
    fix: str = ""


@dataclass(frozen=True, slots=True)
class _Tool:
    name: str
    package: str
    purpose: str
    version: tuple[str, ...] = ()
    minimum: tuple[int, ...] = ()


_TOOLS = (
    _Tool("packer", "packer", "runs the bake", ("version",), (1, 6)),
    _Tool("qemu-system-x86_64", "qemu-system-x86", "the virtual machine", ("--version",)),
    _Tool("qemu-img", "qemu-utils", "disk formats", ("--version",)),
    _Tool("mmdebstrap", "mmdebstrap", "the layer (base: bootstrap)", ("--version",), (1, 3)),
    _Tool("xorriso", "xorriso", "the seed that carries user-data", ("-version",)),
    _Tool("mke2fs", "e2fsprogs", "the root file system", ("-V",)),
    _Tool("debugfs", "e2fsprogs", "reads the finished disk for leaks", ("-V",)),
    _Tool("mkfs.vfat", "dosfstools", "the EFI system partition"),
    _Tool("sfdisk", "fdisk", "the partition table", ("--version",)),
    _Tool("cpio", "cpio", "an installer of our own (base: iso, and the verb iso)", ("--version",)),
    _Tool("ssh", "openssh-client", "talks to the booted clone", ("-V",)),
    _Tool("ssh-keygen", "openssh-client", "the key of one bake"),
)
# On a host without apt a bake starts from Debian's published image (base: cloud-image), so these two are no must.
_BOOTSTRAP_ONLY = ("mmdebstrap", "debian-archive-keyring")
_INSTALLER_ONLY = ("cpio",)


def examine() -> list[Finding]:
    """Look at this machine; starts only ``--version`` of the programs found.

    Returns:
        one finding for each thing looked at, in a fixed order.
    """
    findings = [_tool(tool) for tool in _TOOLS]
    findings += [_firmware(), _keyring(), *(_user_namespace() if os.geteuid() else [])]
    return [*findings, _python(), _disk(), _memory(), _kvm()]


def missing(findings: Iterable[Finding]) -> list[Finding]:
    """Those findings without which a bake cannot run."""
    return [finding for finding in findings if not finding.ok and finding.severity == "needed"]


def fix(findings: Iterable[Finding], on_line: Line | None = None) -> list[str]:
    """Run the commands that mend what is `missing`; packages are installed by one apt-get.

    Args:
        findings: from `examine`; what is only useful, and what we know no command for, is left to the user.
        on_line: called with each line the commands print.

    Returns:
        the commands that were run.

    Raises:
        SkyvypackError: a command could not be run or failed; the hint has the line to run by hand.
    """
    wanted = [finding for finding in missing(findings) if finding.fix]
    packages = sorted({finding.package for finding in wanted if finding.package})
    commands = [["apt-get", "update"], _install(packages)] if packages else []
    commands += [shlex.split(finding.fix) for finding in wanted if not finding.package]
    by_hand = " && ".join(shlex.join(_as_root(argv)) for argv in commands)
    for argv in commands:
        try:
            command.run(_as_root(argv, ask=False), env={"DEBIAN_FRONTEND": "noninteractive"}, on_line=on_line)
        except CommandFailed as error:
            raise SkyvypackError(f"cannot mend this machine: {error.message}", f"run by hand: {by_hand}") from error
    return [shlex.join(_as_root(argv)) for argv in commands]


def _has_apt() -> bool:
    return command.which("apt-get") is not None


def _install(packages: Sequence[str]) -> list[str]:
    return ["apt-get", "install", "--yes", "--no-install-recommends", *packages]


def _as_root(argv: Sequence[str], *, ask: bool = True) -> list[str]:
    """The command as root; our programs have no terminal, so sudo must not `ask` when we run it."""
    if os.geteuid() == 0 or argv[0] == "sudo":
        return list(argv)
    return ["sudo", *([] if ask else ["--non-interactive"]), *argv]


def _package_fix(package: str) -> str:
    return shlex.join(_as_root(_install([package]))) if _has_apt() else ""


def _severity(name: str) -> Severity:
    return "useful" if name in _INSTALLER_ONLY or (name in _BOOTSTRAP_ONLY and not _has_apt()) else "needed"


def _tool(tool: _Tool) -> Finding:
    severity = _severity(tool.name)
    path = command.which(tool.name)
    if path is None:
        return Finding(tool.name, tool.purpose, "", False, severity, tool.package, _package_fix(tool.package))
    found = _version([tool.name, *tool.version]) if tool.version else str(path)
    ok = not tool.minimum or _numbers(found) >= tool.minimum
    purpose = tool.purpose if ok else f"{tool.purpose}; needs {'.'.join(map(str, tool.minimum))} or newer"
    return Finding(tool.name, purpose, found, ok, severity, tool.package, "" if ok else _package_fix(tool.package))


def _version(argv: Sequence[str]) -> str:
    """The first version number a program prints, or what it says instead."""
    try:
        done = command.run(argv, check=False, timeout=20, env={"CHECKPOINT_DISABLE": "1"})
    except CommandFailed:
        return "does not answer"
    text = f"{done.stdout}\n{done.stderr}"
    match = re.search(r"\d+(\.\d+)+", text)
    return match.group() if match else "unknown version"


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", version))


def _firmware() -> Finding:
    try:
        found = str(find_ovmf()[0])
    except ToolMissing:
        found = ""
    return _file("OVMF", "boots clones by UEFI", found, "ovmf")


def _keyring() -> Finding:
    found = next((path for path in _KEYRINGS if Path(path).is_file()), "")
    return _file("debian-archive-keyring", "checks Debian's signatures", found, "debian-archive-keyring")


def _file(name: str, purpose: str, found: str, package: str) -> Finding:
    severity = _severity(name)
    return Finding(name, purpose, found, bool(found), severity, package, "" if found else _package_fix(package))


def _user_namespace() -> list[Finding]:
    """What mmdebstrap needs to work without root."""
    found = str(command.which("newuidmap") or "")
    purpose = "the layer without root"
    tool = _file("newuidmap", purpose, found, "uidmap")
    user = getpass.getuser()
    ranges = [_subordinate(Path(file), user) for file in ("/etc/subuid", "/etc/subgid")]
    ok = all(ranges)
    ids = ["--add-subuids", "100000-165535", "--add-subgids", "100000-165535"]
    mend = "" if ok else shlex.join(_as_root(["usermod", *ids, user]))
    return [tool, Finding("/etc/subuid, /etc/subgid", f"{purpose}: ids for {user}", ranges[0], ok, "needed", "", mend)]


def _subordinate(file: Path, user: str) -> str:
    lines = file.read_text().splitlines() if file.is_file() else []
    return next((line for line in lines if line.split(":")[0] in (user, str(os.getuid()))), "")


def _python() -> Finding:
    return Finding("Python", "runs skyvypack", platform.python_version(), True)


def _disk() -> Finding:
    folder = cache_folder()
    there = next(parent for parent in (folder, *folder.parents) if parent.is_dir())
    free = shutil.disk_usage(there).free
    purpose = f"free space in {folder}; a cold bake needs about {_DISK / _GIB:.0f} GiB"
    return Finding("disk", purpose, f"{free / _GIB:.1f} GiB", free >= _DISK)


def _memory() -> Finding:
    match = re.search(r"^MemAvailable:\s+(\d+) kB", Path("/proc/meminfo").read_text(), re.MULTILINE)
    free = int(match.group(1)) * 1024 if match else 0
    purpose = f"available memory; a guest of 2 GiB wants about {_MEMORY / _GIB:.0f} GiB"
    return Finding("memory", purpose, f"{free / _GIB:.1f} GiB", free >= _MEMORY, "useful")


def _kvm() -> Finding:
    """Only whether it can be opened: it may still hang every guest, which the probe at bake finds out."""
    device = Path("/dev/kvm")
    purpose = "speed; whether it really works is probed at bake, and without it QEMU emulates"
    if not device.exists():
        return Finding("KVM", purpose, "", False, "useful")
    if os.access(device, os.R_OK | os.W_OK):
        return Finding("KVM", purpose, str(device), True, "useful")
    mend = shlex.join(_as_root(["adduser", getpass.getuser(), "kvm"])) if device.group() == "kvm" else ""
    return Finding("KVM", f"{purpose} (log in again after mending)", "no permission", False, "useful", "", mend)
