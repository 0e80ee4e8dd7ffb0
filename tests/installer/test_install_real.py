"""Real, unattended installations by Debian's installer under Packer's qemu builder; `nox -s install` runs them."""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import mirror
import pytest
from differences import differences

from skyvypack import disk, mirrors
from skyvypack.bake import bake
from skyvypack.progress import Event
from skyvypack.spec import Spec, loads

pytestmark = pytest.mark.boot

ROLES = "[base, network, ssh, firewall, accounts, kernel, updates, logging, nginx]"
INSTALLERS = [Path(name) for name in os.environ.get("SKYVYPACK_TEST_INSTALLER", "").split(os.pathsep) if name]


def shown(event: Event) -> None:
    """What a bake says, for the log of a test that takes an hour."""
    if event.kind in ("begin", "note", "advance", "fail") and event.text:
        sys.stderr.write(f"{event.stage}: {event.text}\n")


def release_of(installer: Path) -> str:
    """Codename of the release that an installer installs."""
    return "bookworm" if "-12" in installer.name else "trixie"


@pytest.fixture(scope="session")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of what was fetched from the mirror, kept from run to run where there is a place for it."""
    place = os.environ.get("SKYVYPACK_TEST_KEPT")
    folder = Path(place) if place else tmp_path_factory.mktemp("kept")
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture(params=INSTALLERS, ids=lambda path: path.name)
def source(request: pytest.FixtureRequest) -> Path:
    """An installer of Debian's."""
    path: Path = request.param
    return path


@pytest.fixture
def complete_mirror(source: Path, kept: Path, tmp_path: Path) -> Iterator[str]:
    """The spec's line for a mirror that has all the installer loads; empty where the mirror in use has it."""
    if source.suffix != ".deb":
        yield ""
        return
    release = release_of(source)
    archives = mirrors.sources(Spec("any", "1.0.0", release, ())).archives
    main = mirror.Upstream(archives[0][0], kept)
    security = mirror.Upstream(next(url for url, suite in archives if suite.endswith("-security")), kept)
    overlay = mirror.Overlay(release, main, mirror.Netboot.read(source, tmp_path / "netboot"), tmp_path / "mirror")
    overlay.make()
    if not overlay.said:
        yield ""
        return
    sys.stderr.write("the mirror lacks udebs of this installer; made for this test:\n" + "\n".join(overlay.said) + "\n")
    with mirror.serving(overlay, main, security) as port:
        # Where QEMU's user network shows a guest the host's loopback.
        url = f"http://10.0.2.2:{port}/debian"
        yield f"mirror: {{main: '{url}', security: '{url}-security'}}\n"


@pytest.mark.skipif(not INSTALLERS, reason="SKYVYPACK_TEST_INSTALLER names no installer")
@pytest.mark.parametrize("firmware", ["bios", "uefi"])
def test_installed_system_keeps_the_contract(tmp_path: Path, source: Path, firmware: str, complete_mirror: str) -> None:
    """Nothing is asked; clones under BIOS and UEFI keep every role's contract; only known facts differ from a bake."""
    digest = hashlib.sha256(source.read_bytes()).hexdigest()
    arguments = "{efi_boot: true}" if firmware == "uefi" else "{}"
    text = (
        f"name: installed\nversion: 1.0.0\ndebian: {release_of(source)}\nroles: {ROLES}\n{complete_mirror}"
        f"base: {{kind: iso, url: {source}, checksum: 'sha256:{digest}'}}\n"
        f"targets: {{qemu: {{arguments: {arguments}}}}}\n"
    )
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
