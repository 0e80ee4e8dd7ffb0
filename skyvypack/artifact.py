"""Artifacts: the folder of disk files and `manifest.json` that a bake leaves, and how it takes its place.

A folder is an artifact if and only if its `manifest.json` says so and every file listed there has its size; nothing
else is ever replaced or removed.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from skyvypack import disk, inventory, ova, ovf, recipe, runs
from skyvypack.errors import BakeFailed, InputError
from skyvypack.inventory import Package
from skyvypack.progress import Event, Progress
from skyvypack.spec.model import Spec

MANIFEST = "manifest.json"
SCHEMA = 1
FORMATS = ("qcow2", "raw", "vmdk", "ova", "vhdx", "vdi")

_TYPES: Mapping[str, type] = {
    "name": str,
    "version": str,
    "debian": str,
    "target": str,
    "created": str,
    "inputs": dict,
    "files": list,
    "contents": list,
    "packages": list,
    "timings": dict,
    "tools": dict,
    "accelerator": dict,
    "checks": list,
}
_FILE_TYPES: Mapping[str, type] = {"path": str, "format": str, "size": int, "sha256": str}


@dataclass(frozen=True, slots=True)
class DiskFile:
    """One disk file of an artifact.

    Args:
        path: where it is.
        format: one of `FORMATS`.
        size: of the file, in bytes.
        sha256: of the file, in hexadecimal.
    """

    path: Path
    format: str
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Artifact:
    """What a bake made.

    Args:
        folder: where it is.
        name: of the template.
        version: of the template.
        target: what it was made for.
        files: its disks, one for each format.
        manifest: all that `manifest.json` says.
    """

    folder: Path
    name: str
    version: str
    target: str
    files: tuple[DiskFile, ...]
    manifest: Mapping[str, Any]

    def file(self, format: str) -> DiskFile:
        """Its disk in one format.

        Raises:
            InputError: it has none.
        """
        for file in self.files:
            if file.format == format:
                return file
        has = ", ".join(file.format for file in self.files)
        raise InputError(f"{self.folder} has no {format} disk", f"it has {has}; bake again with --format {format}")


def write_formats(
    raw: Path,
    folder: Path,
    formats: Sequence[str],
    spec: Spec,
    progress: Progress,
    hardware: ovf.Hardware = ovf.DEFAULT,
) -> tuple[DiskFile, ...]:
    """Write a finished raw disk in the formats that were asked for, as ``<name>-<version>.<format>``.

    Args:
        raw: the disk.
        folder: where the files go.
        formats: of `FORMATS`, each once.
        spec: gives name, version and, for an OVA, the machine.
        progress: gets the stage ``formats``.
        hardware: what an OVA says of the machine.

    Raises:
        InputError: a format is unknown, or a file exists.
        CommandFailed: qemu-img failed, as on a full disk.
    """
    unknown = sorted(set(formats) - set(FORMATS))
    if unknown:
        raise InputError(f"unknown disk format {', '.join(unknown)}", f"formats are {', '.join(FORMATS)}")
    # An OVA is packed from the vmdk, which is left out afterwards if nobody asked for it.
    steps: list[disk.Format] = [
        made for made in disk.FORMATS if made in formats or (made == "vmdk" and "ova" in formats)
    ]
    stem = folder / f"{spec.name}-{spec.version}"
    with progress.stage("formats", f"Writing {', '.join(formats)}"):
        for number, step in enumerate(steps):

            def advance(fraction: float, done: int = number) -> None:
                progress.report(Event("advance", "formats", fraction=(done + fraction) / len(steps)))

            disk.convert(raw, _named(stem, step), step, progress=advance)
        if "ova" in formats:
            ova.write(_named(stem, "vmdk"), _named(stem, "ova"), spec, hardware)
        if "vmdk" not in formats:
            _named(stem, "vmdk").unlink(missing_ok=True)
        return tuple(_described(_named(stem, format), format) for format in formats)


def _named(stem: Path, format: str) -> Path:
    return stem.with_name(f"{stem.name}.{format}")


def _described(path: Path, format: str) -> DiskFile:
    return DiskFile(path, format, path.stat().st_size, disk.sha256(path))


def packages(raw: Path) -> tuple[Package, ...]:
    """Every package that is installed on a finished disk, by name.

    Args:
        raw: the disk as a raw image.
    """
    return inventory.parse(disk.root(raw).read_path("/var/lib/dpkg/status").decode(errors="replace"))


def write_manifest(
    folder: Path,
    files: Iterable[DiskFile],
    spec: Spec,
    target: str,
    *,
    inputs: Mapping[str, str],
    packages: Sequence[Package],
    timings: Mapping[str, float],
    tools: Mapping[str, str],
    accelerator: Mapping[str, str],
    checks: Sequence[Mapping[str, Any]],
) -> Artifact:
    """Write `manifest.json`, the last file of an artifact, and return the artifact.

    Of the spec it takes name, version and release only: users, keys and mirrors, whose URLs can hold passwords, stay
    out.

    Args:
        folder: of the artifact, with everything else already in it.
        files: its disks.
        spec: what was baked.
        target: what for.
        inputs: digests and times of all that it was made from, by name.
        packages: all that are installed; they are also counted for each role.
        timings: seconds by stage.
        tools: version of each program that took part, by name.
        accelerator: ``name`` and ``reason``.
        checks: what was proven, one mapping for each check; empty when nothing was.
    """
    manifest = {
        "schema": SCHEMA,
        "name": spec.name,
        "version": spec.version,
        "debian": spec.debian,
        "target": target,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "inputs": dict(inputs),
        "files": [
            {"path": file.path.name, "format": file.format, "size": file.size, "sha256": file.sha256} for file in files
        ],
        "contents": sorted({*_contents(folder), MANIFEST}),
        "packages": [{"name": one.name, "version": one.version, "kib": one.kib} for one in packages],
        "sizes": {name: asdict(size) for name, size in inventory.sizes(packages, spec, recipe.packages(spec)).items()},
        "timings": dict(timings),
        "tools": dict(tools),
        "accelerator": dict(accelerator),
        "checks": [dict(check) for check in checks],
    }
    partial = folder / f".{MANIFEST}"
    partial.write_text(json.dumps(manifest, indent=2, ensure_ascii=False) + "\n")
    partial.rename(folder / MANIFEST)
    return load(folder)


def _contents(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir()}


def load(folder: Path) -> Artifact:
    """Read an artifact; sizes are compared with the manifest, digests are not (`disk.sha256` does that).

    Raises:
        InputError: the folder is not an artifact, or not a whole one.
    """
    manifest = _manifest(folder)
    files = tuple(
        DiskFile(folder / entry["path"], entry["format"], entry["size"], entry["sha256"]) for entry in manifest["files"]
    )
    for file in files:
        size = file.path.stat().st_size if file.path.is_file() else None
        if size != file.size:
            found = "is missing" if size is None else f"has {size} bytes, the manifest says {file.size}"
            raise _no_artifact(folder, f"{file.path.name} {found}")
    return Artifact(folder, manifest["name"], manifest["version"], manifest["target"], files, manifest)


def _no_artifact(folder: Path, reason: str) -> InputError:
    return InputError(f"{folder} is no artifact: {reason}", "bake one: python -m skyvypack bake")


def _manifest(folder: Path) -> dict[str, Any]:
    path = folder / MANIFEST
    try:
        manifest = json.loads(path.read_text())
    except OSError as error:
        raise _no_artifact(folder, f"{MANIFEST}: {error.strerror}") from error
    except ValueError as error:
        raise _no_artifact(folder, f"{MANIFEST} is not JSON: {error}") from error
    if not isinstance(manifest, dict) or manifest.get("schema") != SCHEMA:
        raise _no_artifact(folder, f"{MANIFEST} does not say schema {SCHEMA}")
    wrong = _mistyped(manifest, _TYPES)
    if not wrong:
        wrong = [f"files[{at}].{key}" for at, entry in enumerate(manifest["files"]) for key in _wrong_file(entry)]
    if wrong:
        raise _no_artifact(folder, f"{MANIFEST} lacks {', '.join(wrong)}, or has it wrong")
    return manifest


def _mistyped(mapping: Mapping[str, Any], types: Mapping[str, type]) -> list[str]:
    return [key for key, kind in types.items() if not isinstance(mapping.get(key), kind)]


def _wrong_file(entry: Any) -> list[str]:
    if not isinstance(entry, dict):
        return ["path"]
    wrong = _mistyped(entry, _FILE_TYPES)
    return wrong or ["path"] * (Path(entry["path"]).name != entry["path"])


def publish(partial: Path, final: Path, *, replace: bool) -> Artifact:
    """Give a finished artifact its place; an earlier one there is whole until the new one is, also after a kill.

    Args:
        partial: the artifact, on the same file system as `final`.
        final: its place.
        replace: put it in the place of another artifact.

    Raises:
        InputError: another artifact is there and `replace` is not set; or something is there that is not one, or that
            holds files which no bake made.
        BakeFailed: the file system refused.
    """
    recover(final)
    new = load(partial)
    standing = final.is_symlink() or (final.exists() and not _is_empty(final))
    if standing:
        _refuse(final, new, replace)
    _sync(partial)
    aside = _aside(final)
    try:
        if standing:
            final.rename(aside)
        partial.rename(final)
        _sync_folder(final.parent)
    except OSError as error:
        raise BakeFailed(f"cannot move {partial} to {final}: {error.strerror}") from error
    finally:
        recover(final)
    return load(final)


def recover(final: Path) -> None:
    """Mend what a publication left that was killed half-way: the earlier artifact comes back, or goes for good."""
    aside = _aside(final)
    if not aside.is_dir():
        return
    if final.exists():
        runs.remove(aside)
    else:
        aside.rename(final)


def _aside(final: Path) -> Path:
    return final.with_name(f".{final.name}.old")


def _is_empty(folder: Path) -> bool:
    return folder.is_dir() and not any(folder.iterdir())


def require_replaceable(final: Path) -> None:
    """Insist that nothing but an earlier artifact, and nothing beside its own files, is in an artifact's place.

    Raises:
        InputError: something is, which no bake made.
    """
    hint = "choose another --output, or move it away"
    if final.is_symlink():
        raise InputError(f"{final} is a symbolic link", hint)
    if not final.exists() or _is_empty(final):
        return
    try:
        old = _manifest(final)
    except InputError as error:
        raise InputError(f"{final} exists and is not ours to replace", hint) from error
    foreign = sorted(_contents(final) - set(map(str, old["contents"])))
    if foreign:
        raise InputError(f"{final} holds what no bake made: {', '.join(foreign[:5])}", hint)


def _refuse(final: Path, new: Artifact, replace: bool) -> None:
    """Raise unless what stands there may be replaced."""
    require_replaceable(final)
    old = _manifest(final)
    if not replace and [entry["sha256"] for entry in old["files"]] != [file.sha256 for file in new.files]:
        raise InputError(
            f"{final} holds another artifact of this name and version",
            "raise the spec's version, choose another --output, or replace it with --force",
        )


def _sync(folder: Path) -> None:
    """To the disk itself, so that a power cut after the rename does not leave empty files under good names."""
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb") as handle:
                os.fsync(handle.fileno())
    _sync_folder(folder)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
