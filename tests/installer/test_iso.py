"""`installer.sh`: Debian's installer remastered, here from small stand-ins made with the real xorriso."""

from __future__ import annotations

import gzip
import hashlib
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest
from fixture_types import FakeTool

from skyvypack import command, installer, iso, targets
from skyvypack.errors import InputError
from skyvypack.render import render
from skyvypack.spec import Spec
from skyvypack.spec.model import Base
from skyvypack.write import write

pytestmark = pytest.mark.tool

INFO = 'Debian GNU/Linux 13.1.0 "Trixie" - Official amd64 NETINST with firmware 20250906-10:22'
SPEC = Spec("web", "1.0.0", "trixie", ())


def disc(folder: Path, info: str = INFO, kernel: str = "kernel\n") -> Path:
    """A disc laid out like Debian's, with a boot sector and an EFI image of rubbish."""
    tree = folder / "disc"
    for path, data in {
        ".disk/info": info.encode() + b"\n",
        "install.amd/vmlinuz": kernel.encode(),
        "install.amd/initrd.gz": gzip.compress(b"Debian's own"),
        "isolinux/isolinux.bin": bytes(4096),
        "isolinux/isolinux.cfg": b"default menu\n",
        "boot/grub/grub.cfg": b"menuentry Debian {}\n",
        "boot/grub/efi.img": bytes(65536),
        "md5sum.txt": b"0  ./install.amd/initrd.gz\n",
    }.items():
        (tree / path).parent.mkdir(parents=True, exist_ok=True)
        (tree / path).write_bytes(data)
    image = folder / "debian.iso"
    bios = ["-b", "isolinux/isolinux.bin", "-no-emul-boot", "-boot-load-size", "4", "-boot-info-table"]
    uefi = ["-eltorito-alt-boot", "-e", "boot/grub/efi.img", "-no-emul-boot", "-isohybrid-gpt-basdat"]
    command.run(["xorriso", "-as", "mkisofs", "-quiet", "-o", image, "-r", "-J", *bios, *uefi, tree])
    return image


def bundle(folder: Path, source: Path, checksum: str = "", spec: Spec = SPEC) -> Path:
    """The files of a bundle for a source, with the build account that prepare.sh makes."""
    digest = checksum or "sha256:" + hashlib.sha256(source.read_bytes()).hexdigest()
    files = installer.bundle_files(replace(spec, base=Base("iso", url=str(source), checksum=digest)))
    files |= {"user-data": "#cloud-config\n", "meta-data": "{}\n", "build/vendor-data": "#cloud-config\n# key\n"}
    for path, text in files.items():
        (folder / "bundle" / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / "bundle" / path).write_text(text)
    return folder / "bundle"


def read(image: Path, path: str, folder: Path) -> bytes:
    found = folder / "read"
    found.unlink(missing_ok=True)
    command.run(["xorriso", "-osirrox", "on", "-indev", image, "-extract", path, found])
    return found.read_bytes()


def boot_report(image: Path) -> list[str]:
    """How a disc boots, but for where on it things are."""
    text = command.run(
        ["xorriso", "-indev", image, "-report_el_torito", "plain", "-report_system_area", "plain"]
    ).stdout
    kept = ("El Torito boot img", "El Torito img path", "System area summary")
    return [" ".join(line.split()[:-1]) for line in text.splitlines() if line.startswith(kept)]


def test_remastered(tmp_path: Path) -> None:
    """The disc boots as before, has one entry that starts by itself, and its initrd ends in our tree and the seed."""
    source = disc(tmp_path)
    output = iso.remaster(bundle(tmp_path, source), source, tmp_path / "out.iso", seed="build")
    assert boot_report(output) == boot_report(source)
    for menu in ("/isolinux/isolinux.cfg", "/boot/grub/grub.cfg"):
        text = read(output, menu, tmp_path).decode()
        assert "auto=true priority=critical" in text
        assert "timeout 10\n" in text or "timeout=1\n" in text
    initrd = gzip.decompress(read(output, "/install.amd/initrd.gz", tmp_path))
    assert initrd.startswith(b"Debian's own")
    for entry in (b"preseed.cfg\0", b"skyvyos/disks.sh\0", b"skyvyos/seed/vendor-data\0", b"# key\n"):
        assert entry in initrd
    listing = command.run(["xorriso", "-indev", output, "-find", "/"]).stdout
    assert "md5sum.txt" not in listing


def test_same_source_same_tree(tmp_path: Path) -> None:
    """What is added is a function of the bundle: no time of day and no owner of this host is in it."""
    source = disc(tmp_path)
    folder = bundle(tmp_path, source)
    initrds = []
    for name in ("one.iso", "two.iso"):
        output = iso.remaster(folder, source, tmp_path / name)
        initrds.append(read(output, "/install.amd/initrd.gz", tmp_path))
    assert initrds[0] == initrds[1]


