"""`Spec` → the Packer document of the target vsphere.

Bootstrap and cloud-image are baked on this machine, for the registrar to import; an ISO is installed, and a template
cloned, by vCenter itself. Facts about the builders are from the source of Packer 1.6.6 and of the plugin 2.0.0:

- Both builders wait for an address that VMware's tools in the guest report, before they try SSH.
- `firmware` is bios, efi or efi-secure in either version; a TPM came with the plugin 1.0.3.
"""

from __future__ import annotations

import re
from typing import TypeAlias

from skyvypack.dialect import Dialect
from skyvypack.hcl import Attribute, Block, Document, Ref, Value, variable
from skyvypack.spec.model import Spec
from skyvypack.targets import pieces
from skyvypack.targets.bases import LOCAL, builder_of
from skyvypack.targets.qemu import source as local
from skyvypack.targets.wishes import Wishes

_BY_BASE = {**LOCAL, "iso": "vsphere-iso", "clone": "vsphere-clone"}
BUILDERS = tuple(dict.fromkeys(_BY_BASE.values()))

Body: TypeAlias = "list[Attribute | Block]"
# A bundle cannot ask the hosts which they know; every vSphere from 7.0 on knows this one.
_GUEST = "debian11_64Guest"

# Variables that may stay empty: each with what it says.
_PLACES = {
    "datacenter": "May be empty when there is only one.",
    "cluster": "Where the template runs while it is made; this or host.",
    "host": "ESXi host; within the cluster when that is given.",
    "datastore": "Holds the template; may be empty when the host has only one.",
    "folder": "Folder of virtual machines.",
    "network": "Port group of the network card; empty for the host's default.",
}


def builder(spec: Spec) -> str:
    """The builder for a spec.

    Args:
        spec: what to bake.

    Raises:
        InputError: the target cannot start from the spec's base.
    """
    return builder_of(spec, "vsphere", _BY_BASE)


def scripts(spec: Spec) -> list[str]:
    """The scripts that run in the guest, by their paths in the bundle."""
    return local.scripts(spec)


def remastered(spec: Spec) -> bool:
    """Whether the build starts from an installer that `installer.sh` made.

    Args:
        spec: what to bake.
    """
    return spec.base.kind == "iso" and not _is_stored(spec)


def document(spec: Spec, dialect: Dialect) -> Document:
    """The document: variables, locals, source and build.

    Args:
        spec: what to bake.
        dialect: the Packer to write for.

    Raises:
        InputError: the target cannot start from the spec's base, a setting is missing, or the dialect cannot express
            one.
    """
    name = builder(spec)
    if spec.base.kind in LOCAL:
        return local.document(spec, dialect)
    wishes = Wishes(spec, "vsphere", name, dialect)
    wishes.need("cluster", "host")
    start = _clone(wishes) if spec.base.kind == "clone" else _installation(wishes)
    body = [*_where(wishes), *_machine(wishes), *start, *_end(wishes)]
    places = pieces.installer_locals() if remastered(spec) else []
    return pieces.document(wishes, _variables(wishes), body, pieces.sealed(scripts(spec)), places)


def _variables(wishes: Wishes) -> list[Block]:
    spec, settings = wishes.spec, wishes.settings
    image = pieces.installer_variables() if remastered(spec) else []
    return [
        pieces.needed("vcenter_server", settings["server"], "Name of the vCenter, without https://.", "VSPHERE_SERVER"),
        pieces.needed(
            "vcenter_username", settings["username"], "Account, such as packer@vsphere.local.", "VSPHERE_USER"
        ),
        pieces.secret("vcenter_password", "VSPHERE_PASSWORD", "Password of the account."),
        *(variable(name, default=settings[name], description=about) for name, about in _PLACES.items()),
        *image,
    ]


def _is_stored(spec: Spec) -> bool:
    """Whether the installer's image lies in a datastore, such as ``[datastore1]iso/debian.iso``."""
    return spec.base.url.startswith("[")


