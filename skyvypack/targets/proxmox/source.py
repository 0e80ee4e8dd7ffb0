"""`Spec` → the Packer document of the target proxmox.

Bootstrap and cloud-image are baked on this machine, for the registrar to import; an ISO is installed, and a template
cloned, on Proxmox itself. Facts about the builders are from the source of Packer 1.6.6 and of the plugin 1.2.4:

- The builder of 1.6.6 knows neither UEFI nor a machine type, and names the installer's image at its top level.
- `unmount_iso` of 1.6.6 fails against Proxmox VE 7.1 and newer once the template is made, so it is left out there.
- There is no shutdown command: the builder stops the guest after the last provisioner, which therefore seals.
- A clone gets its account by Proxmox's own cloud-init drive, from `ssh_username` and the public half of the key.
"""

from __future__ import annotations

from typing import TypeAlias

from skyvypack.dialect import Dialect
from skyvypack.hcl import Attribute, Block, Document, Ref
from skyvypack.spec.model import Spec
from skyvypack.targets import pieces
from skyvypack.targets.bases import LOCAL, builder_of
from skyvypack.targets.qemu import source as local
from skyvypack.targets.wishes import Setting, Wishes

_BY_BASE = {**LOCAL, "iso": "proxmox-iso", "clone": "proxmox-clone"}
BUILDERS = tuple(dict.fromkeys(_BY_BASE.values()))

_FIRST_ID = 100  # Proxmox VE keeps those below to itself

Body: TypeAlias = "list[Attribute | Block]"


def builder(spec: Spec) -> str:
    """The builder for a spec.

    Args:
        spec: what to bake.

    Raises:
        InputError: the target cannot start from the spec's base.
    """
    return builder_of(spec, "proxmox", _BY_BASE)


def scripts(spec: Spec) -> list[str]:
    """The scripts that run in the guest, by their paths in the bundle."""
    if spec.base.kind in LOCAL:
        return local.scripts(spec)
    return [*(["scripts/apply.sh"] if spec.base.kind == "clone" else []), "scripts/wait.sh", "scripts/seal.sh"]


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
    wishes = Wishes(spec, "proxmox", name, dialect)
    wishes.need("node")
    if 0 < wishes.settings["vm_id"] < _FIRST_ID:
        wishes.refuse(f"targets.proxmox.vm_id is {_FIRST_ID} or more", "0 takes the next free one")
    clone = spec.base.kind == "clone"
    body = [*_where(wishes), *(_clone(wishes) if clone else _installation(wishes)), *_end(wishes)]
    steps = [*(pieces.handed_over() if clone else []), *pieces.sealed(scripts(spec)[-2:], restarted=clone)]
    steps.append(pieces.seal_and_wait())
    places = pieces.installer_locals() if remastered(spec) else []
    return pieces.document(wishes, _variables(wishes), body, steps, places)


def _variables(wishes: Wishes) -> list[Block]:
    spec, settings = wishes.spec, wishes.settings
    secrets = [pieces.secret("proxmox_password", "PROXMOX_PASSWORD", "Password of the account.")]
    if wishes.accepts("token"):
        about = "Secret of the API token that proxmox_username names; takes the place of a password."
        secrets.append(pieces.secret("proxmox_token", "PROXMOX_TOKEN", about))
    image = [] if spec.base.kind != "iso" else [pieces.stored_iso(spec)]
    return [
        pieces.needed("proxmox_url", _api(settings["url"]), "URL of the API: https://…/api2/json.", "PROXMOX_URL"),
        pieces.needed("proxmox_username", settings["username"], "Account, such as packer@pve.", "PROXMOX_USERNAME"),
        *secrets,
        pieces.needed("node", settings["node"], "Node of the cluster, where the template is made."),
        *(
            [pieces.needed("storage", settings["storage"], "Storage of the template's disks.")]
            if spec.base.kind == "iso"
            else []  # a clone's disks are where its source's are
        ),
        pieces.needed("bridge", settings["bridge"], "Bridge of the node, that the network card is on."),
        *(pieces.installer_variables() if remastered(spec) else image),
    ]


def _api(url: str) -> str:
    """The URL as the builder wants it; people give the web interface's."""
    url = url.rstrip("/")
    return url if not url or url.endswith("/api2/json") else f"{url}/api2/json"


def _is_stored(spec: Spec) -> bool:
    """Whether the installer's image is a volume of Proxmox, such as ``local:iso/debian.iso``."""
    return "://" not in spec.base.url and ":iso/" in spec.base.url


