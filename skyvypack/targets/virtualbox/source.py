"""`Spec` → the Packer document of the target virtualbox.

Bootstrap and cloud-image are baked by QEMU on this machine; an ISO is installed, and an exported machine booted, by
VirtualBox. Firmware, chipset, network card and screen are arguments of today's plugin for the ISO alone; for 1.6.6,
and for an import in any version, `VBoxManage modifyvm` says them.
"""

from __future__ import annotations

from skyvypack.dialect import Dialect
from skyvypack.hcl import Block, Document, Ref, Value, variable
from skyvypack.spec.model import Spec
from skyvypack.targets import desktops, pieces
from skyvypack.targets.bases import LOCAL, builder_of
from skyvypack.targets.desktops import Body, remastered, scripts
from skyvypack.targets.wishes import Setting, Wishes

_BY_BASE = {**LOCAL, "iso": "virtualbox-iso", "clone": "virtualbox-ovf"}
BUILDERS = tuple(dict.fromkeys(_BY_BASE.values()))
__all__ = ["BUILDERS", "builder", "document", "remastered", "scripts"]


def builder(spec: Spec) -> str:
    """The builder for a spec.

    Args:
        spec: what to bake.

    Raises:
        InputError: the target cannot start from the spec's base.
    """
    return builder_of(spec, "virtualbox", _BY_BASE)


def document(spec: Spec, dialect: Dialect) -> Document:
    """The document: variables, locals, source and build.

    Args:
        spec: what to bake.
        dialect: the Packer to write for.

    Raises:
        InputError: the target cannot start from the spec's base, or the dialect cannot express a setting.
    """
    return desktops.document(spec, dialect, "virtualbox", builder(spec), _variables, _body)


def _variables(wishes: Wishes) -> list[Block]:
    spec, settings = wishes.spec, wishes.settings
    start = pieces.installer_variables()
    if spec.base.kind == "clone":
        start = [
            pieces.needed("source_path", spec.base.source, "The OVA or OVF to start from."),
            variable("source_checksum", default="none", description="Checksum of it, such as sha256:…, or none."),
        ]
    return [
        *start,
        *pieces.export_variables(settings["headless"], "what is exported"),
    ]


def _body(wishes: Wishes) -> Body:
    start = _import(wishes) if wishes.spec.base.kind == "clone" else _installation(wishes)
    # Guest additions are for desktops.
    left = desktops.end(wishes, format=wishes.setting("export_format"), guest_additions_mode="disable")
    return [*start, *_machine(wishes), *left]


def _import(wishes: Wishes) -> Body:
    return [
        *wishes.group(source_path=Ref("var.source_path"), checksum=Ref("var.source_checksum")),
        *pieces.cloud_init_disc(),
    ]


def _installation(wishes: Wishes) -> Body:
    interface = wishes.settings["disk_interface"]
    discards = interface in ("sata", "scsi")
    if interface == "virtio" and not wishes.dialect.has("required_plugins"):
        about = "the plugin has it, with Packer 1.7.0 or newer; here there are ide, sata, pcie and scsi"
        wishes.refuse(f"targets.virtualbox.disk_interface virtio: Packer {wishes.dialect.name} has none", about)
    return [
        *wishes.group(
            desktops.INSTALLS,
            **pieces.INSTALLER,
            guest_os_type=wishes.setting("guest_os_type"),
            disk_size=wishes.spec.machine.disk * 1024,
            hard_drive_interface=wishes.setting("disk_interface"),
            hard_drive_discard=wishes.setting("discard") if discards else None,
        ),
    ]


def _machine(wishes: Wishes) -> Body:
    machine, settings = wishes.spec.machine, wishes.settings
    modern: dict[str, Setting | Value] = {
        "firmware": "efi" if machine.firmware == "uefi" else "bios",
        "chipset": wishes.setting("chipset"),
        "nic_type": wishes.setting("nic_type"),
        "gfx_controller": wishes.setting("graphics"),
        "gfx_vram_size": wishes.setting("video_memory"),
        "nested_virt": wishes.setting("nested_virtualization"),
    }
    own: dict[str, Value] = {"cpus": machine.cpus, "memory": machine.memory}
    if wishes.accepts("firmware"):
        return [*wishes.group(desktops.MACHINE, **own, **modern)]
    sizes = {} if wishes.accepts("cpus") else {"cpus": machine.cpus, "memory": machine.memory}
    words = {
        **sizes,
        "firmware": modern["firmware"],
        "chipset": settings["chipset"],
        "nictype1": settings["nic_type"],
        "graphicscontroller": settings["graphics"],
        "vram": settings["video_memory"],
        "nested-hw-virt": "on" if settings["nested_virtualization"] else "off",
    }
    commands: Value = [["modifyvm", "{{ .Name }}", f"--{name}", str(value)] for name, value in words.items()]
    about = "The machine, as clones will have it; what this builder has no argument for, in VirtualBox's own words."
    return [*wishes.group(about, **({} if sizes else own), vboxmanage=commands)]
