"""A disc laid out as Debian's netinst, made from a netboot installer: it holds its own parts and a base system.

Its installer reads from the disc instead of the network, by the same components as Debian's. It boots as Debian's does:
isolinux under BIOS, an EFI image under UEFI, and both from a stick.
"""

from __future__ import annotations

import gzip
import hashlib
import lzma
import re
import shutil
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePath

from later import INDEX, Fields, paragraphs
from mirror import WINDOWS, Overlay

from skyvypack import command

# What finds the disc and reads from it; in Debian's netinst they are in the initrd as well.
_FROM_DISC = ("cdrom-detect", "cdrom-retriever", "load-cdrom")
_DRIVERS = ("cdrom-core-modules", "isofs-modules", "ata-modules", "sata-modules")
# What a netboot installer has in their place.
_FROM_NETWORK = ("choose-mirror", "download-installer", "net-retriever")
_UNMERGED = ("bin", "lib", "sbin")
_GRUB = "search --no-floppy --set=root --file /.disk/info\nconfigfile ($root)/boot/grub/grub.cfg\n"
_RELEASE = "Origin: Debian\nLabel: Debian\nSuite: stable\nCodename: {suite}\nArchitectures: amd64\nComponents: main\n"


def make(overlay: Overlay, netboot: Path, number: str, output: Path) -> Path:
    """Make the disc.

    Args:
        overlay: made; its index names the components, and its mirror has the packages.
        netboot: where `Netboot.read` has unpacked the installer.
        number: of the release, for the disc's name.
        output: the ISO to make; a folder beside it holds what goes on it.
    """
    disc = output.with_suffix("")
    held, components = _components(overlay, disc)
    base = _base(overlay, disc)
    _release(overlay.suite, disc, {INDEX.removesuffix(".xz"): held + components, "main/binary-amd64/Packages": base})
    (disc / ".disk").mkdir()
    info = f'Debian GNU/Linux {number}.0 "{overlay.suite.title()}" - amd64 NETINST, made by a test'
    for name, text in {"info": info, "base_installable": "", "base_components": "main"}.items():
        (disc / ".disk" / name).write_text(f"{text}\n" if text else "")
    (disc / "install.amd").mkdir()
    (kernel,) = netboot.rglob("linux")
    (initrd,) = netboot.rglob("initrd.gz")
    shutil.copyfile(kernel, disc / "install.amd" / "vmlinuz")
    shutil.copyfile(initrd, disc / "install.amd" / "initrd.gz")
    _add(disc, components, output.with_suffix(".tree"), (netboot / "var/lib/dpkg/status").read_text())
    _write(disc, output)
    shutil.rmtree(disc)
    return output


def _components(overlay: Overlay, disc: Path) -> tuple[list[Fields], list[Fields]]:
    """The components that the installer holds, and the others, which are put on the disc.

    Its index is to list both, as a mirror's does: of those that provide the same, one that is there already is taken.
    """
    text = lzma.decompress((overlay.folder / "dists" / overlay.suite / INDEX).read_bytes()).decode()
    wanted = [one for one in paragraphs(text) if not WINDOWS.match(one["Package"])]
    wanted = [one for one in wanted if one["Package"] not in _FROM_NETWORK]
    kept = [one for one in wanted if one.get("Kernel-Version", overlay.netboot.kernel) == overlay.netboot.kernel]
    held = [one for one in kept if one["Package"] in overlay.netboot.held]
    return held, _put(overlay, disc, [one for one in kept if one["Package"] not in overlay.netboot.held])


def _put(overlay: Overlay, disc: Path, all_fields: Iterable[Fields]) -> list[Fields]:
    def put(one: Fields) -> Fields:
        made = overlay.folder / one["Filename"]
        data = made.read_bytes() if made.is_file() else overlay.upstream.read(one["Filename"])
        path = f"pool/main/{one['Package']}{Path(one['Filename']).suffix}"
        (disc / path).parent.mkdir(parents=True, exist_ok=True)
        (disc / path).write_bytes(data)
        return one | {"Filename": path}

    with ThreadPoolExecutor(6) as pool:
        return [*pool.map(put, all_fields)]


def _base(overlay: Overlay, disc: Path) -> list[Fields]:
    """The packages of a minimal base system with all they depend on, put on the disc."""
    path = f"dists/{overlay.suite}/main/binary-amd64/Packages.xz"
    index = {one["Package"]: one for one in paragraphs(lzma.decompress(overlay.upstream.read(path)).decode())}
    required = [name for name, one in index.items() if one.get("Priority") == "required"]
    return _put(overlay, disc, closure(index, [*required, "apt", "ca-certificates"]))


def closure(index: Mapping[str, Fields], names: Iterable[str]) -> Iterator[Fields]:
    """The packages of these names and all that they depend on, by the first alternative or else by who provides it."""
    provided = {
        name: package
        for package, one in index.items()
        for name in re.findall(r"(?:^|, )([^\s,]+)", one.get("Provides", ""))
    }
    waiting, seen = [*names], set[str]()
    while waiting:
        name = waiting.pop()
        package = name if name in index else provided.get(name, "")
        if not package or package in seen:
            continue
        seen.add(package)
        yield index[package]
        needs = ", ".join(filter(None, (index[package].get(kind) for kind in ("Pre-Depends", "Depends"))))
        waiting += [re.split(r"[\s:|]", need, maxsplit=1)[0] for need in needs.split(", ") if need]


