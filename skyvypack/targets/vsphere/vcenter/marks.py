"""What a template says about itself: vCenter's custom attributes, one for each mark.

Attributes are read for every machine in a few calls, and vCenter lets them be changed on a template. A copy of a
template takes its attributes along, so one of them is the template's own id: a copy's does not fit.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from skyvypack.registrar.contract import Template
from skyvypack.targets.vsphere.vcenter.inventory import properties, read, reference
from skyvypack.targets.vsphere.vcenter.session import Session

_PREFIX = "skyvypack."
# What stands in `extraConfig` from the moment a machine is there, when it can have no attribute yet.
RUN_KEY = "skyvypack.run"
KEYS = ("name", "version", "debian", "digest", "run", "made-by", "created", "verified", "channels", "id")
_FACTS = ("name", "config.template", "customValue")


class Marks:
    """Custom attributes of one vCenter; their definitions are made when they are missing, and stay.

    Args:
        session: to ask by.
    """

    def __init__(self, session: Session) -> None:
        self._session = session

    def _keys(self) -> dict[str, int]:
        fields = self._session.call("read custom attributes", lambda: self._manager().field)
        return {field.name: field.key for field in fields or ()}

    def _manager(self) -> Any:
        return self._session.content.customFieldsManager

    def write(self, vm: Any, marks: Mapping[str, str]) -> None:
        """Set marks of a machine; others stay.

        Args:
            vm: the machine or template.
            marks: by their names in `KEYS`.
        """
        keys = self._defined(marks)
        for name, value in marks.items():
            self._session.call(f"set {_PREFIX}{name}", partial(self._set, vm, keys[_PREFIX + name], value))

    def _set(self, vm: Any, key: int, value: str) -> None:
        self._manager().SetField(vm, key, value)

    def _defined(self, names: Mapping[str, str]) -> dict[str, int]:
        keys = self._keys()
        missing = [_PREFIX + name for name in names if _PREFIX + name not in keys]
        for name in missing:
            self._session.call(f"define {name}", partial(self._define, name))
        return self._keys() if missing else keys

    def _define(self, name: str) -> None:
        from pyVmomi import vim

        try:
            self._manager().AddFieldDefinition(name, vim.VirtualMachine)
        except vim.fault.DuplicateName:
            return  # another run was quicker, or the first answer was lost

    def all(self, root: Any) -> Iterator[tuple[Any, str, dict[str, str]]]:
        """Every finished template of ours below a folder or datacenter: the object, its name and its marks."""
        from pyVmomi import vim

        names = {key: name for name, key in self._keys().items()}
        for vm, facts in properties(self._session, root, vim.VirtualMachine, _FACTS):
            marks = _marks(facts.get("customValue") or (), names)
            if facts.get("config.template") and marks.get("id") == reference(vm):
                yield vm, facts["name"], marks

    def of(self, vm: Any) -> dict[str, str]:
        """The marks of one machine; those that it has from a template that it was cloned from are not its own."""
        names = {key: name for name, key in self._keys().items()}
        values = read(self._session, vm, "customValue").get("customValue")
        marks = _marks(values or (), names)
        return marks if marks.get("id") == reference(vm) else {}


def _marks(values: Sequence[Any], names: Mapping[int, str]) -> dict[str, str]:
    found = {names.get(one.key, ""): str(one.value) for one in values}
    return {name.removeprefix(_PREFIX): value for name, value in found.items() if name.startswith(_PREFIX)}


def template(target: str, id: str, title: str, marks: Mapping[str, str]) -> Template:
    """A registered template, by its marks."""
    return Template(
        target=target,
        id=id,
        name=marks.get("name", ""),
        version=marks.get("version", ""),
        digest=marks.get("digest", ""),
        created=marks.get("created", ""),
        run=marks.get("run", ""),
        verified=bool(marks.get("verified")),
        channels=channels(marks),
        facts={"name": title, "debian": marks.get("debian", "")},
    )


def channels(marks: Mapping[str, str]) -> tuple[str, ...]:
    """The channels that point to a template, sorted."""
    return tuple(sorted(filter(None, marks.get("channels", "").split(","))))


def run_of(session: Session, vm: Any) -> str:
    """Id of the run that made a machine, as it stands in its configuration; empty when it is not ours."""
    options = read(session, vm, "config.extraConfig").get("config.extraConfig") or ()
    return next((str(option.value) for option in options if option.key == RUN_KEY), "")
