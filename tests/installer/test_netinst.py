"""The disc like Debian's netinst that installations without a network start from."""

from __future__ import annotations

import lzma
from pathlib import Path, PurePath
from types import SimpleNamespace

import netinst
import pytest
from mirror import Netboot


def test_closure_follows_alternatives_and_providers() -> None:
    """What a package needs first is taken, a virtual one from who provides it, and nothing twice."""
    index = {
        "base": {"Package": "base", "Pre-Depends": "awk", "Depends": "libc (>= 2), cron | base"},
        "mawk": {"Package": "mawk", "Provides": "awk (= 1), other"},
        "libc": {"Package": "libc", "Depends": "base:any, none"},
        "cron": {"Package": "cron"},
        "unneeded": {"Package": "unneeded"},
    }
    assert sorted(one["Package"] for one in netinst.closure(index, ["base"])) == ["base", "cron", "libc", "mawk"]


@pytest.mark.parametrize(
    ("path", "place"),
    [
        ("lib/modules/1/isofs.ko", "usr/lib/modules/1/isofs.ko"),
        ("usr/lib/debian-installer/retriever/cdrom-retriever", "usr/lib/debian-installer/retriever/cdrom-retriever"),
        ("var/lib/dpkg/status", "var/lib/dpkg/status"),
    ],
)
def test_folders_that_are_links_stay_links(path: str, place: str) -> None:
    """Only the first folder of a path is one of them."""
    assert netinst.merged(PurePath(path)) == PurePath(place)


def test_what_the_installer_holds_is_listed_and_not_put_on_the_disc(tmp_path: Path) -> None:
    """Unlisted, another that provides a network would be loaded; what is for a network or a screen is neither."""
    names = ("netcfg", "ppp-udeb", "net-retriever", "libx11-6-udeb")
    index = "\n".join(f"Package: {name}\nFilename: pool/{name}.udeb\n" for name in names)
    path = tmp_path / "dists" / "trixie" / netinst.INDEX
    path.parent.mkdir(parents=True)
    path.write_bytes(lzma.compress(index.encode()))
    upstream = SimpleNamespace(read=str.encode)
    netboot = Netboot("6.12", {"netcfg": "1", "net-retriever": "1"})
    overlay = SimpleNamespace(folder=tmp_path, suite="trixie", netboot=netboot, upstream=upstream)
    held, added = netinst._components(overlay, tmp_path / "disc")
    assert [one["Package"] for one in held] == ["netcfg"]
    assert [one["Package"] for one in added] == ["ppp-udeb"]
    assert (tmp_path / "disc/pool/main/ppp-udeb.udeb").read_bytes() == b"pool/ppp-udeb.udeb"
