"""`Spec` → what Debian's installer needs to set up a machine without a question. Pure.

The answers (preseed), the scripts and the packages form a tree, `installer/initrd`, that `installer.sh` adds to the
installer's own initrd: they are there before a network is, and nothing has to be typed.
"""

from __future__ import annotations

import hashlib
import ipaddress
import shlex
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from skyvypack import assets, template
from skyvypack.cloudinit import machine_user_data
from skyvypack.errors import InputError
from skyvypack.recipe import apt_sources, packages, repositories
from skyvypack.spec.model import Base, Installer, Network, Spec

_FOLDER = "installer"
_HOME = f"{_FOLDER}/initrd/skyvyos"
_REMASTERING = ("installer.sh", f"{_FOLDER}/source.env")
_ARGUMENTS = "auto=true priority=critical net.ifnames=1"
# The last console is the one that asks.
_CONSOLES = {True: "console=ttyS0,115200 console=tty0", False: "console=tty0 console=ttyS0,115200"}
# Firmware and drivers of real machines are not in the kernel for clouds.
_KERNEL = "linux-image-amd64"
_CLOUD_KERNEL = "linux-image-cloud-amd64"
# Somebody may type at it, with the spec's keyboard: the passphrase of a disk, before anything else.
_CONSOLE = "console-setup"
# What a layout needs beside what every system has.
_LAYOUT_PACKAGES = {"plain": (), "lvm": ("lvm2",), "raid1": ("mdadm",)}


def bundle_files(spec: Spec, *, remastered: bool = True) -> dict[str, str]:
    """The installer's part of a bundle with the base ``iso``: it sets up the new disk of a virtual machine, unasked.

    `prepare.sh` runs `installer.sh`, which adds the bundle's user-data and the build account.

    Args:
        spec: what to bake.
        remastered: the build starts from an ISO made by `installer.sh`; otherwise Debian's own is told, by typing,
            to fetch the same from Packer's web server.

    Returns:
        Text by path in the bundle.

    Raises:
        InputError: the spec's mirror cannot be read by the installer.
    """
    files = _files(spec, packages(spec), attended=False, wipes=True, offline=False)
    return files if remastered else {path: text for path, text in files.items() if path not in _REMASTERING}


def machine_files(spec: Spec, *, offline: bool = False) -> dict[str, str]:
    """What `installer.sh` makes the installer of a machine of its own from, bare metal or virtual.

    Args:
        spec: what the machine becomes; its users get in, and its base does not matter.
        offline: the medium brings every package.

    Returns:
        Text by path, as in a bundle.

    Raises:
        InputError: the spec's mirror cannot be read by the installer, or nobody could log in.
    """
    if not any(user.ssh_authorized_keys for user in spec.users):
        raise InputError(
            "nobody could log in: the spec has no user with a key",
            "add one: users: [{name: admin, sudo: true, ssh_authorized_keys: [ssh-ed25519 AAAA…]}]",
        )
    machine = replace(spec, base=Base("iso"))
    files = _files(
        spec,
        machine_packages(spec),
        attended=not spec.installer.disks or spec.installer.encrypt,
        wipes=bool(spec.installer.disks),
        offline=offline,
    )
    host = spec.installer.hostname or spec.name
    files[f"{_HOME}/seed/user-data"] = machine_user_data(machine, host)
    files[f"{_HOME}/seed/meta-data"] = f"instance-id: {spec.name}-{spec.version}\nlocal-hostname: {host}\n"
    if spec.installer.network.address:
        files[f"{_HOME}/seed/network-config"] = _network_config(spec.installer.network)
    if spec.installer.disks and not spec.installer.reinstall:
        files[f"{_HOME}/medium"] = _medium(files)
    return files


def _medium(files: Mapping[str, str]) -> str:
    """What a disk that these files were installed to is known by; other files may take it, as the spec says."""
    digest = hashlib.sha256()
    for path, text in sorted(files.items()):
        digest.update(f"{len(path)} {len(text)} {path}{text}".encode())
    return f"{digest.hexdigest()}\n"


def machine_packages(spec: Spec) -> tuple[str, ...]:
    """The packages of a machine, sorted: a template's, with the kernel that knows real hardware, and a keyboard's."""
    wish = spec.installer
    named = {_KERNEL if name == _CLOUD_KERNEL else name for name in packages(spec)} | {*_LAYOUT_PACKAGES[wish.layout]}
    return tuple(sorted(named | {_CONSOLE} | ({"cryptsetup-initramfs", "lvm2"} if wish.encrypt else set())))


