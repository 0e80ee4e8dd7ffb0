"""The parameters of a VM: what a spec and the target's settings come to in Proxmox VE's words.

Names and shapes are those of ``POST /nodes/{node}/qemu`` in Proxmox VE's own schema, against which tests check them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from skyvypack.registrar.contract import Order

DISK = "0"  # number of the disk on its bus
CLOUD_INIT = "ide2"
_GIB = 1024**3


def dns_name(text: str) -> str:
    """A VM's name: Proxmox VE takes DNS names only, a version may hold more."""
    labels = (re.sub(r"[^A-Za-z0-9-]+", "-", label).strip("-") for label in text.split("."))
    return ".".join(label for label in labels if label)


def disk_key(settings: Mapping[str, Any]) -> str:
    """The key of the disk, such as ``scsi0``."""
    return f"{settings['disk_type']}{DISK}"


def parameters(order: Order, volume: str) -> dict[str, Any]:
    """All that the VM is made with, but for its id, notes and tags.

    Args:
        order: gives machine and settings.
        volume: the uploaded disk, as ``<storage>:import/<file>`` or an absolute path.
    """
    settings, machine = order.settings, order.spec.machine
    storage = settings["storage"]
    key = disk_key(settings)
    wanted: dict[str, Any] = {
        "name": dns_name(order.title),
        "ostype": "l26",
        "machine": settings["machine_type"],
        "cpu": settings["cpu_type"],
        "cores": machine.cpus,
        "memory": machine.memory,
        "numa": int(settings["numa"]),
        "scsihw": settings["scsi_controller"],
        key: _disk(settings, volume),
        CLOUD_INIT: f"{settings['cloud_init_storage'] or storage}:cloudinit",
        "net0": _network(settings),
        "agent": "enabled=1,fstrim_cloned_disks=1" if settings["agent"] else "enabled=0",
        "vga": settings["vga"],
        "onboot": int(settings["onboot"]),
        "boot": _boot_order(settings["boot_order"], key),
    }
    if settings["serial_console"]:
        wanted["serial0"] = "socket"
    if settings["pool"]:
        wanted["pool"] = settings["pool"]
    return wanted | _firmware(order)


def _disk(settings: Mapping[str, Any], volume: str) -> str:
    options = {
        "import-from": volume,
        "cache": settings["cache_mode"] if settings["cache_mode"] != "none" else "",
        "discard": "on" if settings["discard"] else "",
        "format": settings["disk_format"] if settings["disk_format"] != "raw" else "",
        "iothread": "1" if settings["io_thread"] and settings["disk_type"] in ("scsi", "virtio") else "",
        "ssd": "1" if settings["ssd"] and settings["disk_type"] != "virtio" else "",
    }
    return ",".join([f"{settings['storage']}:0", *(f"{name}={value}" for name, value in options.items() if value)])


def _network(settings: Mapping[str, Any]) -> str:
    card = f"{settings['network_model']},bridge={settings['bridge']}"
    card += f",tag={settings['vlan']}" if settings["vlan"] else ""
    return card + (",firewall=1" if settings["firewall"] else "")


def _boot_order(wish: str, disk: str) -> str:
    return f"order={wish.removeprefix('order=') or disk}"


def _firmware(order: Order) -> dict[str, Any]:
    settings = order.settings
    if order.spec.machine.firmware == "bios":
        return {"bios": "seabios"}
    keys = int(settings["secure_boot"])
    storage = settings["efi_storage"] or settings["storage"]
    wanted = {"bios": "ovmf", "efidisk0": f"{storage}:1,efitype=4m,pre-enrolled-keys={keys}"}
    if settings["tpm"]:
        wanted["tpmstate0"] = f"{storage}:1,version=v2.0"
    return wanted


def disk_bytes(order: Order) -> int:
    """The size of the disk once it is imported."""
    return order.spec.machine.disk * _GIB
