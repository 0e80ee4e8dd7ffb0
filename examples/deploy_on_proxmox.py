"""Deploys a clone of the template in a channel: ``python examples/deploy_on_proxmox.py skyvypack.yaml stable web1``.

PROXMOX_TOKEN or PROXMOX_PASSWORD has the secret. The accounts and keys of the spec's ``users`` get in. The clone is
journaled like everything else: if a step fails, or on Ctrl-C, it is gone again; after ``kill -9``
``skyvypack reap --target proxmox`` removes it.
"""

from __future__ import annotations

import sys
from pathlib import Path

import skyvypack
from skyvypack.cloudinit import first_boot_user_data
from skyvypack.errors import InputError, SkyvypackError
from skyvypack.progress import Progress
from skyvypack.registrar import Journal
from skyvypack.targets.proxmox.registrar import connect


def deploy(spec_file: Path, channel: str, hostname: str) -> str:
    """Clone, boot with first-boot user-data, wait for the address; returns it."""
    spec = skyvypack.load(spec_file)
    settings = spec.target_settings("proxmox")
    user_data = first_boot_user_data(spec, hostname=hostname, target="proxmox")
    progress = Progress(lambda event: print(event.text) if event.text else None)
    with (
        connect(settings, progress) as registrar,
        Journal("proxmox").run(settings, f"deploy {hostname}", registrar.undo, progress) as run,
    ):
        found = [one for one in registrar.describe(spec.name) if channel in one.channels]
        if not found:
            raise InputError(f"no template of {spec.name} is in channel {channel}", "see: skyvypack describe")
        guest = registrar.boot(found[0], user_data, run, name=hostname, full=True)
        run.finish()  # from here on it stays
    return guest.address


if __name__ == "__main__":
    try:
        print(deploy(Path(sys.argv[1]), sys.argv[2], sys.argv[3]))
    except SkyvypackError as error:
        sys.exit(str(error))
