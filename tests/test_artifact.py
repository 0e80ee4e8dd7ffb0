"""Artifacts: what the manifest says, which formats there are, and how a new one takes its place."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Callable, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import images
import pytest

from skyvypack import artifact, disk
from skyvypack.artifact import Artifact, DiskFile
from skyvypack.errors import BakeFailed, InputError
from skyvypack.inventory import Package
from skyvypack.progress import Event, Progress
from skyvypack.spec.model import Machine, Mirror, Spec, User

CANARY = "canary-7f3a"
SPEC = Spec("web", "1.0.0", "trixie", roles=(), machine=Machine(cpus=4, memory=3072))


SUDO = Package("sudo", "1.9-1", 6000, core=False, needs=(), provides=())


def make(folder: Path, content: str = "disk", spec: Spec = SPEC) -> Artifact:
    """An artifact with one small file in place of a disk."""
    folder.mkdir()
    path = folder / "web-1.0.0.qcow2"
    path.write_text(content)
    file = DiskFile(path, "qcow2", len(content), sha256(content.encode()).hexdigest())
    (folder / "logs").mkdir()
    (folder / "logs" / "console.log").write_text("login:")
    return artifact.write_manifest(
        folder,
        [file],
        spec,
        "qemu",
        inputs={"bundle": "b", "layer": "l"},
        packages=[SUDO],
        timings={"packer": 96.2},
        tools={"packer": "1.6.6"},
        accelerator={"name": "tcg", "reason": "no kvm"},
        checks=[{"name": "SSH-1", "outcome": "passed"}],
    )


def listing(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_manifest_says_everything(tmp_path: Path) -> None:
    """What was written is what is read, and files are named relative to the folder, so that it can be moved."""
    made = make(tmp_path / "a")
    (tmp_path / "a").rename(tmp_path / "moved")
    read = artifact.load(tmp_path / "moved")
    assert read.manifest == made.manifest
    assert read.file("qcow2").path == tmp_path / "moved" / "web-1.0.0.qcow2"
    assert (read.name, read.version, read.target, read.manifest["debian"]) == ("web", "1.0.0", "qemu", "trixie")
    assert read.manifest["contents"] == ["logs/console.log", "manifest.json", "web-1.0.0.qcow2"]
    assert read.manifest["packages"] == [{"name": "sudo", "version": "1.9-1", "kib": 6000}]
    assert read.manifest["sizes"]["(spec)"] == {"packages": 1, "kib": 6000}


def test_manifest_holds_no_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys, users, mirror passwords and the environment stay out of it."""
    monkeypatch.setenv("SKYVYPACK_TOKEN", CANARY)
    spec = Spec(
        "web",
        "1.0.0",
        "trixie",
        roles=(),
        mirror=Mirror(main=f"http://me:{CANARY}@mirror.example/debian"),
        users=(User(CANARY, ssh_authorized_keys=(f"ssh-ed25519 {CANARY}",)),),
        targets={"qemu": {"password": CANARY}},
    )
    make(tmp_path / "a", spec=spec)
    assert CANARY not in (tmp_path / "a" / "manifest.json").read_text()


def test_missing_format(tmp_path: Path) -> None:
    """Asking for a format that was not made names those that were."""
    with pytest.raises(InputError, match="no vmdk disk") as caught:
        make(tmp_path / "a").file("vmdk")
    assert "qcow2" in caught.value.hint


Change = Callable[[dict[str, Any]], object]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda manifest: manifest.update(schema=2), "schema 1"),
        (lambda manifest: manifest.pop("inputs"), "inputs"),
        (lambda manifest: manifest.update(files={}), "files"),
        (lambda manifest: manifest.update(files=["x"]), r"files\[0\]"),
        (lambda manifest: manifest["files"][0].update(path="../../etc/passwd"), r"files\[0\].path"),
        (lambda manifest: manifest["files"][0].update(size="4"), r"files\[0\].size"),
        (lambda manifest: manifest["files"][0].update(size=5), "has 4 bytes, the manifest says 5"),
        (lambda manifest: manifest["files"][0].update(path="gone"), "gone is missing"),
    ],
)
def test_broken_manifest(tmp_path: Path, change: Change, reason: str) -> None:
    """A manifest that is not whole is refused with the reason."""
    make(tmp_path / "a")
    path = tmp_path / "a" / "manifest.json"
    manifest = json.loads(path.read_text())
    change(manifest)
    path.write_text(json.dumps(manifest))
    with pytest.raises(InputError, match=reason):
        artifact.load(tmp_path / "a")


