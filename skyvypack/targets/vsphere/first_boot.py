"""What a clone's settings must hold for its first boot: cloud-init's VMware datasource reads ``guestinfo.*``.

Source: cloud-init's documentation of the VMware datasource (keys and encodings); open-vm-tools,
``lib/include/guest_msg_def.h`` (a message between guest and host has at most 64 KiB).
"""

from __future__ import annotations

import base64
import gzip
import json

from skyvypack.errors import InputError

LIMIT = 64 * 1024
_ENCODING = "gzip+base64"


def settings(user_data: str, *, instance: str, hostname: str = "") -> dict[str, str]:
    """The settings (``extraConfig``) of a clone, by key.

    Args:
        user_data: as `skyvypack.cloudinit` makes it.
        instance: instance id, new for each clone; cloud-init runs again when it changes.
        hostname: of the clone; empty leaves it to the user-data.

    Raises:
        InputError: larger than a setting can be.
    """
    about = {"instance-id": instance} | ({"local-hostname": hostname} if hostname else {})
    found: dict[str, str] = {}
    for name, text in (("metadata", json.dumps(about)), ("userdata", user_data)):
        value = base64.b64encode(gzip.compress(text.encode(), mtime=0)).decode()
        if len(value) > LIMIT:
            raise InputError(
                f"{name} is {len(value)} bytes compressed and encoded ({len(text.encode())} plain); "
                f"vSphere's guestinfo.{name} takes {LIMIT}",
                "bake what every clone needs into the template: leave fewer users and keys to the first boot",
            )
        found |= {f"guestinfo.{name}": value, f"guestinfo.{name}.encoding": _ENCODING}
    return found