def _files(spec: Spec, names: tuple[str, ...], *, attended: bool, wipes: bool, offline: bool) -> dict[str, str]:
    wish = spec.installer
    layout = "lvm" if wish.encrypt else wish.layout
    settings = {
        "SUITE": spec.debian,
        "DISKS": " ".join(wish.disks),
        "COUNT": 2 if layout == "raid1" else 1,
        "LEAST": spec.machine.disk * 1024,
        "LAYOUT": layout,
        "ATTENDED": "yes" if attended else "no",
        "OFFLINE": "yes" if offline else "no",
    }
    recipe = template.render(_shared(f"{_FOLDER}/recipes/{layout}"), {"swap": wish.swap, "encrypt": wish.encrypt})
    scripts = ["disks.sh", "install.sh", "tidy.sh", "bootentry.py", "messages.templates"]
    scripts += ["consoles.sh"] if wish.encrypt else []
    return {
        "installer.sh": _shared("installer.sh"),
        f"{_FOLDER}/source.env": _source(spec, attended),
        f"{_FOLDER}/initrd/preseed.cfg": preseed(spec, wipes=wipes, offline=offline),
        f"{_HOME}/recipe": recipe,
        f"{_HOME}/settings.env": _environment(settings),
        f"{_HOME}/packages.txt": "".join(f"{name}\n" for name in names),
        f"{_HOME}/layer.sh": _shared("layer.sh"),
        f"{_HOME}/bootloader.sh": _shared("scripts/bootloader.sh"),
        **{f"{_HOME}/{name}": _shared(f"{_HOME}/{name}") for name in scripts},
        **_archives(spec),
    }


def _source(spec: Spec, attended: bool) -> str:
    return _environment(
        {
            "SUITE": spec.debian,
            "NUMBER": spec.release_number,
            "URL": spec.base.url,
            "CHECKSUM": spec.base.checksum,
            "CHECKSUMS": spec.base.checksums,
            "TITLE": spec.title,
            "TIMEOUT": 10 if attended else 1,
            # Nobody looks: a log of lines is worth more than windows that are drawn over one another.
            "ARGUMENTS": " ".join([_ARGUMENTS, *([] if attended else ["DEBIAN_FRONTEND=text"]), _CONSOLES[attended]]),
        }
    )


def _archives(spec: Spec) -> dict[str, str]:
    """Where the installed system's packages come from, and keep coming from."""
    files = {}
    for one in repositories(spec):
        files[f"{_HOME}/layer/repositories/{one.name}.sources"] = one.sources()
        files[f"{_HOME}/layer/repositories/{one.name}.pins"] = one.pins()
    mirror = spec.mirror
    if mirror.main:
        files[f"{_HOME}/apt.sources"] = apt_sources(spec.debian, mirror.main, mirror.security, mirror.snapshot)
    return files


def preseed(spec: Spec, *, wipes: bool, offline: bool = False) -> str:
    """The answers to the installer's questions.

    Args:
        spec: what is installed.
        wipes: answer yes to everything that destroys what is on a disk; without, a person is asked.
        offline: no mirror is used.

    Raises:
        InputError: the spec's mirror is of a kind that the installer cannot read.
    """
    wish: Installer = spec.installer
    host, _, domain = (wish.hostname or spec.name).partition(".")
    names = {
        "spec": spec,
        "installer": wish,
        "hostname": host,
        "domain": domain,
        "address": ipaddress.IPv4Interface(wish.network.address) if wish.network.address else None,
        "mirror": _mirror(spec),
        "method": "crypto" if wish.encrypt else {"plain": "regular", "lvm": "lvm", "raid1": "raid"}[wish.layout],
        "encrypt": wish.encrypt,
        "wipes": wipes,
        "offline": offline,
    }
    return template.render(_shared(f"{_FOLDER}/initrd/preseed.cfg"), names)


def _mirror(spec: Spec) -> Mapping[str, str] | None:
    if not spec.mirror.main:
        return None
    url = urlsplit(spec.mirror.main.replace("{snapshot}", spec.mirror.snapshot))
    if url.scheme not in ("http", "https"):
        raise InputError(
            f"the installer cannot read the mirror {spec.mirror.main}", "give an http: or https: URL in `mirror`"
        )
    return {"scheme": url.scheme, "host": url.netloc, "folder": url.path or "/"}


def _network_config(network: Network) -> str:
    card: dict[str, Any] = {"addresses": [network.address]}
    if network.gateway:
        card["routes"] = [{"to": "default", "via": network.gateway}]
    if network.nameservers:
        card["nameservers"] = {"addresses": list(network.nameservers)}
    match = {"name": network.interface or "e*"}
    import yaml

    return yaml.safe_dump({"version": 2, "ethernets": {"first": {"match": match, **card}}}, sort_keys=False)


def _environment(values: Mapping[str, Any]) -> str:
    return "".join(f"{name}={shlex.quote(str(value))}\n" for name, value in values.items())


def _shared(path: str) -> str:
    return (Path(assets.builders()) / "shared" / path).read_text(encoding="utf-8")
