"""`Spec` → the Packer document of the target vmware: Workstation, Fusion and Player.

Bootstrap and cloud-image are baked by QEMU on this machine; an ISO is installed by VMware. A machine of a vCenter or
of an ESXi host is the target vsphere's: the plugin dropped its own way to ESXi in 2.0.0.
"""

from __future__ import annotations

from skyvypack.dialect import Dialect
from skyvypack.hcl import Block, Document, Ref, Value
from skyvypack.spec.model import Spec
from skyvypack.targets import desktops, pieces
from skyvypack.targets.bases import LOCAL, builder_of
from skyvypack.targets.desktops import Body, remastered, scripts
from skyvypack.targets.wishes import Wishes

_BY_BASE = {**LOCAL, "iso": "vmware-iso"}
BUILDERS = tuple(dict.fromkeys(_BY_BASE.values()))
__all__ = ["BUILDERS", "builder", "document", "remastered", "scripts"]


def builder(spec: Spec) -> str:
    """The builder for a spec.

    Args:
        spec: what to bake.

    Raises:
        InputError: the target cannot start from the spec's base.
    """
    return builder_of(spec, "vmware", _BY_BASE)


def document(spec: Spec, dialect: Dialect) -> Document:
    """The document: variables, locals, source and build.

    Args:
        spec: what to bake.
        dialect: the Packer to write for.

    Raises:
        InputError: the target cannot start from the spec's base, or the dialect cannot express a setting.
    """
    return desktops.document(spec, dialect, "vmware", builder(spec), _variables, _body)


def _variables(wishes: Wishes) -> list[Block]:
    settings = wishes.settings
    network = "nat, bridged, hostonly, or a virtual network such as vmnet8."
    return [
        *pieces.installer_variables(),
        pieces.needed("network", settings["network"], network),
        *pieces.export_variables(settings["headless"], "the finished machine"),
    ]


def _body(wishes: Wishes) -> Body:
    return [*_machine(wishes), *_disk(wishes), *desktops.end(wishes, format=wishes.setting("export_format"))]


def _machine(wishes: Wishes) -> Body:
    machine = wishes.spec.machine
    firmware = _firmware(wishes)
    has_argument = wishes.accepts("firmware")
    lines: dict[str, str] = dict(wishes.settings["vmx_data"])
    if not has_argument and firmware != "bios":
        lines["firmware"] = "efi"
    if not has_argument and firmware == "efi-secure":
        lines["uefi.secureBoot.enabled"] = "TRUE"
    nested = wishes.settings["nested_virtualization"]
    if nested and not wishes.accepts("vhv_enabled"):
        lines["vhv.enable"] = "TRUE"
    data: Value = lines or None
    return [
        *wishes.group(
            desktops.MACHINE,
            guest_os_type=wishes.setting("guest_os_type"),
            version=wishes.setting("hardware_version", _version(wishes)),
            cpus=machine.cpus,
            cores=wishes.setting("cpu_cores"),
            memory=machine.memory,
            firmware=firmware if has_argument else None,
            vhv_enabled=True if nested and wishes.accepts("vhv_enabled") else None,
            network=Ref("var.network"),
            network_adapter_type=wishes.setting("network_card"),
            vmx_data=data,
        )
    ]


def _version(wishes: Wishes) -> type[int] | type[str]:
    """A text for the old builder, a number since 2.0.0."""
    return int if wishes.dialect.has("required_plugins") else str


def _firmware(wishes: Wishes) -> str:
    secure = wishes.settings["secure_boot"]
    if wishes.spec.machine.firmware == "uefi":
        return "efi-secure" if secure else "efi"
    if secure:
        wishes.refuse("targets.vmware.secure_boot needs machine.firmware uefi")
    return "bios"


def _disk(wishes: Wishes) -> Body:
    return [
        *wishes.group(
            desktops.INSTALLS,
            **pieces.INSTALLER,
            disk_size=wishes.spec.machine.disk * 1024,
            disk_adapter_type=wishes.setting("disk_controller"),
            disk_type_id=str(wishes.settings["disk_type"]),
        )
    ]
