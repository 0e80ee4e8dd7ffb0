"""Let UEFI's firmware start the installed system before the medium it was installed from, which may still be there.

Runs in the new system, before the machine restarts; its argument is the EFI system partition, such as /dev/sda2. Writes
the variables Boot#### and BootOrder as the UEFI specification has them (3.1.3 load options, 10.3 device paths), as
efibootmgr would, which the system needs for nothing else.
"""

import os
import re
import struct
import subprocess
import sys
import uuid
from pathlib import Path

ROOT = Path(os.environ.get("SKYVYOS_ROOT", "/"))
VARIABLES = ROOT / "sys/firmware/efi/efivars"
VENDOR = "8be4df61-93ca-11d2-aa0d-00e098032b8c"
# Kept without power; readable while firmware starts and afterwards.
ATTRIBUTES = struct.pack("<I", 7)
ACTIVE = 1
LOADER = "\\EFI\\BOOT\\BOOTX64.EFI"
END = b"\x7f\xff\x04\x00"


def text(words: str) -> bytes:
    """A text as firmware reads it."""
    return f"{words}\0".encode("utf-16-le")


def device_path(partition: str) -> bytes:
    """A partition of a GPT disk, and the loader in it."""
    sysfs = ROOT / "sys/class/block" / Path(partition).name
    number, start, size = (int((sysfs / name).read_text()) for name in ("partition", "start", "size"))
    argv = ["blkid", "-p", "-o", "value", "-s", "PART_ENTRY_UUID", partition]
    unique = uuid.UUID(subprocess.run(argv, check=True, capture_output=True, text=True).stdout.strip())
    disk = struct.pack("<BBHIQQ16sBB", 4, 1, 42, number, start, size, unique.bytes_le, 2, 2)
    loader = text(LOADER)
    return disk + struct.pack("<BBH", 4, 4, 4 + len(loader)) + loader + END


def write(name: str, value: bytes) -> None:
    """Set a variable, in the one call that the kernel wants it in."""
    with (VARIABLES / f"{name}-{VENDOR}").open("wb", buffering=0) as file:
        file.write(ATTRIBUTES + value)


def main(partition: str, title: str = "SkyvyOS") -> None:
    """Make or find the system's entry, and put it before all others."""
    path = device_path(partition)
    option = struct.pack("<IH", ACTIVE, len(path)) + text(title) + path
    taken = {}
    for entry in VARIABLES.iterdir():
        if found := re.fullmatch(rf"Boot([0-9A-F]{{4}})-{VENDOR}", entry.name):
            taken[int(found[1], 16)] = entry.read_bytes()[4:]
    # An earlier installation to the same partition has left its own.
    number = next((number for number, value in taken.items() if value == option), None)
    if number is None:
        number = next(number for number in range(0x10000) if number not in taken)
        write(f"Boot{number:04X}", option)
    try:
        order = (VARIABLES / f"BootOrder-{VENDOR}").read_bytes()[4:]
    except FileNotFoundError:
        order = b""
    others = [one for (one,) in struct.iter_unpack("<H", order) if one != number]
    write("BootOrder", struct.pack(f"<{len(others) + 1}H", number, *others))


main(*sys.argv[1:])
