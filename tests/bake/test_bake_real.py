"""What only a real Packer with a real guest shows of a bake that is stopped; all else is in test_bake_stopped.py."""

from __future__ import annotations

import json
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import guests
import pytest
from fake_host import Host, Mirror, contents, living, until
from tidy import is_dead

from skyvypack import disk

pytestmark = pytest.mark.boot


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    """A host with an artifact, whose layer has been replaced by a real one, and Packer and QEMU by the real ones."""
    source = guests.layer()
    mirror = Mirror()
    host = Host(tmp_path, mirror)
    spec = host.folder / "skyvypack.yaml"
    size = disk.info(source / "disk.qcow2")["virtual-size"] >> 30
    spec.write_text(spec.read_text().replace("disk: 4", f"disk: {size}"))
    code, said = host.bake("--no-verify")
    assert code == 0, said
    (layer,) = (host.cache / "layers").iterdir()
    for name in ("disk.qcow2", "vmlinuz", "initrd.img"):
        shutil.copyfile(source / name, layer / name)
    facts = json.loads((layer / "layer.json").read_text())
    facts["digest"] = disk.sha256(layer / "disk.qcow2")
    (layer / "layer.json").write_text(json.dumps(facts))
    for name in ("packer", "qemu-system-x86_64", "qemu-img"):
        (host.tools / name).unlink()
    yield host
    mirror.stop()


def strike(host: Host, number: signal.Signals) -> tuple[int, list[str]]:
    """Send a signal to a bake whose guest's kernel speaks; returns its exit code and its runs' ids."""
    console = host.output / f".{host.final.name}.partial" / "logs" / "bake-console.log"
    process = host.start("--force", "--no-verify")
    try:
        until(lambda: console.is_file() and "Linux version" in console.read_text(errors="replace"), 90)
        marks = host.marks()
        assert "qemu-system-x86" in programs(marks)
        process.send_signal(number)
        return process.wait(60), marks
    finally:
        process.kill()


def programs(marks: list[str]) -> set[str]:
    """Names of the processes of these runs, as the kernel cuts them off."""
    return {Path(f"/proc/{process}/comm").read_text().strip() for process in living(marks)}


def test_no_guest_outlives_a_stopped_bake(host: Host) -> None:
    """Ctrl-C ends the guest that Packer boots, and so does the bake after a kill -9; the artifact never changes."""
    before = contents(host.final)
    code, marks = strike(host, signal.SIGINT)
    assert code == 130
    assert is_dead(marks)
    assert not host.marks()
    code, marks = strike(host, signal.SIGKILL)
    code, said = host.bake("--no-verify")
    assert (code, "Nothing changed" in said) == (0, True)
    assert is_dead(marks)
    assert not host.marks()
    assert contents(host.final) == before
    assert sorted(path.name for path in host.output.iterdir()) == [f".{host.final.name}.lock", host.final.name]
