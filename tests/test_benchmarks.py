"""The benchmarks compare what they say they compare; measuring itself is not a test."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType

import pytest

import skyvypack

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def plain(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import plain

    return plain


@pytest.fixture
def bake(plain: ModuleType) -> ModuleType:
    import bake

    return bake


def test_the_plain_way_differs_in_where_packages_come_from(plain: ModuleType) -> None:
    """Packer's file, the roles' configuration and the sealing are ours; only packages move from layer to guest."""
    spec = skyvypack.load(ROOT / "examples" / "server-debian.yaml")
    ours, others = skyvypack.render(spec, "qemu", "1.6.6").files, plain.bundle(spec, "1.6.6").files
    assert ours.keys() == others.keys()
    assert [path for path in ours if ours[path] != others[path]] == ["user-data", "layer/packages.txt"]
    layer = others["layer/packages.txt"].split()
    assert "docker.io" in ours["layer/packages.txt"].split()
    assert "docker.io" not in layer
    assert {"linux-image-cloud-amd64", "cloud-init", "openssh-server"} <= {*layer}
    assert "- docker.io\n" in others["user-data"]
    assert 'APT::Install-Recommends "false";' in others["user-data"]


def test_verification_is_told_apart_from_the_bake(bake: ModuleType) -> None:
    """Stages of two clones overlap: what counts is the time from the first to the last word about them."""
    events = [
        {"elapsed": 1.0, "kind": "begin", "stage": "packages"},
        {"elapsed": 9.0, "kind": "end", "stage": "packages", "seconds": 8.0},
        {"elapsed": 10.0, "kind": "begin", "stage": "verify bios: boot"},
        {"elapsed": 10.5, "kind": "begin", "stage": "verify uefi: boot"},
        {"elapsed": 30.0, "kind": "end", "stage": "verify bios: boot", "seconds": 20.0},
        {"elapsed": 31.0, "kind": "end", "stage": "verify uefi: boot", "seconds": 20.5},
    ]
    found = bake.read_events("\n".join(["a warning", *map(json.dumps, events)]))
    assert found.stages == {"packages": 8.0}
    assert found.proof == 21.0


def test_a_limit_is_judged_by_its_own_direction(bake: ModuleType) -> None:
    """Times may be too long, the ratio to the plain way too small."""
    assert bake.limit("warm bake", 150.1) == ("≤ 150", "over")
    assert bake.limit("warm bake", 149.9) == ("≤ 150", "ok")
    assert bake.limit(bake.RATIO, 2.9) == ("≥ 3", "under")
    assert bake.limit("verification", 1e6) == ("", "")
