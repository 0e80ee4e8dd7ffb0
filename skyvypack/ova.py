"""OVA: one tar of an OVF descriptor, its manifest and a streamOptimized disk, as vSphere imports it.

Source: DMTF DSP0243 1.1, "Distribution" (order in the archive, USTAR, manifest with SHA-256).
"""

from __future__ import annotations

import hashlib
import io
import tarfile
from pathlib import Path

from skyvypack import disk, ovf, vmdk
from skyvypack.errors import InputError
from skyvypack.spec.model import Spec

# The size of a file has eleven octal digits in USTAR.
LARGEST = 8**11 - 1


def write(source: Path, destination: Path, spec: Spec, hardware: ovf.Hardware = ovf.DEFAULT) -> None:
    """Pack a disk as an OVA.

    Args:
        source: a streamOptimized disk.
        destination: the ``.ova`` to make.
        spec: gives name, version and machine.
        hardware: what VMware gives the machine.

    Raises:
        InputError: the disk's file is larger than an OVA can hold.
    """
    size = source.stat().st_size
    if size > LARGEST:
        raise InputError(f"{source} has {size} bytes, an OVA can hold {LARGEST}", "use the format vmdk instead of ova")
    name = destination.stem
    about = ovf.Disk(f"{name}.vmdk", size, vmdk.read(source).capacity)
    descriptor = ovf.descriptor(spec, about, hardware).encode()
    digests = {f"{name}.ovf": hashlib.sha256(descriptor).hexdigest(), f"{name}.vmdk": disk.sha256(source)}
    manifest = "".join(f"SHA256({file})= {digest}\n" for file, digest in digests.items()).encode()
    with tarfile.open(destination, "x", format=tarfile.USTAR_FORMAT) as archive:
        for file, content in ((f"{name}.ovf", descriptor), (f"{name}.mf", manifest)):
            archive.addfile(_member(file, len(content)), io.BytesIO(content))
        with source.open("rb") as handle:
            archive.addfile(_member(f"{name}.vmdk", size), handle)


def _member(name: str, size: int) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.size = size
    member.mode = 0o644
    return member


def locate(path: Path) -> tuple[int, int]:
    """Where the disk is in an OVA: bytes from the beginning, and its size in bytes.

    Raises:
        InputError: it is no OVA, or holds no disk or several.
    """
    try:
        with tarfile.open(path, "r:") as archive:
            found = [member for member in archive if member.isfile() and member.name.endswith(".vmdk")]
    except (OSError, tarfile.TarError) as error:
        raise InputError(f"{path} is no OVA: {error}", "bake again with --format ova, or copy it again") from error
    if len(found) != 1:
        raise InputError(f"{path} holds {len(found)} disks, a template has one", "give the OVA that `bake` made")
    return found[0].offset_data, found[0].size
