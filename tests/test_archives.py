"""A vendor's repository on loopback: what apt accepts, and what fails a bake before Packer starts."""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from vendor_repository import Key, Vendor, role

from skyvypack import archives, command, layers, recipe
from skyvypack import spec as specs
from skyvypack.bundle import Bundle
from skyvypack.errors import SkyvypackError
from skyvypack.progress import Progress
from skyvypack.spec.model import Spec

pytestmark = pytest.mark.tool

FakeTool = Callable[[str, str], Path]
SPEC = {"name": "a", "version": "1", "roles": ["vendor"], "roles_path": ["roles"], "machine": {"disk": 4}}


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Key, Key]]:
    """The vendor's key and somebody else's."""
    if command.which("gpg") is None or command.which("apt-get") is None:
        pytest.skip("needs gpg and apt-get")
    homes = tmp_path_factory.mktemp("keys")
    made = Key(homes / "vendor"), Key(homes / "other")
    yield made
    for key in made:
        key.end_agent()


@pytest.fixture
def vendor(tmp_path: Path) -> Vendor:
    """A repository with one package, not published yet."""
    made = Vendor(tmp_path / "vendor")
    made.add("vendor-thing", "2.0")
    return made


@pytest.fixture
def served(vendor: Vendor) -> Iterator[str]:
    """Its URL."""
    with vendor.served() as url:
        yield url


def load(tmp_path: Path, url: str, key: Key) -> Spec:
    role(tmp_path / "roles", url, key)
    return specs.loads(json.dumps(SPEC), tmp_path)


def test_a_good_repository_is_accepted_and_its_digest_follows_its_packages(
    tmp_path: Path, vendor: Vendor, served: str, keys: tuple[Key, Key]
) -> None:
    """Signing again changes nothing; another package does."""
    repositories = recipe.repositories(load(tmp_path, served, keys[0]))
    vendor.publish(keys[0])
    first = archives.check(repositories)
    vendor.publish(keys[0], valid_until=datetime.now(UTC) + timedelta(days=1))
    assert archives.check(repositories) == first
    vendor.add("vendor-other", "1")
    vendor.publish(keys[0])
    assert archives.check(repositories) != first


def spoil(vendor: Vendor, keys: tuple[Key, Key], how: str) -> None:
    vendor.publish(
        {"unsigned": None, "wrong key": keys[1]}.get(how, keys[0]),
        valid_until=datetime.now(UTC) - timedelta(days=1) if how == "expired" else None,
    )
    if how == "changed":
        vendor.release.write_text(vendor.release.read_text().replace("Codename: stable", "Codename: stabil"))
    if how == "gone":
        vendor.release.unlink()


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        ("wrong key", "is not signed by its key"),
        ("changed", "is not signed by its key"),
        ("expired", "Release file is expired"),
        ("unsigned", "is not signed"),
        ("gone", "is not signed, or is none|no such folder"),
    ],
)
def test_a_bad_repository_fails_the_bake_before_packer_starts(
    tmp_path: Path, vendor: Vendor, served: str, keys: tuple[Key, Key], fake_tool: FakeTool, how: str, reason: str
) -> None:
    """Exit code 1, the reason in words, nothing in the output, and Packer was asked for nothing but its version."""
    spoil(vendor, keys, how)
    assert_refused(tmp_path, served, keys[0], fake_tool, reason)


def test_an_unreachable_host_fails_the_bake_before_packer_starts(
    tmp_path: Path, vendor: Vendor, keys: tuple[Key, Key], fake_tool: FakeTool
) -> None:
    """Nobody listens on its port any more."""
    with vendor.served() as url:
        pass
    assert_refused(tmp_path, url, keys[0], fake_tool, "cannot be reached")


def assert_refused(tmp_path: Path, url: str, key: Key, fake_tool: FakeTool, reason: str) -> None:
    asked = tmp_path / "asked"
    fake_tool("packer", f'echo "$@" >>{asked}; case $1 in version) echo Packer v1.6.6;; *) exit 9;; esac')
    role(tmp_path / "roles", url, key)
    (tmp_path / "spec.yaml").write_text(json.dumps(SPEC))
    argv = [sys.executable, "-m", "skyvypack", "bake", "--json", "--spec", tmp_path / "spec.yaml"]
    done = command.run([*argv, "--output", tmp_path / "out", "--cache", tmp_path / "cache"], check=False, timeout=240)
    assert done.returncode == 1, done.stdout + done.stderr
    error = json.loads(done.stdout)["error"]
    assert f"the repository vendor ({url}) cannot be used" in error["message"]
    assert re.search(reason, error["message"]), error["message"]
    assert [line for line in asked.read_text().splitlines() if not line.startswith("version")] == []
    assert not [path for path in (tmp_path / "out").glob("*") if not path.name.startswith(".")]


@pytest.mark.layer
def test_a_layer_takes_the_vendors_package_and_no_other(
    tmp_path: Path, vendor: Vendor, served: str, keys: tuple[Key, Key]
) -> None:
    """The pinned package comes from the vendor; its newer `tzdata` does not replace Debian's."""
    vendor.add("tzdata", "9999.9")
    vendor.publish(keys[0])
    spec = load(tmp_path, served, keys[0])
    few = "initramfs-tools\nlinux-image-cloud-amd64\nsystemd-resolved\nsystemd-sysv\ntzdata\nudev\nvendor-thing\nzstd\n"
    bundle = Bundle("qemu", "qemu", "1.6.6", recipe.layer_files(spec) | {"layer/packages.txt": few})
    with layers.ensure(bundle, spec, cache=tmp_path / "cache", progress=Progress()) as layer:
        found = dict(line.split("\t")[:2] for line in layer.packages.read_text().splitlines())
    assert found["vendor-thing"] == "2.0"
    assert found["tzdata"] != "9999.9"
    shutil.rmtree(tmp_path / "cache")


def test_a_repository_is_asked_for_nothing_without_need() -> None:
    """A spec without a vendor's repository asks no apt."""
    assert archives.check(()) == ""


def test_what_apt_says_that_nobody_knows_is_told_as_it_is(
    tmp_path: Path, keys: tuple[Key, Key], fake_tool: FakeTool
) -> None:
    """Its last error stands in the message."""
    fake_tool("apt-get", "echo 'E: Something new happened' >&2; exit 100")
    with pytest.raises(SkyvypackError, match="E: Something new happened"):
        archives.check(recipe.repositories(load(tmp_path, "http://127.0.0.1:9", keys[0])))
