"""Debian's installers that are run for real, and a mirror that has all they load."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import mirror
import netinst
import pytest
import upstream
from mirror import Source
from vendor_repository import Key

INSTALLERS = [Path(name) for name in os.environ.get("SKYVYPACK_TEST_INSTALLER", "").split(os.pathsep) if name]


@pytest.fixture(scope="session")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of what was fetched from the mirror, kept from run to run where there is a place for it."""
    place = os.environ.get("SKYVYPACK_TEST_KEPT")
    folder = Path(place) if place else tmp_path_factory.mktemp("kept")
    folder.mkdir(exist_ok=True)
    return folder


@dataclass(frozen=True)
class Prepared:
    """A netboot installer with a mirror that has all it loads.

    Args:
        folder: where `mirror.Netboot.read` has unpacked it.
        overlay: made.
        security: the archive of security updates.
        key: what signs the overlay's index.
    """

    folder: Path
    overlay: mirror.Overlay
    security: upstream.Upstream
    key: Key


def prepare(source: Source, kept: Path, folder: Path) -> Prepared:
    """What the mirror in use lacks of a netboot installer is made and told; skips the test where it cannot be."""
    main, security = (upstream.Upstream(url, kept) for url in upstream.in_use(source.release))
    netboot = mirror.Netboot.read(source.path, folder / "netboot")
    key = Key(folder / "gpg")
    overlay = mirror.Overlay(source.release, main, netboot, folder / "mirror", key)
    try:
        overlay.make()
    except mirror.Unservable as error:
        pytest.skip(f"{source.path.name}: {error}")
    finally:
        key.end_agent()
    if overlay.said:
        lines = "\n".join(overlay.said)
        sys.stderr.write(f"the mirror lacks components of this installer, made for this test:\n{lines}\n")
    return Prepared(folder / "netboot", overlay, security, key)


@pytest.fixture(params=INSTALLERS, ids=lambda path: path.name)
def source(request: pytest.FixtureRequest, kept: Path, tmp_path: Path) -> Iterator[Source]:
    """One installer after the other; what the mirror in use lacks of a netboot one is made and told."""
    source = Source(request.param)
    if source.path.suffix != ".deb":
        yield source
        return
    made = prepare(source, kept, tmp_path)
    if made.overlay.said:
        source.path = mirror.trusting(source.path, made.folder, made.key)
    folder = made.overlay.folder if made.overlay.said else None
    with upstream.serving(folder, made.overlay.upstream, made.security, source.asked.append) as port:
        # Where QEMU's user network shows a guest the host's loopback.
        url = f"http://10.0.2.2:{port}/debian"
        source.mirror = f"mirror: {{main: '{url}', security: '{url}-security'}}\n"
        yield source


@pytest.fixture(params=INSTALLERS, ids=lambda path: path.name)
def disc(request: pytest.FixtureRequest, kept: Path, tmp_path: Path) -> Source:
    """Installers on discs that hold the base system: an ISO as it is, of a netboot installer one made here."""
    source = Source(request.param)
    if source.path.suffix == ".deb":
        made = prepare(source, kept, tmp_path)
        number = "12" if source.release == "bookworm" else "13"
        source.path = netinst.make(made.overlay, made.folder, number, tmp_path / f"debian-{number}.0-netinst.iso")
    return source
