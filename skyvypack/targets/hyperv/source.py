"""`Spec` → the Packer document of the target hyperv.

Bootstrap and cloud-image are baked by QEMU on this machine; an ISO is installed by Hyper-V, on a Windows host.
Generation 2 is UEFI, 1 is BIOS.
"""

from __future__ import annotations

from skyvypack.dialect import Dialect
from skyvypack.hcl import Block, Document, Ref
from skyvypack.spec.model import Spec
from skyvypack.targets import desktops, pieces
from skyvypack.targets.bases import LOCAL, builder_of
from skyvypack.targets.desktops import Body, remastered, scripts
from skyvypack.targets.wishes import Wishes

_BY_BASE = {**LOCAL, "iso": "hyperv-iso"}
BUILDERS = tuple(dict.fromkeys(_BY_BASE.values()))
__all__ = ["BUILDERS", "builder", "document", "remastered", "scripts"]


def builder(spec: Spec) -> str:
    """The builder for a spec.

    Args:
        spec: what to bake.

    Raises:
        InputError: the target cannot start from the spec's base.
    """
    return builder_of(spec, "hyperv", _BY_BASE)


def document(spec: Spec, dialect: Dialect) -> Document:
    """The document: variables, locals, source and build.

    Args:
        spec: what to bake.
        dialect: the Packer to write for.

    Raises:
        InputError: the target cannot start from the spec's base, or the dialect cannot express a setting.
    """
    return desktops.document(spec, dialect, "hyperv", builder(spec), _variables, _body)


def _variables(wishes: Wishes) -> list[Block]:
    settings = wishes.settings
    return [
        *pieces.installer_variables(),
        pieces.needed("switch_name", settings["switch"], "Virtual switch of the network card."),
        *pieces.export_variables(settings["headless"], "the finished machine"),
    ]


def _body(wishes: Wishes) -> Body:
    left = desktops.end(wishes, temp_path=wishes.setting("temp_path"), guest_additions_mode="disable")
    return [*_machine(wishes), *_disk(wishes), *left]


def _machine(wishes: Wishes) -> Body:
    machine, settings = wishes.spec.machine, wishes.settings
    uefi = machine.firmware == "uefi"
    secure = uefi and settings["secure_boot"]
    if settings["tpm"] and not uefi:
        wishes.refuse("targets.hyperv.tpm needs machine.firmware uefi")
    return [
        *wishes.group(
            desktops.MACHINE,
            generation=2 if uefi else 1,
            cpus=machine.cpus,
            memory=machine.memory,
            enable_dynamic_memory=wishes.setting("dynamic_memory"),
            switch_name=Ref("var.switch_name"),
            vlan_id=wishes.setting("vlan", str),
            enable_mac_spoofing=wishes.setting("mac_spoofing"),
            enable_secure_boot=secure if uefi else None,
            # Debian's boot loader is signed by Microsoft's authority for others than Windows.
            secure_boot_template="MicrosoftUEFICertificateAuthority" if secure else None,
            enable_tpm=wishes.setting("tpm"),
            enable_virtualization_extensions=wishes.setting("nested_virtualization"),
        )
    ]


def _disk(wishes: Wishes) -> Body:
    return [
        *wishes.group(
            desktops.INSTALLS,
            **pieces.INSTALLER,
            disk_size=wishes.spec.machine.disk * 1024,
            disk_block_size=wishes.setting("disk_block_size"),
        )
    ]
