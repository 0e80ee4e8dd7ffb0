"""Registers templates with Proxmox VE, through proxmoxer. The rooms behind it are in `pve/`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from skyvypack.progress import Progress
from skyvypack.registrar.find import require

if TYPE_CHECKING:
    from skyvypack.targets.proxmox.pve.registrar import ProxmoxRegistrar

DISK = "qcow2"


@contextmanager
def connect(settings: Mapping[str, Any], progress: Progress) -> Iterator[ProxmoxRegistrar]:
    """A registrar for the cluster of some settings.

    Raises:
        ToolMissing: proxmoxer is not installed.
    """
    require("proxmox", "proxmoxer", "requests", "requests_toolbelt")
    from skyvypack.targets.proxmox.pve.api import Api
    from skyvypack.targets.proxmox.pve.registrar import ProxmoxRegistrar

    api = Api(settings, progress)
    try:
        yield ProxmoxRegistrar(api)
    finally:
        api.close()
