"""`skyvypack iso` as a user runs it: a machine starts from that disc, installs itself, restarts and answers to SSH."""

from __future__ import annotations

import hashlib
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
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


def made(folder: Path, source: Source, *options: str) -> Path:
    """The ISO that the verb makes from a spec which names the disk, and the key of its user beside it."""
    _, public = seed.keypair(folder)
    (folder / "web.yaml").write_text(
        f"name: web\nversion: 1.0.0\ndebian: {source.release}\nroles: [base, ssh, network]\nmachine: {{disk: 8}}\n"
        f"users: [{{name: admin, sudo: true, ssh_authorized_keys: ['{public}']}}]\n{source.mirror}"
        "installer: {disks: [/dev/vda], hostname: web1.example.org}\n"
    )
    digest = hashlib.sha256(source.path.read_bytes()).hexdigest()
    argv = [sys.executable, "-m", "skyvypack", "iso", "--spec", folder / "web.yaml", "--from", source.path]
    command.run([*argv, "-o", folder / "web.iso", "--checksum", f"sha256:{digest}", *options])
    return folder / "web.iso"


@contextmanager
def machine(image: Path, accelerator: Accelerator, *, uefi: bool, online: bool) -> Iterator[Link]:
    """A machine with a disc, an empty disk and one that is none of its business, for as long as the block is open.

    Raises:
        AssertionError: in a wait of the link, when the machine ended, installed nothing, or took too long.
    """
    folder = image.parent
    console = folder / "console.log"
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    argv = [QEMU, "-machine", "q35", *accelerator.qemu_args, "-smp", "2", "-m", "2048", "-display", "none"]
    argv += ["-serial", f"file:{console}", "-cdrom", str(image), *(firmware(folder) if uefi else ())]
    for name, size in (("disk", "8G"), ("other", "64M")):
        command.run(["qemu-img", "create", "-q", "-f", "raw", folder / f"{name}.raw", size])
        argv += ["-drive", f"file={folder / name}.raw,format=raw,if=virtio,cache=unsafe"]
    network = "" if online else ",restrict=on"
    argv += ["-nic", f"user,model=virtio-net-pci,hostfwd=tcp:127.0.0.1:{port}-:22{network}"]
    with subprocess.Popen(argv) as qemu:
        try:
            access = Access("admin", folder / "id_ed25519")
            link = Link("web", folder, access, accelerator.scale, checked(qemu, console))
            link.aim("127.0.0.1", port)
            yield link
        finally:
            qemu.send_signal(signal.SIGTERM)


def checked(qemu: subprocess.Popen[bytes], console: Path) -> Callable[[float, str], None]:
    """What each look of a wait asks: whether the machine still can get there."""

    def check(deadline: float, complaint: str) -> None:
        time.sleep(1)
        said = console.read_text(errors="replace") if console.exists() else ""
        assert qemu.poll() is None, f"the machine is off: {said[-2000:]}"
        assert "skyvypack: error" not in said, said[-4000:]
        assert time.monotonic() < deadline, f"{complaint}: {said[-2000:]}"

    return check


def installed(image: Path, folder: Path, *, uefi: bool, online: bool) -> list[str]:
    """Start the disc, wait until the machine has restarted as what the spec says, and give its facts."""
    accelerator = choose(None, cache=folder)
    began = time.monotonic()
    deadline = began + MINUTES * 60 * accelerator.scale
    with machine(image, accelerator, uefi=uefi, online=online) as link:
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
            return [state, *link.run(FACTS).stdout.split()]
        finally:
            link.close()


@pytest.mark.parametrize("kind", ["bios", "uefi"])
def test_installs_itself(tmp_path: Path, source: Source, kind: str) -> None:
    """From the disc to the restarted machine nothing is asked, and no disk is touched that the spec does not name."""
    facts = installed(made(tmp_path, source), tmp_path, uefi=kind == "uefi", online=True)
    assert facts[:7] == ["running", "web1", "/dev/vda3", "ext4", kind, "installed", source.release]
    (main,) = {line for line in source.mirror.split("'") if line.endswith("/debian")}
    assert facts[7:] == [main, f"{main}-security"]
    assert not (tmp_path / "other.raw").read_bytes().strip(b"\0")


def test_installs_itself_offline(tmp_path: Path, disc: Source) -> None:
    """A disc with every package on it needs nothing else: no packet leaves the machine, and UEFI finds the system."""
    # Said in the spec, so that what the machine is left with is known.
    main, security = in_use(disc.release)
    disc.mirror = f"mirror: {{main: '{main}', security: '{security}'}}\n"
    facts = installed(made(tmp_path, disc, "--offline"), tmp_path, uefi=True, online=False)
    assert facts[:7] == ["running", "web1", "/dev/vda3", "ext4", "uefi", "installed", disc.release]
    assert facts[7:] == [main, security]
