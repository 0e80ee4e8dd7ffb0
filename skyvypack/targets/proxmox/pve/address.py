"""The address of a guest, as its agent tells it."""

from __future__ import annotations

import ipaddress
import re
from typing import Any

from skyvypack.registrar.contract import RegistrarError
from skyvypack.targets.proxmox.pve.api import Api, passes

_MAC = re.compile(r"([0-9a-f]{2}(?::[0-9a-f]{2}){5})", re.IGNORECASE)


def address_of(api: Api, path: str, card: str) -> str | None:
    """The address of a guest's first network card; None as long as there is none, or the agent does not answer.

    Args:
        api: the cluster.
        path: of the VM in the API.
        card: the VM's ``net0``, which holds the MAC address. A guest has other interfaces, such as Docker's.
    """
    from proxmoxer.core import ResourceException

    try:
        told = api.once("GET", f"{path}/agent/network-get-interfaces", {})
    except ResourceException as error:
        if error.status_code == 403:
            raise RegistrarError(f"the guest agent may not be asked: {error.content}") from error
        return None  # not running yet
    except Exception as error:
        if not passes(error):
            raise
        return None
    return pick(told.get("result") or [], card)


def pick(interfaces: list[dict[str, Any]], card: str) -> str | None:
    """An address of the interface with the card's MAC address: IPv4 first, none that only the link knows."""
    found = _MAC.search(card)
    mac = found[1].lower() if found else ""
    addresses = []
    for interface in interfaces:
        if str(interface.get("hardware-address", "")).lower() == mac:
            addresses += [ipaddress.ip_address(one["ip-address"]) for one in interface.get("ip-addresses") or ()]
    usable = [one for one in addresses if not one.is_loopback and not one.is_link_local]
    return str(min(usable, key=lambda one: (one.version, int(one)))) if usable else None
