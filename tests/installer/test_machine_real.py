"""`skyvypack iso` as a user runs it: a machine starts from that disc, installs itself, restarts and answers to SSH."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
from hardware import BIOS_BOOT, EFI_SYSTEM, Hardware, content, empty
from mirror import Source
from upstream import in_use

from skyvypack import command, seed
from skyvypack.accelerator import choose
from skyvypack.disk import sha256

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
PASSPHRASE = "correct horse battery"
UNLOCK = ("Please unlock disk", PASSPHRASE)


@dataclass(frozen=True)
class Layout:
    """A layout, and how it shows.

    Args:
        wish: in the spec's `installer`.
        count: of disks.
        root: what the root file system is mounted from begins so.
        held: type of the last partition's content, as blkid names it.
        uefi: it is installed under UEFI, and started by BIOS afterwards; else the other way round.
        asked: at the installer's console, and what is answered.
        started: as `asked`, at every start.
    """

    wish: str
    count: int
    root: str
    held: str
    uefi: bool = False
    asked: tuple[tuple[str, str], ...] = ()
    started: tuple[tuple[str, str], ...] = ()


# The first one's last line, "Encryption passphrase:", is below what a console of 25 lines shows.
ENCRYPTION = (("You need to choose a passphrase", PASSPHRASE), ("Re-enter passphrase to verify:", PASSPHRASE))
LAYOUTS = {
    "lvm": Layout("layout: lvm, swap: 512", 1, "/dev/mapper/skyvyos-root", "LVM2_member"),
    "raid1": Layout("layout: raid1", 2, "/dev/md", "linux_raid_member"),
    "luks": Layout("encrypt: true", 1, "/dev/mapper/skyvyos-root", "crypto_LUKS", True, ENCRYPTION, (UNLOCK,)),
}


def made(folder: Path, source: Source, *options: str, disks: str = "disks: [/dev/vda]") -> Path:
    """The ISO that the verb makes from a spec which names the disks, and the key of its user beside it."""
    _, public = seed.keypair(folder)
    (folder / "web.yaml").write_text(
        f"name: web\nversion: 1.0.0\ndebian: {source.release}\nroles: [base, ssh, network]\nmachine: {{disk: 8}}\n"
        f"users: [{{name: admin, sudo: true, ssh_authorized_keys: ['{public}']}}]\n{source.mirror}"
        f"installer: {{{disks}, hostname: web1.example.org}}\n"
    )
    argv = [sys.executable, "-m", "skyvypack", "iso", "--spec", folder / "web.yaml", "--from", source.path]
    command.run([*argv, "-o", folder / "web.iso", "--checksum", f"sha256:{sha256(source.path)}", *options])
    return folder / "web.iso"


def patience(hardware: Hardware) -> float:
    """Seconds that a machine gets."""
    return MINUTES * 60 * hardware.accelerator.scale


def installed(hardware: Hardware, *answers: tuple[str, str], online: bool = True) -> list[str]:
    """Start the disc, wait until the machine has restarted as what the spec says, and give its facts."""
    began = time.monotonic()
    with hardware.on(*answers, online=online) as link:
        while True:
            for _ in link.connecting(began + patience(hardware)):
                pass
            sys.stderr.write(f"it answers after {time.monotonic() - began:.0f} s\n")
            state = link.run(CONFIGURED, timeout=120.0, check=False).stdout.strip()
            if state:
                break
            time.sleep(5)
        sys.stderr.write(f"it is ready after {time.monotonic() - began:.0f} s\n")
        return [state, *link.run(FACTS).stdout.split()]


@pytest.mark.parametrize("kind", ["bios", "uefi"])
def test_installs_itself(tmp_path: Path, source: Source, kind: str) -> None:
    """From the disc to the restarted machine nothing is asked, and no disk is touched that the spec does not name.

    Where the firmware prefers the disc, it starts again: then nothing happens to what it has installed.
    """
    disk, other = empty(tmp_path, disk="8G", other="64M")
    hardware = Hardware(tmp_path, choose(None, cache=tmp_path), (disk, other), made(tmp_path, source), kind == "uefi")
    facts = installed(hardware)
    assert facts[:7] == ["running", "web1", "/dev/vda3", "ext4", kind, "installed", source.release]
    (main,) = {line for line in source.mirror.split("'") if line.endswith("/debian")}
    assert facts[7:] == [main, f"{main}-security"]
    assert not other.read_bytes().strip(b"\0")
    if kind == "bios":
        before = sha256(disk)
        assert "error: /dev/vda was installed by this medium already" in hardware.disc_first(patience(hardware))
        assert sha256(disk) == before


def test_asks_before_it_wipes(tmp_path: Path, source: Source) -> None:
    """Which disk, when the spec names none and there are two; and whether at all: until then nothing is written."""
    disks = empty(tmp_path, disk="8G", other="8G")
    hardware = Hardware(tmp_path, choose(None, cache=tmp_path), disks, made(tmp_path, source, disks="layout: plain"))
    hardware.asks("Write the changes to disks?", patience(hardware), ("Disk to install SkyvyOS to:", ""))
    for disk in disks:
        assert command.run(["cmp", "-n", str(8 << 30), disk, "/dev/zero"], check=False).returncode == 0


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_starts_by_either_firmware_from_any_disk(tmp_path: Path, source: Source, layout: Layout) -> None:
    """Of each layout: what was installed under one firmware starts by the other, and from the last disk alone.

    Whoever has a passphrase to type does so at the serial line first, and then at the screen's keyboard.
    """
    disks = empty(tmp_path, **{f"disk{number}": "8G" for number in range(layout.count)})
    names = ", ".join(f"/dev/vd{letter}" for letter in "ab"[: layout.count])
    image = made(tmp_path, source, disks=f"disks: [{names}], {layout.wish}")
    accelerator = choose(None, cache=tmp_path)
    hardware = Hardware(tmp_path, accelerator, disks, image, layout.uefi)
    # It starts twice, as its configuration ends with a restart.
    state, host, root, kind, booted, *_ = installed(hardware, *layout.asked, *layout.started, *layout.started)
    assert (state, host, kind, booted) == ("running", "web1", "ext4", "uefi" if layout.uefi else "bios")
    assert root.startswith(layout.root)
    for disk in disks:
        kinds, formats = zip(*(found := content(disk)), strict=True)
        assert BIOS_BOOT in kinds
        assert (EFI_SYSTEM, "vfat") in found
        assert layout.held in formats
        assert ("ext4" in formats) == (layout.count == 1), "/boot of its own"
    other = Hardware(tmp_path, accelerator, disks[-1:], uefi=not layout.uefi, screen=True)
    with other.on(*layout.started) as link:
        for _ in link.connecting(time.monotonic() + patience(other)):
            pass
        _, again, _, booted, *_ = link.run(FACTS).stdout.split()
    assert (again, booted) == (root, "bios" if layout.uefi else "uefi")


def test_installs_itself_offline(tmp_path: Path, disc: Source) -> None:
    """A disc with every package on it needs nothing else: no packet leaves the machine, and UEFI finds the system."""
    # Said in the spec, so that what the machine is left with is known.
    main, security = in_use(disc.release)
    disc.mirror = f"mirror: {{main: '{main}', security: '{security}'}}\n"
    image, disks = made(tmp_path, disc, "--offline"), empty(tmp_path, disk="8G", other="64M")
    facts = installed(Hardware(tmp_path, choose(None, cache=tmp_path), disks, image, uefi=True), online=False)
    assert facts[:7] == ["running", "web1", "/dev/vda3", "ext4", "uefi", "installed", disc.release]
    assert facts[7:] == [main, security]
    assert not disks[1].read_bytes().strip(b"\0")
