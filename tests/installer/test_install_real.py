"""Real, unattended installations by Debian's installer under Packer's qemu builder; `nox -s install` runs them."""

from __future__ import annotations

import hashlib
import json
import os
import sys
from pathlib import Path

import pytest
from differences import differences, facts
from live import live
from mirror import Source

from skyvypack import disk
from skyvypack.bake import bake
from skyvypack.progress import Event
from skyvypack.spec import loads

pytestmark = pytest.mark.boot

ROLES = "[base, network, ssh, firewall, accounts, kernel, updates, logging, nginx]"


def shown(event: Event) -> None:
    """What a bake says, for the log of a test that takes an hour."""
    if event.kind in ("begin", "note", "advance", "fail") and event.text:
        sys.stderr.write(f"{event.stage}: {event.text}\n")


@pytest.mark.parametrize("firmware", ["bios", "uefi"])
def test_installed_system_keeps_the_contract(tmp_path: Path, source: Source, firmware: str) -> None:
    """Nothing is asked; clones under BIOS and UEFI keep every role's contract; only known facts differ from a bake."""
    digest = hashlib.sha256(source.path.read_bytes()).hexdigest()
    arguments = "{efi_boot: true}" if firmware == "uefi" else "{}"
    text = (
        f"name: installed\nversion: 1.0.0\ndebian: {source.release}\nroles: {ROLES}\n{source.mirror}"
        f"base: {{kind: iso, url: {source.path}, checksum: 'sha256:{digest}'}}\n"
        f"targets: {{qemu: {{arguments: {arguments}}}}}\n"
    )
    spec = loads(text)
    baked = os.environ.get("SKYVYPACK_TEST_DISK")
    # Read before the hour that an installation takes.
    release = json.loads(Path(baked).with_name("manifest.json").read_text())["debian"] if baked else ""
    result = bake(spec, output=tmp_path / "output", report=shown)
    assert result.report is not None
    if not baked or release != source.release:
        pytest.skip("proven, but not compared: SKYVYPACK_TEST_DISK names no baked disk of the same release and roles")
    found = []
    for name, image in (("installed", result.artifact.file("qcow2").path), ("baked", Path(baked))):
        raw = tmp_path / f"{name}.raw"
        disk.convert(image, raw, "raw", source_format="qcow2")
        found.append(facts(raw) | live(name, image, spec, tmp_path / name))
        raw.unlink()
    assert list(differences(*found)) == []
