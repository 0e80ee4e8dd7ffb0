"""`Spec` → the Packer document of the target vmware: Workstation, Fusion and Player.

Bootstrap and cloud-image are baked by QEMU on this machine; an ISO is installed by VMware. A machine of a vCenter or
of an ESXi host is the target vsphere's: the plugin dropped its own way to ESXi in 2.0.0.
"""

from __future__ import annotations

from typing import TypeAlias

from skyvypack.dialect import Dialect
from skyvypack.hcl import Attribute, Block, Document, Ref, Value
from skyvypack.spec.model import Spec
from skyvypack.targets import pieces
from skyvypack.targets.bases import LOCAL, builder_of
from skyvypack.targets.qemu import source as local
from skyvypack.targets.wishes import Wishes

_BY_BASE = {**LOCAL, "iso": "vmware-iso"}
BUILDERS = tuple(dict.fromkeys(_BY_BASE.values()))

Body: TypeAlias = "list[Attribute | Block]"


def builder(spec: Spec) -> str:
    """The builder for a spec.

    Args:
        spec: what to bake.

    Raises:
        InputError: the target cannot start from the spec's base.
    """
    return builder_of(spec, "vmware", _BY_BASE)


def scripts(spec: Spec) -> list[str]:
    """The scripts that run in the guest, by their paths in the bundle."""
    return local.scripts(spec)


def remastered(spec: Spec) -> bool:
    """Whether the build starts from an installer that `installer.sh` made.

    Args:
        spec: what to bake.
    """
    return spec.base.kind == "iso"


def document(spec: Spec, dialect: Dialect) -> Document:
    """The document: variables, locals, source and build.

    Args:
        spec: what to bake.
        dialect: the Packer to write for.

    Raises:
        InputError: the target cannot start from the spec's base, or the dialect cannot express a setting.
    """
    name = builder(spec)
    if spec.base.kind in LOCAL:
        return local.document(spec, dialect)
    wishes = Wishes(spec, "vmware", name, dialect)
    body = [*_machine(wishes), *_disk(wishes), *_end(wishes)]
    steps = pieces.sealed(scripts(spec))
    return pieces.document(wishes, _variables(wishes), body, steps, [pieces.output_local(), *pieces.installer_locals()])


def _variables(wishes: Wishes) -> list[Block]:
    settings = wishes.settings
    network = "nat, bridged, hostonly, or a virtual network such as vmnet8."
    return [
        *pieces.installer_variables(),
        pieces.needed("network", settings["network"], network),
        *pieces.export_variables(settings["headless"], "the finished machine"),
    ]


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
            "The machine, as clones will have it.",
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
            "The installer holds every answer, and what cloud-init needs afterwards: nothing is typed.",
            **pieces.INSTALLER,
            disk_size=wishes.spec.machine.disk * 1024,
            disk_adapter_type=wishes.setting("disk_controller"),
            disk_type_id=str(wishes.settings["disk_type"]),
        )
    ]


def _end(wishes: Wishes) -> Body:
    return [
        *wishes.group(
            "What is left on this machine.",
            vm_name=pieces.versioned_name(wishes.spec),
            output_directory=Ref("local.output_directory"),
            format=wishes.setting("export_format"),
            headless=Ref("var.headless"),
        ),
        *pieces.communicator(),
        *pieces.shutdown(),
    ]
