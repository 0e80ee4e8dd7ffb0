"""Arguments of today's qemu plugin, said in the words of an older Packer where it has none of its own for them."""

from __future__ import annotations

from collections.abc import Mapping

from skyvypack.dialect import Dialect
from skyvypack.hcl import Value
from skyvypack.targets.qemu import BUILDER

_TOPOLOGY = ("sockets", "cores", "threads")
_FIRMWARE = "/usr/share/OVMF/OVMF_CODE.fd"  # the plugin's own default for efi_firmware_code


def translate(wanted: Mapping[str, Value], dialect: Dialect) -> tuple[dict[str, Value], list[list[str]]]:
    """Divide what is wanted into builder arguments and QEMU options.

    Args:
        wanted: builder arguments in the names of the newest plugin, `cpus` among them.
        dialect: decides which of them have to be QEMU options.

    Returns:
        The arguments, and `qemuargs` for those the dialect has no argument for. What neither can say is left among
        the arguments, where the dialect's check refuses it.
    """
    arguments = dict(wanted)
    options: list[list[str]] = []
    if "cpu_model" in arguments and not dialect.accepts(BUILDER, "cpu_model"):
        options.append(["-cpu", str(arguments.pop("cpu_model"))])
    if any(name in arguments for name in _TOPOLOGY) and not dialect.accepts(BUILDER, "cores"):
        topology = [f"{name}={arguments.pop(name)}" for name in _TOPOLOGY if name in arguments]
        options.append(["-smp", ",".join([f"cpus={arguments['cpus']}", *topology])])
    if arguments.get("efi_boot") is True and not dialect.accepts(BUILDER, "efi_boot"):
        # Not as pflash: a -drive of ours would take the place of Packer's, the disk itself.
        del arguments["efi_boot"]
        options.append(["-bios", str(arguments.pop("efi_firmware_code", _FIRMWARE))])
    return arguments, options
