"""Real, unattended installations by Debian's installer under Packer's qemu builder; `nox -s install` runs them."""

from __future__ import annotations

import hashlib
import os
import sys
from pathlib import Path

import pytest
from differences import differences

from skyvypack import disk
from skyvypack.bake import bake
from skyvypack.progress import Event
from skyvypack.spec import loads

pytestmark = pytest.mark.boot

ROLES = "[base, network, ssh, firewall, accounts, kernel, updates, logging, nginx]"
INSTALLERS = [Path(name) for name in os.environ.get("SKYVYPACK_TEST_INSTALLER", "").split(os.pathsep) if name]


def shown(event: Event) -> None:
    """What a bake says, for the log of a test that takes an hour."""
    if event.kind in ("begin", "note", "advance", "fail") and event.text:
        sys.stderr.write(f"{event.stage}: {event.text}\n")


@pytest.mark.skipif(not INSTALLERS, reason="SKYVYPACK_TEST_INSTALLER names no installer")
@pytest.mark.parametrize("firmware", ["bios", "uefi"])
@pytest.mark.parametrize("source", INSTALLERS, ids=lambda path: path.name)
def test_installed_system_keeps_the_contract(tmp_path: Path, source: Path, firmware: str) -> None:
    """Nothing is asked; clones under BIOS and UEFI keep every role's contract; only known facts differ from a bake."""
    release = "bookworm" if "-12" in source.name or "installer-12" in source.name else "trixie"
    digest = hashlib.sha256(source.read_bytes()).hexdigest()
    arguments = "{efi_boot: true}" if firmware == "uefi" else "{}"
    text = (
        f"name: installed\nversion: 1.0.0\ndebian: {release}\nroles: {ROLES}\n"
        f"base: {{kind: iso, url: {source}, checksum: 'sha256:{digest}'}}\n"
        f"targets: {{qemu: {{arguments: {arguments}}}}}\n"
    )
    if mirror := os.environ.get("SKYVYPACK_TEST_MIRROR"):
        text += f"mirror: {{main: '{mirror}', security: '{mirror}-security'}}\n"
    result = bake(loads(text), output=tmp_path / "output", report=shown)
    assert result.report is not None
    baked = os.environ.get("SKYVYPACK_TEST_DISK")
    if not baked:
        pytest.skip("proven, but not compared: SKYVYPACK_TEST_DISK names no baked disk of the same roles")
    raws = []
    for name, image in (("installed", result.artifact.file("qcow2").path), ("baked", Path(baked))):
        raws.append(tmp_path / f"{name}.raw")
        disk.convert(image, raws[-1], "raw", source_format="qcow2")
    assert list(differences(*raws)) == []