@pytest.mark.parametrize("text", [None, "", "[]", "{", "\udcff"])
def test_no_manifest(tmp_path: Path, text: str | None) -> None:
    """A folder without a readable manifest is no artifact; nor is a path that is not there."""
    if text is not None:
        (tmp_path / "manifest.json").write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(InputError, match="is no artifact"):
        artifact.load(tmp_path)
    with pytest.raises(InputError, match="is no artifact"):
        artifact.load(tmp_path / "nowhere")


@pytest.mark.parametrize("empty_folder", [False, True])
def test_publish(tmp_path: Path, empty_folder: bool) -> None:
    """A finished artifact takes a place that is free, or an empty folder."""
    make(tmp_path / ".new")
    if empty_folder:
        (tmp_path / "final").mkdir()
    published = artifact.publish(tmp_path / ".new", tmp_path / "final", replace=False)
    assert published.folder == tmp_path / "final"
    assert [path.name for path in tmp_path.iterdir() if path.name != "cache"] == ["final"]


def test_publish_refuses_another(tmp_path: Path) -> None:
    """A different artifact stays unless it is to be replaced; then nothing of it is left."""
    make(tmp_path / "final", "old")
    make(tmp_path / ".new", "new")
    with pytest.raises(InputError, match="another artifact") as caught:
        artifact.publish(tmp_path / ".new", tmp_path / "final", replace=False)
    assert "--force" in caught.value.hint
    assert (tmp_path / "final" / "web-1.0.0.qcow2").read_text() == "old"
    artifact.publish(tmp_path / ".new", tmp_path / "final", replace=True)
    assert (tmp_path / "final" / "web-1.0.0.qcow2").read_text() == "new"
    assert {path.name for path in tmp_path.iterdir()} - {"cache"} == {"final"}


def test_publish_the_same(tmp_path: Path) -> None:
    """An artifact with the same disks may always take its place."""
    make(tmp_path / "final")
    make(tmp_path / ".new")
    assert artifact.publish(tmp_path / ".new", tmp_path / "final", replace=False).folder == tmp_path / "final"


def _file(final: Path) -> None:
    final.write_text("mine")


def _folder(final: Path) -> None:
    final.mkdir()
    (final / "thesis.txt").write_text("mine")


def _with_notes(final: Path) -> None:
    make(final)
    (final / "notes.txt").write_text("mine")


def _link(final: Path) -> None:
    make(final.with_name("elsewhere"))
    final.symlink_to("elsewhere")


@pytest.mark.parametrize("standing", [_file, _folder, _with_notes, _link])
def test_publish_leaves_what_is_not_ours(tmp_path: Path, standing: Callable[[Path], None]) -> None:
    """A file, a folder of something else, an artifact with the user's notes in it and a link are never replaced."""
    final = tmp_path / "final"
    standing(final)
    before = final.read_text() if final.is_file() else listing(final)
    make(tmp_path / ".new", "new")
    with pytest.raises(InputError, match="final"):
        artifact.publish(tmp_path / ".new", final, replace=True)
    assert (final.read_text() if final.is_file() else listing(final)) == before
    assert artifact.load(tmp_path / ".new")


def test_half_made_is_never_published(tmp_path: Path) -> None:
    """Without a manifest, or with a disk that was cut short, nothing is moved."""
    make(tmp_path / "final", "old")
    make(tmp_path / ".new", "new")
    (tmp_path / ".new" / "web-1.0.0.qcow2").write_text("n")
    with pytest.raises(InputError, match="has 1 bytes"):
        artifact.publish(tmp_path / ".new", tmp_path / "final", replace=True)
    assert (tmp_path / "final" / "web-1.0.0.qcow2").read_text() == "old"


@pytest.mark.parametrize("failing", [1, 2])
@pytest.mark.parametrize("how", [OSError(5, "Input/output error"), KeyboardInterrupt()])
def test_failing_swap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: int, how: BaseException) -> None:
    """Whichever rename fails or is interrupted, the earlier artifact is back in its place."""
    make(tmp_path / "final", "old")
    make(tmp_path / ".new", "new")
    rename, calls = Path.rename, []

    def fail(self: Path, target: Path) -> Path:
        calls.append(target)
        if len(calls) == failing:
            raise how
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", fail)
    with pytest.raises(KeyboardInterrupt if isinstance(how, KeyboardInterrupt) else BakeFailed):
        artifact.publish(tmp_path / ".new", tmp_path / "final", replace=True)
    assert (tmp_path / "final" / "web-1.0.0.qcow2").read_text() == "old"
    assert artifact.load(tmp_path / ".new")


