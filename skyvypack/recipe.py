"""What `layer.sh` makes a layer from: packages, settings, vendors' repositories and apt sources. Pure."""

from __future__ import annotations

from datetime import UTC, datetime

from skyvypack import assets
from skyvypack.repositories import Repository
from skyvypack.spec.model import Spec

KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
_SNAPSHOT_TIME = "%Y%m%dT%H%M%SZ"
# What Packer needs of a disk whatever the roles: it boots, has a network, lets an account in, gets a boot loader.
_NEEDED = (
    "cloud-init",
    "dbus",
    "e2fsprogs",
    "grub-efi-amd64-bin",
    "grub-pc-bin",
    "grub2-common",
    "initramfs-tools",
    "openssh-server",
    "sudo",
    "systemd-resolved",
    "systemd-sysv",
    "udev",
    "zstd",
)
# bookworm's kernel for clouds has no AHCI, hence no SATA disk.
_KERNELS = {"bookworm": "linux-image-amd64", "trixie": "linux-image-cloud-amd64"}


def packages(spec: Spec) -> tuple[str, ...]:
    """Every package named for a layer, sorted; a kernel of the user's own choice takes the place of the usual one."""
    named = {name for role in spec.roles for name in role.packages} | set(spec.packages) | set(_NEEDED)
    if not any(name.startswith("linux-image-") for name in named):
        named.add(_KERNELS[spec.debian])
    return tuple(sorted(named))


def repositories(spec: Spec) -> tuple[Repository, ...]:
    """Every vendor's repository that a spec's roles take packages from."""
    return tuple(one for role in spec.roles for one in role.repositories)


def apt_sources(suite: str, main: str, security: str, snapshot: str = "") -> str:
    """Sources of one Debian release in deb822 form, signed by Debian's archive key.

    Args:
        suite: code name of the release.
        main: URL of the archive.
        security: URL of the security archive; empty leaves it out.
        snapshot: put in place of ``{snapshot}`` in both URLs; an old Release file is then accepted.
    """
    archives = [(main, f"{suite} {suite}-updates"), (security, f"{suite}-security")]
    expiry = "Check-Valid-Until: no\n" if snapshot else ""
    return "\n".join(
        f"Types: deb\nURIs: {url.replace('{snapshot}', snapshot)}\nSuites: {suites}\n"
        f"Components: main\nSigned-By: {KEYRING}\n{expiry}"
        for url, suites in archives
        if url
    )


def epoch(snapshot: str) -> int | None:
    """A snapshot's time in seconds since 1970, or None without one."""
    return int(datetime.strptime(snapshot, _SNAPSHOT_TIME).replace(tzinfo=UTC).timestamp()) if snapshot else None


def layer_files(spec: Spec) -> dict[str, str]:
    """The files by which `layer.sh` makes a spec's layer, text by path in the bundle."""
    settings = {"SUITE": spec.debian, "DISK_GIB": spec.machine.disk, "EPOCH": epoch(spec.mirror.snapshot)}
    files = {
        "layer.sh": (assets.builders() / "shared" / "layer.sh").read_text(encoding="utf-8"),
        "layer/packages.txt": "".join(f"{name}\n" for name in packages(spec)),
        "layer/settings.env": "".join(f"{key}={value}\n" for key, value in settings.items() if value is not None),
    }
    for one in repositories(spec):
        # The key stands in the sources: the host's apt reads them, and knows no keyring of the tree's.
        files[f"layer/repositories/{one.name}.sources"] = one.sources()
        files[f"layer/repositories/{one.name}.pins"] = one.pins()
    mirror = spec.mirror
    if mirror.main:
        files["layer/apt.sources"] = apt_sources(spec.debian, mirror.main, mirror.security, mirror.snapshot)
    return files
