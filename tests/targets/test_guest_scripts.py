"""apply.sh and write-disk.sh, on fake machines."""

from __future__ import annotations

import gzip
import os
import subprocess
from pathlib import Path

import pytest
import yaml
from fixture_types import FakeTool

from skyvypack import assets

SCRIPTS = assets.builders() / "shared" / "scripts"


def run(name: str, *changes: tuple[str, str]) -> subprocess.CompletedProcess[str]:
    """A script with some of its paths replaced."""
    text = (SCRIPTS / name).read_text()
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    return subprocess.run(["sh", "-c", text], capture_output=True, text=True, timeout=20, env=os.environ)


@pytest.fixture
def handed(tmp_path: Path, fake_tool: FakeTool) -> list[tuple[str, str]]:
    """What apply.sh finds and where it puts it, in a folder of this test."""
    for folder in ("tmp", "etc/cloud/cloud.cfg.d"):
        (tmp_path / folder).mkdir(parents=True)
    fake_tool("cloud-init", f'echo "$*" >> {tmp_path}/called')
    fake_tool("systemctl", f'echo "$*" >> {tmp_path}/called')
    places = [(f"{path}/", f"{tmp_path}{path}/") for path in ("/tmp", "/etc/cloud")]
    return [*places, ("/var/lib/cloud", f"{tmp_path}/cloud"), ("sleep 300", "")]


def test_apply_hands_over_and_restarts(tmp_path: Path, handed: list[tuple[str, str]]) -> None:
    """The three files become cloud-init's seed, for root alone, its old state goes, and the guest restarts."""
    for name in ("user-data", "meta-data", "vendor-data"):
        (tmp_path / "tmp" / name).write_text(name)
    done = run("apply.sh", *handed)
    assert done.returncode == 0, done.stdout + done.stderr
    seed = tmp_path / "cloud" / "seed" / "nocloud"
    assert {path.name: path.read_text() for path in seed.iterdir()} == {
        name: name for name in ("user-data", "meta-data", "vendor-data")
    }
    assert {path.stat().st_mode & 0o777 for path in seed.iterdir()} == {0o600}
    assert (tmp_path / "called").read_text().splitlines() == ["clean --logs", "reboot"]
    assert not list((tmp_path / "tmp").iterdir())
    config = (tmp_path / "etc/cloud/cloud.cfg.d/99-skyvypack-bake.cfg").read_text()
    assert yaml.safe_load(config)["datasource_list"] == ["NoCloud"]
    assert yaml.safe_load(config)["datasource"]["NoCloud"]["fs_label"] is None, "a disc with data would win over it"


def test_apply_without_data_does_not_restart(tmp_path: Path, handed: list[tuple[str, str]]) -> None:
    """A file that did not arrive ends the build with words, not with a guest that nobody configures."""
    (tmp_path / "tmp" / "user-data").write_text("x")
    done = run("apply.sh", *handed)
    assert done.returncode != 0
    assert "skyvypack: error: the configuration could not be handed to cloud-init" in done.stdout
    assert "reboot" not in (tmp_path / "called").read_text()


def test_seal_takes_away_what_was_handed_over() -> None:
    """The bake's own list of datasources does not stay in the template."""
    assert "rm -f /etc/cloud/cloud.cfg.d/99-skyvypack-bake.cfg\n" in (SCRIPTS / "seal.sh").read_text()


class Volumes:
    """Disks that lsblk knows of."""

    def __init__(self, folder: Path, fake_tool: FakeTool) -> None:
        self.folder = folder
        fake_tool("udevadm", "exit 0")
        fake_tool("sleep", "exit 0")
        # Its arguments end with the disk, or list all; a file beside each says what is on it.
        fake_tool(
            "lsblk",
            f"""case "$*" in
            *NAME,TYPE*) for d in {folder}/*.disk; do [ -e "$d" ] && echo "$d disk"; done; exit 0 ;;
            *FSTYPE*) for last; do :; done; cat "$last.has" ;;
            *SIZE*) for last; do :; done; stat -c %s "$last" ;;
            *) for last; do :; done; echo "$last"; cat "$last.parts" ;;
            esac""",
        )

    def add(self, name: str, size: int, *, has: str = "", parts: str = "") -> Path:
        disk = self.folder / f"{name}.disk"
        disk.write_bytes(bytes(size))
        disk.with_name(f"{disk.name}.has").write_text(has)
        disk.with_name(f"{disk.name}.parts").write_text(parts)
        return disk


@pytest.fixture
def volumes(tmp_path: Path, fake_tool: FakeTool) -> Volumes:
    return Volumes(tmp_path, fake_tool)


def write_disk(folder: Path, data: bytes) -> subprocess.CompletedProcess[str]:
    (folder / "disk.raw.gz").write_bytes(gzip.compress(data))
    return run("write-disk.sh", ("/home/packer/disk.raw.gz", f"{folder}/disk.raw.gz"), ("seq 60", "seq 2"))


def test_the_empty_volume_is_written(tmp_path: Path, volumes: Volumes) -> None:
    """The disk is written to the volume that has nothing, with its zeros, and its file goes."""
    root = volumes.add("root", 8 << 20, parts="root1\n")
    empty = volumes.add("empty", 8 << 20)
    data = bytes(5 << 20) + os.urandom(4096) + bytes(512)
    done = write_disk(tmp_path, data)
    assert done.returncode == 0, done.stdout + done.stderr
    assert empty.read_bytes()[: len(data)] == data
    assert not any(root.read_bytes())
    assert not (tmp_path / "disk.raw.gz").exists()


@pytest.mark.parametrize(
    ("disks", "words"),
    [
        ({"root": {"parts": "root1\n"}}, "found: none"),
        ({"a": {}, "b": {}}, "a.disk"),
        ({"data": {"has": "ext4 /srv\n"}}, "found: none"),
        ({"small": {"size": 1 << 10}}, "only 1024"),
    ],
    ids=["no-empty", "two-empty", "mounted", "too-small"],
)
def test_nothing_is_written_in_doubt(tmp_path: Path, volumes: Volumes, disks: dict[str, dict], words: str) -> None:
    """None, several or too small: the script says so, and writes nowhere."""
    made = [volumes.add(name, **({"size": 1 << 20} | about)) for name, about in disks.items()]
    done = write_disk(tmp_path, b"x" * 2048)
    assert done.returncode == 1
    assert words in done.stdout
    assert "error: the disk could not be written" in done.stdout
    assert not any(any(disk.read_bytes()) for disk in made)
