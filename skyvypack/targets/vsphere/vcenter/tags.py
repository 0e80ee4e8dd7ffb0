"""Tags: what a person filters templates by in the vSphere client.

Three categories are made when they are missing, and stay: they belong to nobody. A tag goes with its last object.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from skyvypack.registrar.contract import RegistrarError
from skyvypack.targets.vsphere.vcenter.rest import Refused, Rest, segment

VERSION = "skyvypack-version"
DIGEST = "skyvypack-digest"
CHANNEL = "skyvypack-channel"
CATEGORIES: Mapping[str, str] = {
    VERSION: "Name and version of a template that skyvypack registered",
    DIGEST: "SHA-256 of the disk that a template was made of",
    CHANNEL: "What a template is used for now, as in web:stable",
}

_BASE = "/rest/com/vmware/cis/tagging"


class Tags:
    """The tags of one vCenter.

    Args:
        rest: to ask by.
    """

    def __init__(self, rest: Rest) -> None:
        self._rest = rest
        self._categories: dict[str, str] = {}

    def attach(self, category: str, name: str, vm: str) -> None:
        """Give a machine a tag; done again, it changes nothing.

        Args:
            category: one of `CATEGORIES`.
            name: of the tag.
            vm: id of the machine.
        """
        tag = self.find(category, name) or self._make(category, name)
        self._rest.post(f"{_BASE}/tag-association/{segment(tag)}?~action=attach", _object(vm))

    def detach(self, category: str, name: str, vm: str) -> None:
        """Take a tag from a machine, and remove the tag when nothing else has it."""
        tag = self.find(category, name)
        if tag:
            self._rest.post(f"{_BASE}/tag-association/{segment(tag)}?~action=detach", _object(vm))
            self.sweep(category, name)

    def release(self, category: str, name: str, ours: Callable[[str], bool]) -> None:
        """Take a tag from those machines that are ours, and remove it when nothing else has it."""
        tag = self.find(category, name)
        for found in self._objects(tag) if tag else ():
            if ours(found["id"]):
                self._rest.post(f"{_BASE}/tag-association/{segment(tag)}?~action=detach", _object(found["id"]))
        self.sweep(category, name)

    def _objects(self, tag: str) -> list[Any]:
        return list(self._rest.post(f"{_BASE}/tag-association/{segment(tag)}?~action=list-attached-objects", {}) or ())

    def sweep(self, category: str, name: str) -> None:
        """Remove a tag that nothing has."""
        tag = self.find(category, name)
        if tag and not self._objects(tag):
            self._rest.delete(f"{_BASE}/tag/{segment(tag)}")

    def find(self, category: str, name: str) -> str:
        """The id of a tag; empty when there is none."""
        return next((tag["id"] for tag in self._of(category) if tag["name"] == name), "")

    def _of(self, category: str) -> Iterator[Any]:
        id = self._category(category)
        if id:
            for tag in self._rest.post(f"{_BASE}/tag/{segment(id)}?~action=list-tags-for-category", {}) or ():
                found = self._gone_or(f"{_BASE}/tag/{segment(tag)}")
                if found:
                    yield found

    def _gone_or(self, path: str) -> Any:
        """What is there; None when somebody removed it meanwhile."""
        try:
            return self._rest.get(path)
        except Refused as error:
            if error.status != 404:
                raise
            return None

    def _category(self, name: str) -> str:
        if name not in self._categories:
            for id in self._rest.get(f"{_BASE}/category") or ():
                found = self._gone_or(f"{_BASE}/category/{segment(id)}")
                if found:
                    self._categories[found["name"]] = id
        return self._categories.get(name, "")

    def _make(self, category: str, name: str) -> str:
        id = self._category(category) or self._make_category(category)
        spec = {"category_id": id, "name": name, "description": ""}
        return self._made(f"{_BASE}/tag", spec, lambda: self.find(category, name))

    def _make_category(self, name: str) -> str:
        spec = {
            "name": name,
            "description": CATEGORIES[name],
            "cardinality": "MULTIPLE",
            "associable_types": ["VirtualMachine"],
        }

        def look() -> str:
            self._categories.clear()
            return self._category(name)

        self._categories[name] = self._made(f"{_BASE}/category", spec, look)
        return self._categories[name]

    def _made(self, path: str, spec: Mapping[str, Any], look: Any) -> str:
        """Make something of which there is one; another run may have been quicker, or an answer may have been lost."""
        try:
            return str(self._rest.post(path, {"create_spec": spec}))
        except Refused as error:
            found = str(look())
            if not found:
                raise RegistrarError(f"cannot make {spec['name']}: {error.text}", _PRIVILEGES) from error
            return found


_PRIVILEGES = "the account needs the privileges InventoryService.Tagging.* at the vCenter"


def _object(vm: str) -> dict[str, Any]:
    return {"object_id": {"type": "VirtualMachine", "id": vm}}
