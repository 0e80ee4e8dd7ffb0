"""The disc like Debian's netinst that installations without a network start from."""

from __future__ import annotations

from pathlib import PurePath

import netinst
import pytest


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