@pytest.mark.parametrize("killed_after", [1, 2])
def test_recover_from_kill(tmp_path: Path, killed_after: int) -> None:
    """After a kill between the renames the old one comes back; after both, only the new one is left."""
    make(tmp_path / ".final.old", "old")
    if killed_after == 2:
        make(tmp_path / "final", "new")
    artifact.recover(tmp_path / "final")
    expected = "old" if killed_after == 1 else "new"
    assert (tmp_path / "final" / "web-1.0.0.qcow2").read_text() == expected
    assert not (tmp_path / ".final.old").exists()


def test_unknown_format(tmp_path: Path) -> None:
    """A format nobody knows is refused before anything is written."""
    with pytest.raises(InputError, match="unknown disk format iso"):
        artifact.write_formats(tmp_path / "raw", tmp_path, ["qcow2", "iso"], SPEC, Progress())


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return images.disk(tmp_path_factory.mktemp("raw"), images.CLEAN)


@pytest.mark.tool
def test_packages(raw: Path) -> None:
    """Installed packages are read from the disk itself; removed ones are not among them."""
    assert [(package.name, package.version) for package in artifact.packages(raw)] == [("sudo", "1.9-1")]


@pytest.mark.tool
def test_all_formats(raw: Path, tmp_path: Path) -> None:
    """Every format is made, described truly, and progress ends at the whole."""
    events: list[Event] = []
    files = artifact.write_formats(raw, _new(tmp_path), artifact.FORMATS, SPEC, Progress(events.append))
    assert [file.format for file in files] == list(artifact.FORMATS)
    for file in files:
        assert file.path.name == f"web-1.0.0.{file.format}"
        assert (file.size, file.sha256) == (file.path.stat().st_size, disk.sha256(file.path))
    fractions = [event.fraction for event in events if event.kind == "advance" and event.fraction is not None]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1.0


def _new(tmp_path: Path) -> Path:
    folder = tmp_path / "out"
    folder.mkdir()
    return folder


@pytest.mark.tool
def test_ova(raw: Path, tmp_path: Path) -> None:
    """An OVA is descriptor, manifest and disk in this order; digests, sizes and hardware are right; no vmdk is left."""
    folder = _new(tmp_path)
    (file,) = artifact.write_formats(raw, folder, ["ova"], SPEC, Progress())
    assert listing(folder) == {"web-1.0.0.ova"}
    with tarfile.open(file.path) as archive:
        assert archive.getnames() == ["web-1.0.0.ovf", "web-1.0.0.mf", "web-1.0.0.vmdk"]
        archive.extractall(folder, filter="data")
    for line in (folder / "web-1.0.0.mf").read_text().splitlines():
        name, digest = line.removeprefix("SHA256(").split(")= ")
        assert disk.sha256(folder / name) == digest
    vmdk = folder / "web-1.0.0.vmdk"
    facts = _facts(folder / "web-1.0.0.ovf")
    assert (facts["href"], facts["size"], facts["capacity"]) == (
        "web-1.0.0.vmdk",
        str(vmdk.stat().st_size),
        str(disk.info(vmdk)["virtual-size"]),
    )
    assert facts["hardware"] == {"3": "4", "4": "3072", "6": "VirtualSCSI", "10": "VmxNet3", "17": None}
    assert (facts["firmware"], facts["osType"]) == ("efi", "debian12_64Guest")


def _facts(ovf: Path) -> Mapping[str, Any]:
    space = {
        "ovf": "http://schemas.dmtf.org/ovf/envelope/1",
        "rasd": "http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_ResourceAllocationSettingData",
        "vmw": "http://www.vmware.com/schema/ovf",
    }
    root = ElementTree.parse(ovf).getroot()
    attributes = {
        name.rpartition("}")[2]: value
        for tag in ("File", "Disk", "OperatingSystemSection")
        for name, value in root.find(f".//ovf:{tag}", space).attrib.items()  # type: ignore[union-attr]
    }
    config = {
        item.get(f"{{{space['vmw']}}}key"): item.get(f"{{{space['vmw']}}}value")
        for item in root.iter(f"{{{space['vmw']}}}Config")
    }
    hardware = {
        item.findtext("rasd:ResourceType", "", space): item.findtext("rasd:ResourceSubType", None, space)
        or item.findtext("rasd:VirtualQuantity", None, space)
        for item in root.iter(f"{{{space['ovf']}}}Item")
    }
    return {**attributes, **config, "hardware": hardware}
