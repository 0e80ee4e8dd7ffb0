"""Content libraries: a copy of a template for vCenters that subscribe to one.

Source: vSphere Automation REST API, ``vcenter/vm-template/library-items`` and ``content/library``.
"""

from __future__ import annotations

from typing import Any

from skyvypack.registrar.contract import RegistrarError
from skyvypack.targets.vsphere.vcenter.rest import Rest, segment

_CONTENT = "/rest/com/vmware/content/library"
_ITEMS = "/rest/vcenter/vm-template/library-items"
COPY = 3600.0  # seconds: vCenter answers when the disk has been copied


class Library:
    """One content library.

    Args:
        rest: to ask by.
        name: of the library.
    """

    def __init__(self, rest: Rest, name: str) -> None:
        self._rest = rest
        self.name = name

    def id(self) -> str:
        """The library's id; empty when there is none of this name."""
        return next(iter(self._rest.post(f"{_CONTENT}?~action=find", {"spec": {"name": self.name}}) or ()), "")

    def item(self, title: str) -> str:
        """The id of an item; empty when there is none of this name."""
        library = self.id()
        wanted = {"spec": {"library_id": library, "name": title}}
        return next(iter(self._rest.post(f"{_CONTENT}/item?~action=find", wanted) or ()), "") if library else ""

    def publish(self, title: str, about: str, vm: str, placement: dict[str, Any], datastore: str) -> str:
        """Copy a template into the library; returns the item's id.

        Args:
            title: of the item.
            about: its description.
            vm: id of the template.
            placement: ids of folder, resource pool or cluster, by vCenter's names.
            datastore: id of where the copy's disk goes.

        Raises:
            RegistrarError: there is no such library, or vCenter refused.
        """
        library = self.id()
        if not library:
            raise RegistrarError(f"there is no content library `{self.name}`", "make it in the vSphere client")
        storage = {"datastore": datastore}
        spec = {
            "source_vm": vm,
            "library": library,
            "name": title,
            "description": about,
            "placement": placement,
            "vm_home_storage": storage,
            "disk_storage": storage,
        }
        return str(self._rest.post(_ITEMS, {"spec": spec}, again=False, seconds=COPY))

    def remove(self, item: str) -> None:
        """Remove an item; fine when it is gone."""
        self._rest.delete(f"{_CONTENT}/item/{segment(item)}")
