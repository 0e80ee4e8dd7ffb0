"""Platforms that host guests: what is registered with them boots, from the bytes that they were sent."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import pytest
import yaml
from simulators import hypervisor
from simulators.lan import GUEST, lan, way_out

from skyvypack import artifact, command, disk, layers, ova, packer
from skyvypack.artifact import DiskFile
from skyvypack.progress import Progress
from skyvypack.render import render
from skyvypack.spec import load
from skyvypack.spec.model import Spec
from skyvypack.targets import equipped

QUICKSTART = Path(__file__).resolve().parents[2] / "examples" / "quickstart.yaml"
# The guests are emulated where there is no KVM, on a machine that does other things as well.
PATIENCE = 8

MakeSpec = Callable[..., Path]


@pytest.fixture(scope="session")
def template() -> Path:
    """A finished disk of examples/quickstart.yaml."""
    given = os.environ.get("SKYVYPACK_TEST_DISK")
    if not given:
        pytest.skip("SKYVYPACK_TEST_DISK names no finished qcow2 disk of examples/quickstart.yaml")
    return Path(given)


@pytest.fixture(scope="session")
def source(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A disk for Packer to clone."""
    return for_packer(template, tmp_path_factory.mktemp("source"))


def for_packer(template: Path, folder: Path) -> Path:
    """A finished disk with Debian's own sshd in place of ours.

    Packer 1.6.6 knows no key exchange that ours offers, but with `classical_key_exchange`.
    """
    raw = folder / "source.raw"
    disk.convert(template, raw, "raw", source_format="qcow2")
    root = max(disk.partitions(raw), key=lambda one: one.size)
    remove = ["-w", "-R", "rm /etc/ssh/sshd_config.d/00-skyvyos.conf", f"{raw}?offset={root.start}"]
    command.run(["debugfs", *remove])
    disk.convert(raw, folder / "source.qcow2", "qcow2")
    raw.unlink()
    return folder / "source.qcow2"


@pytest.fixture(scope="module")
def cache(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache with the quickstart's layer for the module's TARGET: the guests' network leads to no packages."""
    given = os.environ.get("SKYVYPACK_TEST_CACHE")
    folder = Path(given) if given else tmp_path_factory.mktemp("cache")
    spec = equipped(load(QUICKSTART), request.module.TARGET)
    with layers.ensure(render(spec, "qemu", packer.installed()), spec, cache=folder, progress=Progress()):
        return folder


@pytest.fixture
def network() -> Iterator[Path]:
    """The guests' network, in which the test and all that it starts is; what it tells leads back."""
    with lan() as before:
        yield before


@pytest.fixture
def roles(network: Path) -> Iterator[list[Any]]:
    """The quickstart's roles for a guest that Packer configures there: with a proxy, as it fetches packages."""
    with way_out(network) as proxy:
        named = yaml.safe_load(QUICKSTART.read_text())["roles"]
        yield [{"base": {"proxy": proxy}} if name == "base" else name for name in named]


@pytest.fixture
def spec_file(tmp_path: Path) -> MakeSpec:
    """Writes the quickstart's spec for a target: ``spec_file("proxmox", {…}, base={…})``."""

    def write(target: str, settings: Mapping[str, Any], **changes: Any) -> Path:
        text = yaml.safe_load(QUICKSTART.read_text())
        path = tmp_path / "skyvypack.yaml"
        path.write_text(yaml.safe_dump({**text, "targets": {target: dict(settings)}, **changes}))
        return path

    return write


def artifact_of(disk_file: Path, spec: Spec, target: str, folder: Path) -> Path:
    """The artifact that a bake of this disk for a target would have made."""
    folder.mkdir()
    made = folder / f"{spec.name}-{spec.version}.qcow2"
    shutil.copyfile(disk_file, made)
    if target == "vsphere":
        packed, stream = made.with_suffix(".ova"), folder / "disk.vmdk"
        disk.convert(made, stream, "vmdk", source_format="qcow2")
        ova.write(stream, packed, spec)
        made.unlink()
        stream.unlink()
        made = packed
    with made.open("rb") as handle:
        digest = hashlib.file_digest(handle, "sha256").hexdigest()
    described = DiskFile(made, made.suffix[1:], made.stat().st_size, digest)
    nothing: dict[str, Any] = {"inputs": {}, "packages": (), "timings": {}, "tools": {}, "accelerator": {}}
    artifact.write_manifest(folder, [described], spec, target, **nothing, checks=[])
    return folder


def facts(done: command.Done) -> dict[str, Any]:
    """What a verb told of a registration that went well, as JSON."""
    assert done.returncode == 0, done.stdout + done.stderr
    told: dict[str, Any] = json.loads(done.stdout)
    found: dict[str, Any] = told.get("registration", told)
    assert found["report"]["passed"]
    assert found["report"]["accelerator"] == GUEST, "proven over the address that the platform told"
    assert {"first boot", "after reboot"} <= {check["phase"] for check in found["report"]["checks"]}
    assert found["channel"] == "stable"
    assert found["left"] == []
    return found


def skyvypack(*words: str | Path, environment: Mapping[str, str], timeout: float = 2400) -> command.Done:
    """``python -m skyvypack``, as a user starts it; ends at once when a guest cannot go on.

    Raises:
        OSError, RuntimeError: a guest cannot go on.
        TimeoutError: it took too long.
    """
    argv = [sys.executable, "-m", "skyvypack", *map(str, words)]
    began = time.monotonic()
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        with command.start(argv, env=environment, stdout=output, stderr=errors) as process:
            while process.poll() is None:
                hypervisor.check()
                if time.monotonic() > began + timeout:
                    raise TimeoutError(f"no end after {timeout:.0f} s: {_read(errors)}")
                time.sleep(0.5)
        took = time.monotonic() - began
        return command.Done(tuple(argv), process.returncode, _read(output), _read(errors), took)


def _read(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode(errors="replace")


def spec_of(path: Path) -> Spec:
    """The spec in a file."""
    return load(path)