def _where(wishes: Wishes) -> Body:
    spec, settings = wishes.spec, wishes.settings
    description = settings["description"] or spec.title
    return [
        *wishes.group(
            proxmox_url=Ref("var.proxmox_url"),
            username=Ref("var.proxmox_username"),
            password=Ref("var.proxmox_password"),
            token=Ref("var.proxmox_token") if wishes.accepts("token") else None,
            insecure_skip_tls_verify=wishes.setting("insecure"),
            task_timeout=wishes.setting("task_timeout"),
            node=Ref("var.node"),
            pool=wishes.setting("pool"),
        ),
        *wishes.group(
            "A name of its own for each version: the last one stays until this one is proven.",
            vm_name=pieces.versioned_name(spec),
            vm_id=wishes.setting("vm_id"),
            template_description=description,
            tags=wishes.setting("tags", ";".join),
        ),
        *wishes.group(
            "The machine, as clones will have it.",
            cores=spec.machine.cpus,
            memory=spec.machine.memory,
            cpu_type=wishes.setting("cpu_type"),
            numa=wishes.setting("numa"),
            os="l26",
            scsi_controller=wishes.setting("scsi_controller"),
            qemu_agent=settings["agent"],
            serials=_serials(wishes),
            onboot=wishes.setting("onboot"),
            boot=wishes.setting("boot_order"),
        ),
    ]


def _serials(wishes: Wishes) -> Setting:
    return wishes.setting("serial_console", lambda wanted: ["socket"] if wanted else [])


def _network(wishes: Wishes) -> list[Block]:
    return wishes.block(
        "network_adapters",
        model=wishes.setting("network_model"),
        bridge=Ref("var.bridge"),
        vlan_tag=wishes.setting("vlan", str),
        firewall=wishes.setting("firewall"),
    )


def _clone(wishes: Wishes) -> Body:
    """What a clone does not say, its source decides: firmware, disks and screen."""
    source = wishes.spec.base.source
    named: dict[str, str | int] = {"clone_vm": source}
    if source.isdigit() and wishes.require("clone_vm_id", "base.source"):
        named = {"clone_vm_id": int(source)}
    about = "The source has a cloud-init drive, by which Proxmox gives the build account its key."
    return [*wishes.group(about, **named, full_clone=wishes.setting("full_clone")), *_network(wishes)]


def _installation(wishes: Wishes) -> Body:
    return [
        *_firmware(wishes),
        *wishes.block("vga", type=wishes.setting("vga")),
        *wishes.block("disks", **_disk(wishes)),
        *_network(wishes),
        *_image(wishes),
        *([] if remastered(wishes.spec) else pieces.typed(wishes.spec)),
    ]


def _firmware(wishes: Wishes) -> Body:
    settings = wishes.settings
    uefi = wishes.spec.machine.firmware == "uefi"
    body: Body = [*wishes.group(machine=wishes.setting("machine_type"))]
    if uefi and wishes.require("bios", "machine.firmware uefi"):
        variables = {"efi_storage_pool": settings["efi_storage"] or Ref("var.storage"), "efi_type": "4m"}
        keys = {"pre_enrolled_keys": settings["secure_boot"]}
        body += [*wishes.group(bios="ovmf"), *wishes.block("efi_config", **variables, **keys)]
    if settings["tpm"] and not uefi:
        wishes.refuse("targets.proxmox.tpm needs machine.firmware uefi")
    elif settings["tpm"] and wishes.require("tpm_config", "targets.proxmox.tpm"):
        pool = settings["efi_storage"] or Ref("var.storage")
        body += wishes.block("tpm_config", tpm_storage_pool=pool, tpm_version="v2.0")
    if settings["secure_boot"] and not uefi:
        wishes.refuse("targets.proxmox.secure_boot needs machine.firmware uefi")
    return body


def _disk(wishes: Wishes) -> dict[str, Setting | str | Ref | None]:
    settings = wishes.settings
    # The builder refuses a thread for any other disk.
    threaded = settings["scsi_controller"] == "virtio-scsi-single" and settings["disk_type"] in ("scsi", "virtio")
    return {
        "type": wishes.setting("disk_type"),
        "disk_size": f"{wishes.spec.machine.disk}G",
        "storage_pool": Ref("var.storage"),
        # The newer plugin asks Proxmox itself, and warns of it.
        "storage_pool_type": None if wishes.accepts("boot_iso") else settings["storage_type"],
        "format": wishes.setting("disk_format"),
        "cache_mode": wishes.setting("cache_mode"),
        "io_thread": wishes.setting("io_thread") if threaded else None,
        "discard": wishes.setting("discard"),
        "ssd": wishes.setting("ssd"),
    }


def _image(wishes: Wishes) -> Body:
    stored = _is_stored(wishes.spec)
    image: dict[str, Ref | Setting] = {"iso_file": Ref("var.iso_url")}
    if not stored:
        image = {**pieces.INSTALLER, "iso_storage_pool": wishes.setting("iso_storage")}
    if wishes.accepts("boot_iso"):
        return [*wishes.block("boot_iso", **image, unmount=True)]
    return [*wishes.group("The image stays in the drive: Proxmox VE 7.1 and newer fail to eject it.", **image)]


def _end(wishes: Wishes) -> Body:
    drive = wishes.settings["cloud_init_storage"] or Ref("var.storage")
    about = "A drive by which Proxmox gives clones their first user-data."
    # A clone has its source's drive already.
    adds = wishes.spec.base.kind == "iso"
    return [
        *(wishes.group(about, cloud_init=True, cloud_init_storage_pool=drive) if adds else []),
        *pieces.communicator(),
    ]
