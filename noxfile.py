"""The project's one door: ``python3 -m nox -l`` lists the sessions, and each docstring is its manual.

Every session works on a fresh Debian 12 machine: what it misses it installs with apt, as root or through sudo
without a password, and otherwise says the command to run.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import nox

nox.options.sessions = ["tests"]
nox.options.reuse_existing_virtualenvs = True
nox.options.error_on_missing_interpreters = True

# Debian packages that only tests use, by a program or file of each: cloud-init for its schema, cpio for installers, gpg
# for a vendor's signed repository.
TEST_PACKAGES = {
    "cloud-init": "cloud-init",
    "cpio": "cpio",
    "gpg": "gpg",
    "gpgconf": "gpgconf",
    "xmllint": "libxml2-utils",
}
# What an installer, and a disc like Debian's, is made from a netboot one with.
INSTALLER_PACKAGES = {
    "grub-mkrescue": "grub-common",
    "mformat": "mtools",
    "objdump": "binutils",
    "/usr/lib/grub/i386-pc/moddep.lst": "grub-pc-bin",
    "/usr/lib/grub/x86_64-efi/moddep.lst": "grub-efi-amd64-bin",
    "/usr/lib/ISOLINUX/isolinux.bin": "isolinux",
    "/usr/lib/syslinux/modules/bios/ldlinux.c32": "syslinux-common",
}

# nox gives an interrupted program a third of a second; a bake needs longer to undo what it began.
PATIENCE = {"interrupt_timeout": 120.0, "terminate_timeout": 60.0}


@nox.session
def tests(session: nox.Session) -> None:
    """Everything that needs no guest: ruff, mypy, unit tests, tests with real tools and with real layers.

    Arguments after ``--`` go to pytest in place of the default selection: ``nox -s tests -- -k spec -m "not tool"``.
    """
    _develop(session)
    _install_missing(session)
    session.run("ruff", "check", ".")
    session.run("mypy")
    session.run("pytest", *(session.posargs or ["-m", "not boot and not load and not newest"]), **PATIENCE)


@nox.session
def bake(session: nox.Session) -> None:
    """Bake and prove examples/quickstart.yaml for the qemu target, with the project installed as a user has it.

    Arguments after ``--`` go to ``skyvypack bake``: ``nox -s bake -- --force``.
    """
    _install_as_user(session)
    session.run("python", "-m", "skyvypack", "doctor", "--fix")
    command = ["python", "-m", "skyvypack", "bake", "--spec", "examples/quickstart.yaml", "--target", "qemu"]
    session.run(*command, *session.posargs, **PATIENCE)


@nox.session
def boot(session: nox.Session) -> None:
    """The tests that boot real guests: minutes each, longer without KVM. Arguments after ``--`` go to pytest.

    They start from a layer that is made here; the one that verifies a finished disk takes what ``nox -s bake`` left in
    output/, and is shown as skipped without it.
    """
    _develop(session)
    _install_missing(session)
    session.env["SKYVYPACK_TEST_LAYER"] = str(_layer(session))
    for disk in Path("output").glob("skyvyos-quickstart-*-qemu/*.qcow2"):
        session.env["SKYVYPACK_TEST_DISK"] = str(disk.resolve())
    # Where `skyvypack bake --target … --no-register` leaves what is made for one platform alone.
    session.env["SKYVYPACK_TEST_OUTPUT"] = str(Path("output").resolve())
    session.run("pytest", "-m", "boot", *session.posargs, **PATIENCE)


@nox.session
def load(session: nox.Session) -> None:
    """The tests that move gigabytes or take over a minute, no guest. Arguments after ``--`` go to pytest."""
    _develop(session)
    _install_missing(session)
    session.run("pytest", "-m", "load and not newest", *session.posargs, **PATIENCE)


@nox.session
def packer_latest(session: nox.Session) -> None:
    """The newest Packer and its plugins, built from source, take every document that is written for them.

    Needs Go, and minutes of it once; what is built is kept in the user's cache. Where there is no Go, or an older one
    than the sources need, the session is shown as skipped, with the reason. Arguments after ``--`` go to pytest.
    """
    _develop(session)
    _install_missing(session)
    built = session.run("python", "tools/newest_packer.py", silent=True, success_codes=[0, 3], stderr=None)
    folder = str(built).strip()
    if not folder:
        session.skip("did not run: no Go that can build Packer; the line above says which is needed")
    session.env["SKYVYPACK_TEST_PACKER"] = folder
    session.run("pytest", "-m", "newest", *session.posargs, **PATIENCE)


@nox.session
def install(session: nox.Session) -> None:
    """Unattended installations by Debian's own installer: up to hours each without KVM, and gigabytes of downloads.

    Each release starts from the package of its netboot installer, which apt fetches whatever release this host is;
    SKYVYPACK_TEST_INSTALLER names others (files, divided by colons). What the mirror lacks of such an installer's
    components is made from what it has, or taken from the next release, and told; of the same a disc like Debian's
    netinst is made, to install from without a network. A disk that ``nox -s bake`` left in output/ is what an installed
    one is compared with. Arguments after ``--`` go to pytest: ``-k bios``.
    """
    _develop(session)
    _install_missing(session, INSTALLER_PACKAGES)
    folder = (session.cache_dir / "install").resolve()
    folder.mkdir(exist_ok=True)
    session.env["SKYVYPACK_TEST_KEPT"] = str(folder / "kept")
    for disk in Path("output").glob("skyvyos-quickstart-*-qemu/*.qcow2"):
        session.env["SKYVYPACK_TEST_DISK"] = str(disk.resolve())
    if "SKYVYPACK_TEST_INSTALLER" not in os.environ:
        fetched = session.run("python", "tools/netboot_installers.py", str(folder), silent=True, stderr=None)
        session.env["SKYVYPACK_TEST_INSTALLER"] = os.pathsep.join(str(fetched).split())
    session.run("pytest", "-m", "boot", "tests/installer", *session.posargs, **PATIENCE)


@nox.session
def judges(session: nox.Session) -> None:
    """Let ssh-audit, Lynis, systemd-analyze and OpenSCAP judge a booted clone of a template that was baked before.

    Arguments after ``--`` go to judges/judge.py: ``nox -s judges -- output/skyvyos-server-1.0.0-qemu --spec …``. Lynis
    needs over ten minutes without KVM. What they say is kept in ``<template>.judges/``.
    """
    session.install("--editable", ".[judges]")
    found = sorted(map(str, Path("output").glob("skyvyos-server-*-qemu")))[-1:]
    session.run("python", "judges/judge.py", *(session.posargs or found), **PATIENCE)


@nox.session
def golden(session: nox.Session) -> None:
    """Write tests/goldens anew; read the diff before you commit it."""
    _develop(session)
    session.run("python", "tests/regenerate_goldens.py")
    session.run("git", "diff", "--stat", "--", "tests/goldens", external=True)


@nox.session
def docs(session: nox.Session) -> None:
    """Write docs/reference anew from the schemas, the roles and the command line."""
    _develop(session)
    session.run("python", "docs/generate_reference.py")


@nox.session
def benchmarks(session: nox.Session) -> None:
    """Measure; arguments after ``--`` name the scripts of benchmarks/ to run, by default only the quick startup.py."""
    _develop(session)
    for name in session.posargs or ["startup.py"]:
        session.run("python", f"benchmarks/{name}", **PATIENCE)


def _develop(session: nox.Session) -> None:
    """The checkout, editable, with the developers' tools and the SDKs of the platforms."""
    session.install("--editable", ".[dev,proxmox,vsphere,aws]")


