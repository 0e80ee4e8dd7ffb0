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

_MADE_BY = "made by skyvypack, run "
_BASE = "/rest/com/vmware/cis/tagging"


class Tags:
    """The tags of one vCenter.

    Args:
        rest: to ask by.
    """

    def __init__(self, rest: Rest) -> None:
        self._rest = rest
        self._categories: dict[str, str] = {}
        self._known: dict[str, Any] = {}

    def attach(self, category: str, name: str, vm: str, run: str, *, new: bool = False) -> None:
        """Give a machine a tag; done again, it changes nothing.

        Args:
            category: one of `CATEGORIES`.
            name: of the tag.
            vm: id of the machine.
            run: id of the run, which stands in the tag if it makes one.
            new: there is hardly such a tag yet: it is made before it is looked for, as looking means to read every
                tag of the category, one by one.
        """
        tag = None if new else self._tag(category, name)
        id = tag["id"] if tag else self._make(category, name, run)
        if vm not in self._objects(id):
            self._rest.post(f"{_BASE}/tag-association/{segment(id)}?~action=attach", _object(vm))

    def release(self, category: str, name: str, vm: str, run: str = "") -> None:
        """Take a tag from a machine, and remove it when nothing else has it.

        Args:
            category: one of `CATEGORIES`.
            name: of the tag.
            vm: id of the machine; empty for none.
            run: remove the tag only if this run made it; by default when any run of ours did.
        """
        tag = self._tag(category, name)
        if not tag:
            return
        having = self._objects(tag["id"])
        if vm in having:
            self._rest.post(f"{_BASE}/tag-association/{segment(tag['id'])}?~action=detach", _object(vm))
            having.remove(vm)
        if not having and tag.get("description", "").startswith(_MADE_BY + run):
            self._rest.delete(f"{_BASE}/tag/{segment(tag['id'])}")

    def _objects(self, tag: str) -> list[str]:
        found = self._rest.post(f"{_BASE}/tag-association/{segment(tag)}?~action=list-attached-objects", {})
        return [one["id"] for one in found or ()]

    def _tag(self, category: str, name: str) -> Any:
        """What vCenter says of a tag; None when there is none."""
        return next((tag for tag in self._of(category) if tag["name"] == name), None)

    def _of(self, category: str) -> Iterator[Any]:
        id = self._category(category)
        every = self._rest.post(f"{_BASE}/tag/{segment(id)}?~action=list-tags-for-category", {}) if id else ()
        for tag in every or ():
            if tag not in self._known:
                self._known[tag] = self._gone_or(f"{_BASE}/tag/{segment(tag)}")
            if self._known[tag]:
                yield self._known[tag]

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

    def _make(self, category: str, name: str, run: str) -> str:
        id = self._category(category) or self._make_category(category)
        spec = {"category_id": id, "name": name, "description": _MADE_BY + run}
        return self._made(f"{_BASE}/tag", spec, lambda: (self._tag(category, name) or {}).get("id", ""))

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

    def _made(self, path: str, spec: Mapping[str, Any], look: Callable[[], str]) -> str:
        """Make something of which there is one; another run may have been quicker, or an answer may have been lost."""
        try:
            return str(self._rest.post(path, {"create_spec": spec}))
        except Refused as error:
            found = look() if error.kind.lower().endswith("already_exists") else ""
            if not found:
                raise RegistrarError(f"cannot make {spec['name']}: {error.text}", _PRIVILEGES) from error
            return found


_PRIVILEGES = "the account needs the privileges InventoryService.Tagging.* at the vCenter"


def _object(vm: str) -> dict[str, Any]:
    return {"object_id": {"type": "VirtualMachine", "id": vm}}