def _release(suite: str, disc: Path, indexes: Mapping[str, Iterable[Fields]]) -> None:
    lines = []
    for path, entries in indexes.items():
        text = "\n".join("".join(f"{name}: {value}\n" for name, value in one.items()) for one in entries)
        data = gzip.compress(text.encode(), mtime=0)
        place = disc / "dists" / suite / f"{path}.gz"
        place.parent.mkdir(parents=True)
        place.write_bytes(data)
        lines.append(f" {hashlib.sha256(data).hexdigest()} {len(data)} {path}.gz\n")
    (disc / "dists" / suite / "Release").write_text(f"{_RELEASE.format(suite=suite)}SHA256:\n{''.join(lines)}")


def _add(disc: Path, components: Iterable[Fields], tree: Path, status: str) -> None:
    """Components that are unpacked in the initrd already, as the installer's own are; those of the network go."""
    (tree / "control").mkdir(parents=True)
    known = [text for text in status.strip().split("\n\n") if _name(text) not in _FROM_NETWORK]
    for one in components:
        name = one["Package"]
        if name not in _FROM_DISC and not name.startswith(_DRIVERS):
            continue
        package = disc / one["Filename"]
        command.run(["dpkg-deb", "--extract", package, tree / "unpacked"])
        command.run(["dpkg-deb", "--control", package, tree / "control" / name])
        for part in (tree / "control" / name).iterdir():
            info = tree / "initrd" / "var/lib/dpkg/info" / f"{name}.{part.name}"
            info.parent.mkdir(parents=True, exist_ok=True)
            if part.name != "control":
                shutil.copy2(part, info)
        fields = one | {"Status": "install ok unpacked"}
        known.append("\n".join(f"{key}: {value}" for key, value in fields.items()))
    for file in (path for path in (tree / "unpacked").rglob("*") if path.is_file()):
        place = tree / "initrd" / merged(file.relative_to(tree / "unpacked"))
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(file, place)
    (tree / "initrd/var/lib/dpkg/status").write_text("\n\n".join(known) + "\n\n")
    script = 'find . -mindepth 1 | cpio --quiet -o -H newc -R 0:0 | gzip -1 >> "$1"'
    argv = ["sh", "-euc", script, "sh", (disc / "install.amd" / "initrd.gz").resolve()]
    subprocess.run(argv, cwd=tree / "initrd", check=True)
    shutil.rmtree(tree)


def merged(path: PurePath) -> PurePath:
    """Where a file goes in an initrd: a folder /lib would take the place of the link to /usr/lib."""
    return PurePath("usr", path) if path.parts[0] in _UNMERGED else path


def _name(paragraph: str) -> str:
    return paragraph.partition("\n")[0].removeprefix("Package: ")


def _write(disc: Path, output: Path) -> None:
    """Make the disc bootable as Debian's are."""
    (disc / "isolinux").mkdir()
    for file in ("/usr/lib/ISOLINUX/isolinux.bin", "/usr/lib/syslinux/modules/bios/ldlinux.c32"):
        shutil.copy(file, disc / "isolinux")
    (disc / "isolinux" / "isolinux.cfg").write_text("say Debian asks here\nprompt 1\n")
    (disc / "boot" / "grub").mkdir(parents=True)
    (disc / "boot" / "grub" / "grub.cfg").write_text("menuentry 'Debian asks here' {}\n")
    image, grub = disc / "boot" / "grub" / "efi.img", disc / "bootx64.efi"
    (disc / "grub.cfg").write_text(_GRUB)
    embedded = f"boot/grub/grub.cfg={disc / 'grub.cfg'}"
    command.run(["grub-mkstandalone", "--format=x86_64-efi", f"--output={grub}", embedded])
    command.run(["mkfs.vfat", "-C", image, str(grub.stat().st_size // 1024 + 1024)])
    command.run(["mmd", "-i", image, "::EFI", "::EFI/boot"])
    command.run(["mcopy", "-i", image, grub, "::EFI/boot/bootx64.efi"])
    grub.unlink()
    (disc / "grub.cfg").unlink()
    bios = [
        "-isohybrid-mbr",
        "/usr/lib/ISOLINUX/isohdpfx.bin",
        "-b",
        "isolinux/isolinux.bin",
        "-c",
        "isolinux/boot.cat",
    ]
    bios += ["-no-emul-boot", "-boot-load-size", "4", "-boot-info-table"]
    uefi = ["-eltorito-alt-boot", "-e", "boot/grub/efi.img", "-no-emul-boot", "-isohybrid-gpt-basdat"]
    command.run(["xorriso", "-as", "mkisofs", "-quiet", "-o", output, "-r", "-J", *bios, *uefi, disc])
