"""Small bootless disks for tests: GPT with a BIOS boot partition, an ESP and one ext4, made without being root."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from pathlib import Path

SECTOR = 512
ESP_START = 4096 * SECTOR
ROOT_START = 24576 * SECTOR
SIZE = 64 << 20
_TABLE = """label: gpt
start=2048, size=2048, type=21686148-6449-6E6F-744E-656564454649
start=4096, size=20480, type=C12A7328-F81F-11D2-BA4B-00A0C93EC93B
start=24576, type=0FC63DAF-8483-4772-8E79-3D69D8477DE4
"""

# A path that ends in a slash is a folder; a text that begins with "-> " is a symbolic link's target.
CLEAN: Mapping[str, str] = {
    "/etc/machine-id": "",
    "/etc/passwd": "root:x:0:0:root:/root:/bin/bash\nwww-data:x:33:33::/var/www:/usr/sbin/nologin\n",
    "/etc/shadow": "root:*:20000:0:99999:7:::\nwww-data:!:20000::::::\n",
    "/etc/group": "root:x:0:\nsudo:x:27:\n",
    "/etc/gshadow": "root:*::\nsudo:*::\n",
    "/etc/subuid": "",
    "/etc/sudoers": "root ALL=(ALL:ALL) ALL\n# %sudo ALL=(ALL) NOPASSWD: ALL\n",
    "/etc/sudoers.d/README": "# how to\n",
    "/etc/resolv.conf": "-> ../run/systemd/resolve/stub-resolv.conf",
    "/etc/apt/sources.list.d/debian.sources": "Types: deb\nURIs: http://mirror.example/debian\n",
    "/root/.bashrc": "# shell\n",
    "/root/.ssh/": "",
    "/home/": "",
    "/tmp/.X11-unix/": "",
    "/var/lib/apt/lists/lock": "",
    "/var/lib/apt/lists/partial/": "",
    "/var/lib/cloud/": "",
    "/var/lib/dbus/machine-id": "-> /etc/machine-id",
    "/var/lib/dpkg/status": "Package: sudo\nStatus: install ok installed\nVersion: 1.9-1\n\n"
    "Package: gone\nStatus: deinstall ok config-files\nVersion: 2\n",
    "/var/lib/dpkg/info/sudo.list": "/.\n/etc\n/etc/sudoers\n/etc/sudoers.d/README\n",
    "/var/log/journal/": "",
    "/var/log/syslog": "",
    "/bin": "-> usr/bin",
    "/usr/bin/true": "ELF",
}


def plant(folder: Path, files: Mapping[str, str]) -> None:
    """Write files, folders and links below a folder that stands for a guest's root."""
    for name, text in files.items():
        path = folder / name.lstrip("/")
        (path if name.endswith("/") else path.parent).mkdir(parents=True, exist_ok=True)
        if text.startswith("-> "):
            path.symlink_to(text.removeprefix("-> "))
        elif not name.endswith("/"):
            path.write_text(text)


def disk(folder: Path, files: Mapping[str, str], name: str = "disk.raw") -> Path:
    """Make a raw disk whose root file system has these files."""
    tree = folder / f"{name}.tree"
    tree.mkdir()
    plant(tree, files)
    raw = folder / name
    with raw.open("xb") as handle:
        handle.truncate(SIZE)
    subprocess.run(["/usr/sbin/sfdisk", "-q", raw], input=_TABLE.encode(), check=True)
    size = (SIZE - ROOT_START - (1 << 20)) // 1024
    mke2fs = ["/usr/sbin/mke2fs", "-q", "-t", "ext4", "-b", "4096", "-L", "root", "-E", f"offset={ROOT_START}", "-d"]
    subprocess.run([*mke2fs, tree, raw, f"{size}k"], check=True)
    return raw


def debugfs(raw: Path, *commands: str, start: int = ROOT_START) -> None:
    """Change the root file system in place, as in ``rm /etc/secret``; `start` is its first byte."""
    text = "".join(f"{command}\n" for command in commands)
    device = f"{raw}?offset={start}"
    subprocess.run(["/usr/sbin/debugfs", "-w", "-f", "-", device], input=text.encode(), check=True, capture_output=True)


def write_at(raw: Path, offset: int, data: bytes) -> None:
    """Put bytes on the disk."""
    with raw.open("r+b") as handle:
        handle.seek(offset)
        handle.write(data)
