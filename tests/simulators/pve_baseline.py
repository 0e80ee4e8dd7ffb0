"""The state of a simulated Proxmox VE, to go back to."""

from __future__ import annotations

import copy
from typing import Any


class Baseline:
    """The state of a cluster, to go back to."""

    def __init__(self, pve: Any) -> None:
        self._pve = pve
        self._vms = copy.deepcopy(pve.vms)
        self._storages = copy.deepcopy(pve.storages)

    def restore(self) -> None:
        """Go back, and heal whatever was broken."""
        self._pve.vms[:] = copy.deepcopy(self._vms)
        self._pve.storages.clear()
        self._pve.storages.update(copy.deepcopy(self._storages))
        self.heal()

    def heal(self) -> None:
        """End every fault; what they led to stays."""
        pve = self._pve
        pve.failures.clear()
        pve.once = ""
        pve.quorate = True
        pve.acl = None
        pve.fail_task = ""
        pve.time_scale = 0.0
        for node in pve.nodes.values():
            node["online"] = True
