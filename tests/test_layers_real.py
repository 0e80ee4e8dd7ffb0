"""Real layers, of the few packages that layer.sh itself needs: what is on the disk, and what a killed run leaves."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from skyvypack import command, layers, mirrors, recipe, runs
from skyvypack.bundle import Bundle
from skyvypack.errors import BakeFailed
from skyvypack.progress import Progress
from skyvypack.spec.model import Machine, Mirror, Spec

pytestmark = pytest.mark.layer

SPEC = Spec(name="tiny", version="1.0.0", debian="trixie", roles=(), machine=Machine(disk=2))
PACKAGES = "initramfs-tools\nlinux-image-cloud-amd64\nopenssh-server\nsystemd-resolved\nsystemd-sysv\nudev\nzstd\n"
ROOT_OFFSET = 66 << 20
# What a process of its own does: make or find the layer, and say whether it was cached.
ENSURE = """
import sys
from pathlib import Path
sys.path[:0] = [sys.argv[1]]
from test_layers_real import ensure
print(ensure(Path(sys.argv[2])).cached, flush=True)
"""


def bundle(packages: str = PACKAGES) -> Bundle:
    return Bundle("qemu", "qemu", "1.6.6", recipe.layer_files(SPEC) | {"layer/packages.txt": packages})


def ensure(cache: Path, packages: str = PACKAGES, *, force: bool = False) -> layers.Layer:
    return layers.ensure(bundle(packages), SPEC, cache=cache, progress=Progress(), force=force)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One cache for all tests here, so that packages are downloaded once."""
    return tmp_path_factory.mktemp("layers")


@pytest.fixture(scope="module")
def layer(cache: Path) -> Iterator[layers.Layer]:
    """A real layer."""
    with ensure(cache) as made:
        yield made


