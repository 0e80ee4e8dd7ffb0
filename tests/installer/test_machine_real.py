"""`skyvypack iso` as a user runs it: a machine starts from that disc, installs itself, restarts and answers to SSH."""

from __future__ import annotations

import hashlib
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
from mirror import Source
from test_layouts_real import firmware
from upstream import in_use

from skyvypack import command, seed
from skyvypack.accelerator import QEMU, Accelerator, choose
from skyvypack.link import Access, Link

pytestmark = pytest.mark.boot

MINUTES = 15.0
# After the restart that ends its configuration: what cloud-init does once is older than this boot.
CONFIGURED = """
done=$(sudo stat -c %Y /var/lib/cloud/instances/*/sem/config_*power_state_change* 2> /dev/null) || exit 1
[ "$done" -lt $(($(date +%s) - $(cut -d . -f 1 /proc/uptime))) ] || exit 1
systemctl is-system-running --wait
"""
FACTS = """
hostname
findmnt --noheadings --output SOURCE,FSTYPE /
[ -d /sys/firmware/efi ] && echo uefi || echo bios
dpkg-query --show --showformat '${db:Status-Status}\\n' linux-image-amd64
. /etc/os-release; echo "$VERSION_CODENAME"
sed -n 's/^URIs: //p' /etc/apt/sources.list.d/*.sources
"""


def made(folder: Path, source: Source, *options: str, disks: str = "disks: [/dev/vda]") -> Path:
    """The ISO that the verb makes from a spec which names the disks, and the key of its user beside it."""
    _, public = seed.keypair(folder)
    (folder / "web.yaml").write_text(
        f"name: web\nversion: 1.0.0\ndebian: {source.release}\nroles: [base, ssh, network]\nmachine: {{disk: 8}}\n"
        f"users: [{{name: admin, sudo: true, ssh_authorized_keys: ['{public}']}}]\n{source.mirror}"
        f"installer: {{{disks}, hostname: web1.example.org}}\n"
    )
    argv = [sys.executable, "-m", "skyvypack", "iso", "--spec", folder / "web.yaml", "--from", source.path]
    command.run([*argv, "-o", folder / "web.iso", "--checksum", f"sha256:{digest(source.path)}", *options])
    return folder / "web.iso"


def hardware(
    folder: Path, accelerator: Accelerator, disks: Sequence[Path], image: Path | None, *, uefi: bool = False
) -> list[str]:
    """QEMU's command for a machine without a network.

    Args:
        folder: where its firmware's variables and what its console says go.
        accelerator: of its processors.
        disks: raw images.
        image: what is in its drive.
        uefi: it boots by UEFI.
    """
    argv = [QEMU, "-machine", "q35", *accelerator.qemu_args, "-smp", "2", "-m", "2048", "-display", "none"]
    argv += ["-chardev", f"file,id=console,path={folder}/console.log,append=on", "-serial", "chardev:console"]
    argv += firmware(folder) if uefi else []
    argv += ["-cdrom", str(image)] if image else []
    for path in disks:
        argv += ["-drive", f"file={path},format=raw,if=virtio,cache=unsafe"]
    return argv


@contextmanager
def machine(argv: Sequence[str], accelerator: Accelerator, folder: Path, *, online: bool = True) -> Iterator[Link]:
    """A machine for as long as the block is open.

    Args:
        argv: its `hardware`.
        accelerator: of its processors.
        folder: with its user's key.
        online: it reaches what is outside.

    Raises:
        AssertionError: in a wait of the link, when the machine ended, installed nothing, or took too long.
    """
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    network = "" if online else ",restrict=on"
    nic = f"user,model=virtio-net-pci,hostfwd=tcp:127.0.0.1:{port}-:22{network}"
    with subprocess.Popen([*argv, "-nic", nic]) as qemu:
        try:
            access = Access("admin", folder / "id_ed25519")
            link = Link("web", folder, access, accelerator.scale, checked(qemu, folder / "console.log"))
            link.aim("127.0.0.1", port)
            yield link
        finally:
            qemu.send_signal(signal.SIGTERM)


def empty(folder: Path, **sizes: str) -> list[Path]:
    """New disks by name, with nothing on them."""
    for name, size in sizes.items():
        command.run(["qemu-img", "create", "-q", "-f", "raw", folder / f"{name}.raw", size])
    return [folder / f"{name}.raw" for name in sizes]


def checked(qemu: subprocess.Popen[bytes], console: Path) -> Callable[[float, str], None]:
    """What each look of a wait asks: whether the machine still can get there."""

    def check(deadline: float, complaint: str) -> None:
        time.sleep(1)
        said = console.read_text(errors="replace") if console.exists() else ""
        assert qemu.poll() is None, f"the machine is off: {said[-2000:]}"
        assert "skyvypack: error" not in said, said[-4000:]
        assert time.monotonic() < deadline, f"{complaint}: {said[-2000:]}"

    return check