@pytest.mark.parametrize(
    ("info", "reason"),
    [
        (INFO.replace("13.1.0", "12.9.0").replace("Trixie", "Bookworm"), "the spec wants Debian 13 (trixie) for amd64"),
        (INFO.replace("amd64", "arm64"), "the spec wants Debian 13 (trixie) for amd64"),
        ("Ubuntu 24.04", "the spec wants Debian 13 (trixie) for amd64"),
        (f"{INFO}, made by skyvypack", "give the installer of Debian that it was made from"),
    ],
)
def test_another_release_or_architecture(tmp_path: Path, info: str, reason: str) -> None:
    """Refused with what the disc says of itself; nothing is written."""
    source = disc(tmp_path, info)
    with pytest.raises(InputError) as caught:
        iso.remaster(bundle(tmp_path, source), source, tmp_path / "out.iso")
    assert reason in caught.value.message
    assert info in caught.value.message
    assert not list(tmp_path.glob("out.iso*"))


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("debian-installer-12-netboot-amd64", "the spec wants debian-installer-13-netboot-amd64 for trixie"),
        ("debian-installer-13-netboot-arm64", "the spec wants debian-installer-13-netboot-amd64 for trixie"),
        ("", "is no Debian package"),
    ],
)
def test_another_netboot_installer(tmp_path: Path, name: str, reason: str) -> None:
    """A package of another release or architecture, or none at all, is refused; nothing is written."""
    source = tmp_path / "installer.deb"
    source.write_bytes(b"rubbish")
    if name:
        control = tmp_path / "package" / "DEBIAN" / "control"
        control.parent.mkdir(parents=True)
        control.write_text(
            f"Package: {name}\nVersion: 1\nArchitecture: all\nMaintainer: A <a@example.org>\nDescription: x\n"
        )
        command.run(["dpkg-deb", "--build", control.parent.parent, source])
    with pytest.raises(InputError) as caught:
        iso.remaster(bundle(tmp_path, source), source, tmp_path / "out.iso")
    assert reason in caught.value.message
    assert name in caught.value.message
    assert not list(tmp_path.glob("out.iso*"))


def test_no_space(tmp_path: Path, fake_tool: FakeTool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk too full for the result is told before anything is made, with what is needed and what is free."""
    source = disc(tmp_path)
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    fake_tool("df", "echo Filesystem 1024-blocks Used Available; echo /dev/sda1 1000000 989760 10240")
    with pytest.raises(InputError, match=r"no space left in .*: \d+ MiB are needed, 10 are free"):
        iso.remaster(bundle(tmp_path, source), source, tmp_path / "out.iso")
    assert not list(tmp_path.glob("out.iso*"))
    assert not list(temporary.iterdir())


def test_disk_fills_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When writing fails in the middle, nothing half-made is left, neither of the result nor of the work."""
    source = disc(tmp_path)
    folder = bundle(tmp_path, source)
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    # No file may grow beyond 200 KiB: the initrd still fits, the disc does not.
    script = f'ulimit -f 200; trap "" XFSZ; exec sh installer.sh --seed build "{source}" "{tmp_path}/out.iso"'
    done = command.run(["bash", "-c", script], cwd=folder, check=False)
    assert done.returncode == 1, done.stderr
    assert not list(tmp_path.glob("out.iso*"))
    assert not list(temporary.iterdir())


def test_wrong_checksum(tmp_path: Path) -> None:
    """A source that is not what the spec says is refused with both digests."""
    source = disc(tmp_path)
    wrong = "sha256:" + "0" * 64
    with pytest.raises(InputError, match=f"is not what its checksum says: sha256:.*, expected {wrong}"):
        iso.remaster(bundle(tmp_path, source, wrong), source, tmp_path / "out.iso")
    assert not list(tmp_path.glob("out.iso*"))


def test_no_disc_at_all(tmp_path: Path) -> None:
    """A file that is no disc of Debian is refused in words."""
    source = tmp_path / "disk.iso"
    source.write_bytes(bytes(1 << 20))
    with pytest.raises(InputError, match="is no installer of Debian"):
        iso.remaster(bundle(tmp_path, source), source, tmp_path / "out.iso")


def test_what_is_served_instead(tmp_path: Path) -> None:
    """Where Debian's own installer is told to fetch its answers, they bring all the rest along, and never the key."""
    settings = {name: rule["default"] for name, rule in targets.settings_rules("proxmox").items()}
    base = Base("iso", url="local:iso/debian.iso", checksum="sha256:" + "0" * 64)
    spec = replace(SPEC, base=base, targets={"proxmox": settings | {"node": "pve1"}})
    folder = write(render(spec, "proxmox", "latest"), tmp_path / "bundle")
    command.run(["sh", "prepare.sh"], cwd=folder)
    served = folder / "build" / "http"
    assert {path.name for path in served.iterdir()} == {"preseed.cfg", "skyvyos.tar"}
    preseed = (served / "preseed.cfg").read_text()
    assert "preseed/early_command string preseed_fetch skyvyos.tar" in preseed
    with tarfile.open(served / "skyvyos.tar") as archive:
        names = set(archive.getnames())
        assert {"skyvyos/disks.sh", "skyvyos/seed/user-data", "skyvyos/seed/vendor-data"} <= names
        assert not any("id_ed25519" in name for name in names)
        assert {member.uid for member in archive.getmembers()} == {0}
    assert "PRIVATE KEY" not in (served / "skyvyos.tar").read_bytes().decode("latin-1")
    command.run(["debconf-set-selections", "-c", served / "preseed.cfg"])


def test_what_is_there_stays(tmp_path: Path) -> None:
    """An output that exists is left alone."""
    source = disc(tmp_path)
    (tmp_path / "out.iso").write_text("mine")
    with pytest.raises(InputError, match=r"out\.iso exists"):
        iso.remaster(bundle(tmp_path, source), source, tmp_path / "out.iso")
    assert (tmp_path / "out.iso").read_text() == "mine"