@pytest.fixture(scope="module")
def raw(layer: layers.Layer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its disk, raw."""
    path = tmp_path_factory.mktemp("raw") / "disk.raw"
    command.run(["qemu-img", "convert", "-O", "raw", layer.disk, path])
    return path


def debugfs(raw: Path, request: str) -> str:
    done = command.run(["debugfs", "-R", request, f"{raw}?offset={ROOT_OFFSET}"])
    return done.stdout + done.stderr.partition("\n")[2]


def test_the_disk_has_one_table_with_three_partitions(raw: Path) -> None:
    """GPT with BIOS boot, ESP and a root that fills the rest; both filesystems are found by label."""
    table = json.loads(command.run(["sfdisk", "-J", raw]).stdout)["partitiontable"]
    assert (table["label"], [part["name"] for part in table["partitions"]]) == ("gpt", ["bios", "ESP", "root"])
    assert [part["size"] for part in table["partitions"][:2]] == [2048, 64 * 2048]
    assert raw.stat().st_size == 2 << 30
    end = table["partitions"][2]["start"] + table["partitions"][2]["size"]
    assert (2 << 30) // 512 - end <= 2048
    for part, label in ((1, "ESP"), (2, "root")):
        offset = table["partitions"][part]["start"] * 512
        found = command.run(["blkid", "--probe", "--offset", str(offset), "-s", "LABEL", "-o", "value", raw])
        assert found.stdout.strip() == label


def test_root_is_a_sound_filesystem_that_old_grubs_read(raw: Path) -> None:
    """fsck finds nothing, and no feature is on that GRUB of bookworm does not know."""
    command.run(["e2fsck", "-fn", f"{raw}?offset={ROOT_OFFSET}"])
    features = debugfs(raw, "features").split()
    assert "metadata_csum" in features
    assert not {"metadata_csum_seed", "orphan_file"} & set(features)


def test_the_tree_has_no_identity_and_nothing_of_the_build(raw: Path) -> None:
    """machine-id is empty, there are no host keys, apt lists, downloads, logs or files of this host."""
    assert "Size: 0" in debugfs(raw, "stat /etc/machine-id")
    assert "ssh_host_" not in debugfs(raw, "ls -p /etc/ssh")
    for folder in ("/var/lib/apt/lists", "/var/cache/apt", "/tmp", "/run"):
        assert {line.split("/")[5] for line in debugfs(raw, f"ls -p {folder}").splitlines() if "/" in line} <= {
            ".",
            "..",
        }
    for path in ("/etc/hostname", "/etc/apt/sources.list", "/etc/apt/apt.conf.d/99mmdebstrap", "/var/log/dpkg.log"):
        assert "File not found" in debugfs(raw, f"stat {path}")
    assert "stub-resolv.conf" in debugfs(raw, "stat /etc/resolv.conf")


def test_the_tree_is_owned_by_its_own_users(raw: Path) -> None:
    """Owners and modes are Debian's: shadow belongs to root and group shadow."""
    assert "User:     0   Group:    42" in debugfs(raw, "stat /etc/shadow")
    assert "Mode:  04755" in debugfs(raw, "stat /usr/bin/su")


def test_apt_sources_are_deb822_and_signed(raw: Path) -> None:
    """The template's apt has the sources it was made from, with Debian's key alone."""
    text = debugfs(raw, "cat /etc/apt/sources.list.d/debian.sources")
    assert text.count("Types: deb\n") == text.count(f"Signed-By: {recipe.KEYRING}\n") == 2
    assert "Suites: trixie-security\n" in text
    assert "Type: regular" in debugfs(raw, f"stat {recipe.KEYRING}") or "symlink" in debugfs(
        raw, f"stat {recipe.KEYRING}"
    )


def test_the_initramfs_has_every_targets_drivers(layer: layers.Layer) -> None:
    """Disks of VMware, Hyper-V, SATA, IDE and KVM are found before root is mounted; NVMe is in the kernel itself."""
    # trixie puts modules, which are compressed already, into an archive that is not.
    archive = layer.initrd.read_bytes()
    for module in ("vmw_pvscsi", "hv_storvsc", "ahci", "ata_piix", "virtio_scsi", "virtio_blk", "vmxnet3", "ena"):
        assert f"/{module}.ko".encode() in archive, module


def test_no_driver_is_loaded_where_its_device_is_not(raw: Path) -> None:
    """initramfs-tools loads what its file of modules names, at every boot; ours are in the initramfs by a hook."""
    named = debugfs(raw, "cat /etc/initramfs-tools/modules").splitlines()
    assert [line for line in named if line.strip() and not line.startswith("#")] == []
    assert "Mode:  0755" in debugfs(raw, "stat /etc/initramfs-tools/hooks/skyvyos-drivers")


def test_packages_are_listed_with_version_and_size(layer: layers.Layer) -> None:
    """Three columns, one line for each package that is installed."""
    rows = [line.split("\t") for line in layer.packages.read_text().splitlines()]
    assert {"openssh-server", "systemd-sysv", "apt"} <= {row[0] for row in rows}
    assert all(len(row) == 3 and row[1] and row[2].isdigit() for row in rows)


def test_the_same_inputs_give_the_same_bytes(layer: layers.Layer, cache: Path, tmp_path: Path) -> None:
    """Made again elsewhere with the packages that were kept, the disk has the same digest."""
    (tmp_path / "debs").mkdir()
    shutil.copytree(cache / "debs", tmp_path / "debs", dirs_exist_ok=True)
    with ensure(tmp_path) as again:
        assert (again.cached, again.key, again.digest) == (False, layer.key, layer.digest)


@pytest.fixture
def ordinary_user() -> Iterator[tuple[str, Path]]:
    """An account with a range of ids, and a folder of its own; both gone afterwards."""
    if os.geteuid() or not command.which("newuidmap"):
        pytest.skip("needs root to make an account, and newuidmap")
    name = "skyvypack-test"
    subprocess.run(["useradd", "--system", "--add-subids-for-system", name], check=True)
    folder = Path(tempfile.mkdtemp(prefix="skyvypack-", dir="/var/tmp"))
    shutil.chown(folder, name)
    yield name, folder
    shutil.rmtree(folder)
    subprocess.run(["userdel", name], check=True)


def test_an_ordinary_user_makes_the_same_layer(
    layer: layers.Layer, cache: Path, ordinary_user: tuple[str, Path]
) -> None:
    """Without root the disk is the same to the byte, owners included, and nothing else is left."""
    name, folder = ordinary_user
    for path, text in bundle().files.items():
        (folder / path).parent.mkdir(exist_ok=True)
        (folder / path).write_text(text)
    sources = mirrors.sources(SPEC)
    (folder / "sources").write_text(sources.text)
    (folder / "tmp").mkdir(mode=0o700)
    shutil.copytree(cache / "debs", folder / "debs")
    for path in (folder, *folder.rglob("*")):
        shutil.chown(path, name)
    env = {
        "LAYER_SOURCES": f"{folder}/sources",
        "LAYER_DEBS": f"{folder}/debs",
        "SOURCE_DATE_EPOCH": str(mirrors.freshness(sources).epoch),
        "TMPDIR": f"{folder}/tmp",
    }
    variables = [f"{key}={value}" for key, value in env.items()]
    command.run(["runuser", "-u", name, "--", "env", *variables, "sh", f"{folder}/layer.sh", f"{folder}/out"])
    digest = hashlib.sha256((folder / "out" / "disk.qcow2").read_bytes()).hexdigest()
    assert digest == layer.digest
    assert list((folder / "tmp").iterdir()) == []


def test_after_a_kill_two_at_once_make_it_once(layer: layers.Layer, cache: Path, tmp_path: Path) -> None:
    """kill -9 leaves no process and no mount; of two runs after it one makes the layer, both use it."""
    shutil.copytree(cache / "debs", tmp_path / "debs")
    argv = [sys.executable, "-c", ENSURE, str(Path(__file__).parent), str(tmp_path)]
    killed = subprocess.Popen(argv)
    while not list((tmp_path / "layers").glob(".*.part/layer.*/tree/var/lib/dpkg/info/*")):
        assert killed.poll() is None
        time.sleep(0.2)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    _wait_for_no_process_of(tmp_path)
    assert str(tmp_path) not in Path("/proc/mounts").read_text()
    both = [subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    assert sorted(process.communicate()[0].strip() for process in both) == ["False", "True"]
    assert [path.name for path in (tmp_path / "layers").iterdir()] == [layer.key]
    assert runs.reap(tmp_path / "runs") == []


def _wait_for_no_process_of(folder: Path) -> None:
    """Processes that work for the killed run end by themselves, within seconds."""
    deadline = time.monotonic() + 10
    while found := command.run(["pgrep", "-f", str(folder)], check=False).stdout.split():
        assert time.monotonic() < deadline, found
        time.sleep(0.2)


def test_a_dead_mirror_and_an_unknown_package_are_explained(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What apt says under mmdebstrap becomes one sentence, and nothing is left."""
    before = sorted((cache / "layers").iterdir()) if (cache / "layers").is_dir() else []
    with pytest.raises(BakeFailed, match="Debian has no package skyvypack-no-such"):
        ensure(cache, PACKAGES + "skyvypack-no-such\n")
    # A mirror that dies between the question and the build.
    dead = mirrors.sources(Spec("a", "1", "trixie", (), mirror=Mirror("http://127.0.0.1:9/d", "http://127.0.0.1:9/s")))
    monkeypatch.setattr(mirrors, "sources", lambda _: dead)
    monkeypatch.setattr(mirrors, "freshness", lambda _: mirrors.Freshness("dead", 1754049600))
    with pytest.raises(BakeFailed, match=r"cannot reach 127\.0\.0\.1:9") as failed:
        ensure(cache)
    assert "mirror" in failed.value.hint
    assert sorted((cache / "layers").iterdir()) == before