def _where(wishes: Wishes) -> Body:
    spec, settings = wishes.spec, wishes.settings
    return [
        *wishes.group(
            vcenter_server=Ref("var.vcenter_server"),
            username=Ref("var.vcenter_username"),
            password=Ref("var.vcenter_password"),
            insecure_connection=wishes.setting("insecure"),
            datacenter=Ref("var.datacenter"),
            cluster=Ref("var.cluster"),
            host=Ref("var.host"),
            resource_pool=wishes.setting("resource_pool"),
            datastore=Ref("var.datastore"),
            folder=Ref("var.folder"),
        ),
        *wishes.group(
            "A name of its own for each version: the last one stays until this one is proven.",
            vm_name=pieces.versioned_name(spec),
            notes=settings["notes"] or spec.title,
        ),
    ]


def _machine(wishes: Wishes) -> Body:
    machine = wishes.spec.machine
    return [
        *wishes.group(
            "The machine, as clones will have it.",
            CPUs=machine.cpus,
            cpu_cores=wishes.setting("cpu_cores"),
            CPU_hot_plug=wishes.setting("cpu_hot_add"),
            RAM=machine.memory,
            RAM_hot_plug=wishes.setting("memory_hot_add"),
            firmware=_firmware(wishes),
            vTPM=wishes.setting("tpm"),
            configuration_parameters=wishes.setting("configuration_parameters"),
        )
    ]


def _firmware(wishes: Wishes) -> str:
    settings = wishes.settings
    if wishes.spec.machine.firmware == "uefi":
        return "efi-secure" if settings["secure_boot"] else "efi"
    for name in ("secure_boot", "tpm"):
        if settings[name]:
            wishes.refuse(f"targets.vsphere.{name} needs machine.firmware uefi")
    return "bios"


def _clone(wishes: Wishes) -> Body:
    linked = wishes.settings["linked_clone"]
    return [
        *wishes.group(
            "What it is made from.",
            template=wishes.spec.base.source,
            linked_clone=wishes.setting("linked_clone"),
            # A linked clone keeps the size of the disk it shares.
            disk_size=None if linked else wishes.spec.machine.disk * 1024,
            network=Ref("var.network"),
        ),
        *pieces.cloud_init_disc(),
    ]


def _installation(wishes: Wishes) -> Body:
    image: dict[str, Ref | list[str]] = {**pieces.INSTALLER}
    if _is_stored(wishes.spec):
        # vCenter wants the blank that a spec's URL cannot have.
        image = {"iso_paths": [re.sub(r"\]/?", "] ", wishes.spec.base.url, count=1)]}
    size = wishes.spec.machine.disk * 1024
    return [
        *wishes.group(
            "How it is installed.",
            guest_os_type=wishes.settings["guest_os_type"] or _GUEST,
            vm_version=wishes.setting("vm_version"),
            disk_controller_type=wishes.setting("disk_controller", lambda name: [name]),
            **image,
        ),
        *wishes.block("storage", disk_size=size, disk_thin_provisioned=wishes.setting("thin_disk")),
        *wishes.block("network_adapters", network=Ref("var.network"), network_card=wishes.setting("network_card")),
        *([] if remastered(wishes.spec) else pieces.typed(wishes.spec)),
    ]


def _end(wishes: Wishes) -> Body:
    library = wishes.settings["content_library"]
    # As an OVF the library takes a machine, and leaves none behind.
    about = "The library gets the template; the machine that was it goes."
    named: dict[str, Value] = {"name": pieces.versioned_name(wishes.spec), "ovf": True, "destroy": True}
    return [
        *pieces.communicator(),
        *pieces.shutdown(),
        *wishes.group(
            "What vCenter is left with.",
            remove_cdrom=True,
            create_snapshot=wishes.setting("snapshot"),
            convert_to_template=not library,
        ),
        *(wishes.block("content_library_destination", about, library=library, **named) if library else []),
    ]