def installed(image: Path, disks: Sequence[Path], *, uefi: bool, online: bool) -> list[str]:
    """Start the disc, wait until the machine has restarted as what the spec says, and give its facts."""
    folder = image.parent
    accelerator = choose(None, cache=folder)
    began = time.monotonic()
    deadline = began + MINUTES * 60 * accelerator.scale
    argv = hardware(folder, accelerator, disks, image, uefi=uefi)
    with machine(argv, accelerator, folder, online=online) as link:
        try:
            while True:
                for _ in link.connecting(deadline):
                    pass
                sys.stderr.write(f"it answers after {time.monotonic() - began:.0f} s\n")
                state = link.run(CONFIGURED, timeout=120.0, check=False).stdout.strip()
                if state:
                    break
                time.sleep(5)
            sys.stderr.write(f"it is ready after {time.monotonic() - began:.0f} s\n")
            facts = [state, *link.run(FACTS).stdout.split()]
            link.run("sync")
            return facts
        finally:
            link.close()


@pytest.mark.parametrize("kind", ["bios", "uefi"])
def test_installs_itself(tmp_path: Path, source: Source, kind: str) -> None:
    """From the disc to the restarted machine nothing is asked, and no disk is touched that the spec does not name."""
    disks = empty(tmp_path, disk="8G", other="64M")
    facts = installed(made(tmp_path, source), disks, uefi=kind == "uefi", online=True)
    assert facts[:7] == ["running", "web1", "/dev/vda3", "ext4", kind, "installed", source.release]
    (main,) = {line for line in source.mirror.split("'") if line.endswith("/debian")}
    assert facts[7:] == [main, f"{main}-security"]
    assert not disks[1].read_bytes().strip(b"\0")
    if kind == "bios":
        before = digest(disks[0])
        assert "error: /dev/vda was installed by this medium already" in started_again(tmp_path / "web.iso", disks)
        assert digest(disks[0]) == before


def digest(path: Path) -> str:
    """SHA-256 of a file, gigabytes of it perhaps."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def started_again(image: Path, disks: Sequence[Path]) -> str:
    """What the console says when the firmware prefers the disc, until the machine switches itself off."""
    accelerator = choose(None, cache=image.parent)
    argv = [*hardware(image.parent, accelerator, disks, image), "-boot", "order=d", "-nic", "user,model=virtio-net-pci"]
    subprocess.run(argv, check=True, timeout=MINUTES * 60 * accelerator.scale)
    return (image.parent / "console.log").read_text(errors="replace")


@pytest.mark.parametrize(("layout", "count", "root"), [("lvm", 1, "/dev/mapper/skyvyos-root"), ("raid1", 2, "/dev/md")])
def test_starts_from_any_disk_by_any_firmware(
    tmp_path: Path, source: Source, layout: str, count: int, root: str
) -> None:
    """What was installed under BIOS starts under UEFI too, and from the last of its disks alone."""
    disks = empty(tmp_path, **{f"disk{number}": "8G" for number in range(count)})
    names = ", ".join(f"/dev/vd{letter}" for letter in "ab"[:count])
    image = made(tmp_path, source, disks=f"disks: [{names}], layout: {layout}")
    state, host, mounted, kind, booted, *_ = installed(image, disks, uefi=False, online=True)
    assert (state, host, kind, booted) == ("running", "web1", "ext4", "bios")
    assert mounted.startswith(root)
    accelerator = choose(None, cache=tmp_path)
    alone = hardware(tmp_path, accelerator, disks[-1:], None, uefi=True)
    with machine(alone, accelerator, tmp_path) as link:
        for _ in link.connecting(time.monotonic() + MINUTES * 60 * accelerator.scale):
            pass
        _, again, _, booted, *_ = link.run(FACTS).stdout.split()
        link.close()
    assert (again, booted) == (mounted, "uefi")


def test_installs_itself_offline(tmp_path: Path, disc: Source) -> None:
    """A disc with every package on it needs nothing else: no packet leaves the machine, and UEFI finds the system."""
    # Said in the spec, so that what the machine is left with is known.
    main, security = in_use(disc.release)
    disc.mirror = f"mirror: {{main: '{main}', security: '{security}'}}\n"
    image = made(tmp_path, disc, "--offline")
    facts = installed(image, empty(tmp_path, disk="8G", other="64M"), uefi=True, online=False)
    assert facts[:7] == ["running", "web1", "/dev/vda3", "ext4", "uefi", "installed", disc.release]
    assert facts[7:] == [main, security]
