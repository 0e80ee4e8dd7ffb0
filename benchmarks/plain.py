"""The plain way to the same template: Packer boots a minimal disk, and cloud-init installs packages in the guest."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from skyvypack import accelerator, layers, packer, recipe, render, runs, seed
from skyvypack.bundle import Bundle
from skyvypack.cloudinit import bake_user_data
from skyvypack.progress import Progress, Reporter
from skyvypack.spec.model import Base, Spec
from skyvypack.write import write

TARGET = "qemu"
# An installation under emulation is silent for longer than any provisioner of ours: that is no fault here.
PATIENCE = 4
SSH_MINUTES = 10


@dataclass(frozen=True, slots=True)
class Plain:
    """What the plain way took.

    Args:
        layer: seconds for the minimal disk it starts from.
        build: seconds of ``packer build``, to the sealed and compressed qcow2.
        phases: seconds of each part of the build.
        size: bytes of the qcow2.
    """

    layer: float
    build: float
    phases: Mapping[str, float]
    size: int


def bundle(spec: Spec, dialect: str) -> Bundle:
    """The bundle of a spec, but for two files: what the layer holds, and user-data that installs the rest.

    Everything else is the same by construction: Packer's file with the guest's size and QEMU's options, the roles'
    files and commands, the mirror, the sealing.
    """
    ours = render(spec, TARGET, dialect)
    minimal = replace(spec, roles=tuple(role for role in spec.roles if role.name == "base"), packages=())
    # This is the user-data for a base that brings no packages: without recommends.
    user_data = bake_user_data(replace(spec, base=Base(kind="cloud-image")), TARGET)
    packages = "".join(f"{name}\n" for name in recipe.packages(minimal))
    return replace(ours, files={**ours.files, "user-data": user_data, "layer/packages.txt": packages})


def bake(spec: Spec, cache: Path, report: Reporter) -> Plain:
    """Bake a spec the plain way; call it from the main thread.

    Args:
        spec: with base ``bootstrap``.
        cache: an empty cache folder.
        report: called with each event.

    Raises:
        SkyvypackError: as `skyvypack.bake`.
    """
    made = bundle(spec, packer.installed())
    progress = Progress(report)
    with runs.run_folder(cache) as run:
        began = time.monotonic()
        with layers.ensure(made, spec, cache=cache, progress=progress) as layer:
            layer_seconds = time.monotonic() - began
            chosen = accelerator.choose(layer.kernel, spec.target_settings(TARGET)["accelerator"], cache=cache)
            folder = write(made, run / "bundle")
            secret, public = seed.keypair(folder / "build")
            access = (folder / "vendor-data.in").read_text().replace("@PUBLIC_KEY@", public)
            (folder / "build" / "vendor-data").write_text(access)
            variables = {
                "layer": str(layer.folder),
                "seed": str(secret.parent),
                "output_directory": str(run / "packer"),
                "accelerator": chosen.name,
                "ssh_timeout": f"{SSH_MINUTES * chosen.scale:.0f}m",
                "console": str(run / "console.log"),
                "compress": "true",
            }
            progress.timings.clear()  # a stage of the layer has the name of one of Packer's
            began = time.monotonic()
            packer.build(
                folder,
                variables=variables,
                console=run / "console.log",
                scratch=run,
                scale=PATIENCE * chosen.scale,
                progress=progress,
            )
            seconds = time.monotonic() - began
        (disk,) = (run / "packer").glob("*.qcow2")
        phases = {name: took for name, took in progress.timings.items() if name != packer.STAGE}
        return Plain(round(layer_seconds, 1), round(seconds, 1), phases, disk.stat().st_size)