def _layer(session: nox.Session) -> Path:
    """The quickstart's layer, made as a plain Packer user makes it: by the bundle's own script."""
    folder = (session.cache_dir / "boot").resolve()
    shutil.rmtree(folder, ignore_errors=True)
    bundle = ["--spec", "examples/quickstart.yaml", "--output", str(folder / "bundle")]
    session.run("python", "-m", "skyvypack", "render", *bundle)
    session.run("sh", str(folder / "bundle" / "layer.sh"), str(folder / "layer"), external=True)
    return folder / "layer"


def _install_as_user(session: nox.Session) -> None:
    """The project as a wheel. A stale build/ would bring deleted files back into it."""
    shutil.rmtree("build", ignore_errors=True)
    session.install(".")
    # Run from the wheel, not from the checkout that `python -m` finds first in the working folder.
    session.env["PYTHONSAFEPATH"] = "1"


def _install_missing(session: nox.Session, more: Mapping[str, str] = MappingProxyType({})) -> None:
    """What a bake needs, by the doctor, what only tests need, and more packages by a program or file of each."""
    session.run("python", "-m", "skyvypack", "doctor", "--fix")
    path = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])
    wanted = {**TEST_PACKAGES, **more}
    packages = [package for program, package in wanted.items() if not _is_there(program, path)]
    if not packages:
        return
    if not Path("/usr/bin/apt-get").exists():
        session.warn(f"install by your package manager, or their tests are skipped: {' '.join(packages)}")
        return
    root = [] if os.geteuid() == 0 else ["sudo", "--non-interactive"]
    install = [*root, "apt-get", "install", "--yes", "--no-install-recommends", *packages]
    session.run(*install, external=True, env={"DEBIAN_FRONTEND": "noninteractive"})


def _is_there(name: str, path: str) -> bool:
    return Path(name).exists() if name.startswith("/") else shutil.which(name, path=path) is not None
