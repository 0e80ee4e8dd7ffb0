"""`Spec`: the frozen form of the user's YAML file, checked and with every default filled in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from skyvypack.roles import Role, RoleFile
from skyvypack.targets import settings_rules

Release = Literal["trixie", "bookworm"]
BaseKind = Literal["bootstrap", "cloud-image", "iso", "clone"]

RELEASE_NUMBERS: Mapping[str, int] = {"bookworm": 12, "trixie": 13}


@dataclass(frozen=True, slots=True)
class Mirror:
    """Where Debian's packages come from; an empty field is inherited from the build host's apt.

    Args:
        main: URL of the archive, the folder that holds ``dists/``.
        security: URL of the security archive.
        snapshot: ``YYYYMMDDTHHMMSSZ``, put in place of ``{snapshot}`` in both URLs; empty for none.
    """

    main: str = ""
    security: str = ""
    snapshot: str = ""


@dataclass(frozen=True, slots=True)
class Base:
    """What a bake starts from.

    Args:
        kind: ``bootstrap`` (mmdebstrap), ``cloud-image`` (Debian's published qcow2), ``iso`` or ``clone``.
        url: of the image or ISO; a path or any URL Packer can read. Empty for ``bootstrap``.
        checksums: URL of the ``SHA512SUMS`` that lists the image; empty when `checksum` is given.
        checksum: ``sha512:…`` or ``sha256:…`` of the image; empty when `checksums` is given.
        source: name or id of the template to clone, for ``clone``.
    """

    kind: BaseKind = "bootstrap"
    url: str = ""
    checksums: str = ""
    checksum: str = ""
    source: str = ""


@dataclass(frozen=True, slots=True)
class Machine:
    """The virtual machine of the bake and the defaults of its template.

    Args:
        cpus: virtual CPUs.
        memory: MiB.
        disk: GiB.
        firmware: what the registered template boots with; the disk itself boots with both.
    """

    cpus: int = 2
    memory: int = 2048
    disk: int = 8
    firmware: Literal["bios", "uefi"] = "uefi"


@dataclass(frozen=True, slots=True)
class Network:
    """The network of the installer and of the machine it leaves; without an address by DHCP.

    Args:
        interface: name of the network card; empty for the first one with a link.
        address: IPv4 address with its prefix, such as ``192.0.2.10/24``; empty for DHCP.
        gateway: IPv4 address of the default route; empty for none.
        nameservers: IPv4 addresses.
    """

    interface: str = ""
    address: str = ""
    gateway: str = ""
    nameservers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Installer:
    """How Debian's installer sets up a machine: for the base ``iso``, and for `skyvypack iso`.

    Args:
        locale: of the installer's own messages.
        keyboard: layout, as Debian names it.
        disks: what is wiped: devices; empty for the only disk there is, which an unattended ISO asks about.
        layout: ``plain`` (one partition), ``lvm``, or ``raid1`` (a mirror of two disks).
        encrypt: True for LUKS; its passphrase is asked at the machine.
        swap: MiB of swap space; 0 for none.
        hostname: of the machine, with or without its domain; empty for the spec's name or what DHCP says.
        network: of the installer and of the machine.
        finish: what comes after the installation.
        reinstall: True to install again to a disk that this very medium has finished; otherwise it says so, and the
            machine is switched off.
    """

    locale: str = "en_US.UTF-8"
    keyboard: str = "us"
    disks: tuple[str, ...] = ()
    layout: Literal["plain", "lvm", "raid1"] = "plain"
    encrypt: bool = False
    swap: int = 0
    hostname: str = ""
    network: Network = field(default_factory=Network)
    finish: Literal["reboot", "poweroff"] = "reboot"
    reinstall: bool = False


@dataclass(frozen=True, slots=True)
class User:
    """An account that first-boot user-data makes on a clone; never baked into the template.

    Args:
        name: POSIX login name.
        ssh_authorized_keys: OpenSSH public keys.
        groups: further groups.
        sudo: True for sudo without a password.
        shell: login shell.
        gecos: the full name.
    """

    name: str
    ssh_authorized_keys: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    sudo: bool = False
    shell: str = "/bin/bash"
    gecos: str = ""


@dataclass(frozen=True, slots=True)
class Spec:
    """One template, fully said.

    Args:
        name: of the template: lower-case letters, digits and hyphens.
        version: of the template, such as ``1.0.0``.
        debian: Debian's release.
        roles: resolved: every role with its requirements, in the order to apply, settings complete.
        origins: ``debian`` or ``upstream`` for each role that offers a third-party repository, by role name.
        mirror: where Debian's packages come from.
        base: what the bake starts from.
        machine: CPUs, memory, disk and firmware.
        installer: how Debian's installer sets up a machine.
        users: accounts for first-boot user-data.
        packages: further Debian packages to install.
        files: further files of the template.
        commands: further shell commands of the bake.
        targets: settings for each target, defaults filled in, by target name.
        file: the file it was read from, for messages; None when it was not read from one.
    """

    name: str
    version: str
    debian: Release
    roles: tuple[Role, ...]
    origins: Mapping[str, str] = field(default_factory=dict)
    mirror: Mirror = field(default_factory=Mirror)
    base: Base = field(default_factory=Base)
    machine: Machine = field(default_factory=Machine)
    installer: Installer = field(default_factory=Installer)
    users: tuple[User, ...] = ()
    packages: tuple[str, ...] = ()
    files: tuple[RoleFile, ...] = ()
    commands: tuple[str, ...] = ()
    targets: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    file: Path | None = None

    @property
    def release_number(self) -> int:
        """Debian's number, 13 for trixie."""
        return RELEASE_NUMBERS[self.debian]

    @property
    def facts(self) -> dict[str, Any]:
        """What the templates and the contract tests of roles know as `spec`."""
        names = ("name", "version", "title", "debian", "release_number")
        return {name: getattr(self, name) for name in names} | {"machine": asdict(self.machine)}

    def target_settings(self, target: str) -> Mapping[str, Any]:
        """The settings of a target, complete also when the spec does not name it.

        Args:
            target: its name.

        Raises:
            InputError: no such target.
        """
        if target in self.targets:
            return self.targets[target]
        return {name: rule["default"] for name, rule in settings_rules(target).items()}

    @property
    def title(self) -> str:
        """The PRETTY_NAME of the template."""
        return f"SkyvyOS Server {self.version} (Debian {self.release_number} {self.debian})"
