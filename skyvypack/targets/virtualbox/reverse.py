"""A template of one of Packer's VirtualBox builders → settings of the target virtualbox: the way back of `source`."""

from __future__ import annotations

from collections.abc import Mapping

from skyvypack.importer import carry
from skyvypack.importer.carry import Carry, Draft, Refused, choice, into, own, setting
from skyvypack.importer.found import Given

BUILDERS = ("virtualbox-iso", "virtualbox-ovf")

_firmware = into("machine", "firmware", read=choice({"bios": "bios", "efi": "uefi"}))
# What `VBoxManage modifyvm` calls what today's plugin has arguments for.
_WORDS: Mapping[str, Carry] = {
    "cpus": into("machine", "cpus"),
    "memory": into("machine", "memory"),
    "firmware": _firmware,
    "chipset": setting("chipset"),
    "nictype1": setting("nic_type"),
    "graphicscontroller": setting("graphics"),
    "vram": setting("video_memory"),
    "nested-hw-virt": setting("nested_virtualization", choice({"on": True, "off": False})),
}


def _commands(draft: Draft, given: Given) -> None:
    """Commands of VBoxManage: those that a setting stands for; the others have no place in a spec."""
    if not isinstance(given.value, list):
        carry.known(given)
        raise Refused("is no list of commands")
    for command in given.value:
        words = [str(word) for word in command] if isinstance(command, list) else []
        # The blanks in {{.Name}} are a matter of taste.
        ours = len(words) == 4 and words[0] == "modifyvm" and words[1].replace(" ", "") == "{{.Name}}"
        name = words[2].removeprefix("--") if ours else ""
        one = Given(f"{given.path} {name or ' '.join(words[:1])}", words[-1] if words else "", given.file, given.line)
        try:
            if name not in _WORDS:
                raise Refused("is a command of VBoxManage for which a spec has no word")
            _WORDS[name](draft, one)
        except Refused as error:
            draft.leave("lost", one, str(error))


ARGUMENTS: Mapping[str, Carry] = {
    **carry.COMMUNICATOR,
    **carry.SHUTDOWN,
    **carry.INSTALLATION,
    **carry.CLOUD_INIT_DISC,
    **carry.IMAGE,
    "source_path": into("base", "source"),
    "checksum": own("none", why="is a variable of the bundle, source_checksum"),
    "guest_os_type": setting("guest_os_type"),
    "disk_size": carry.mebibytes_of_disk,
    "hard_drive_interface": setting("disk_interface"),
    "hard_drive_discard": setting("discard"),
    "cpus": into("machine", "cpus"),
    "memory": into("machine", "memory"),
    "firmware": _firmware,
    "chipset": setting("chipset"),
    "nic_type": setting("nic_type"),
    "gfx_controller": setting("graphics"),
    "gfx_vram_size": setting("video_memory"),
    "nested_virt": setting("nested_virtualization"),
    "vboxmanage": _commands,
    "vm_name": carry.name,
    "output_directory": own("./output"),
    "format": setting("export_format"),
    "headless": setting("headless"),
    "guest_additions_mode": own("disable"),
    "guest_additions_path": own(why="the bundle takes no guest additions"),
    "guest_additions_url": own(why="the bundle takes no guest additions"),
    "guest_additions_sha256": own(why="the bundle takes no guest additions"),
}


def finish(draft: Draft) -> None:
    """What only the whole template says.

    Args:
        draft: with what each argument became.
    """
    clone = draft.builder == "virtualbox-ovf"
    draft.starts_from("clone" if clone else "iso", "" if clone else "VirtualBox")
