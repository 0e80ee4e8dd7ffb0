"""A template of Packer's qemu builder → settings of the target qemu: the way back of `source`."""

from __future__ import annotations

from collections.abc import Mapping

from skyvypack.importer import carry
from skyvypack.importer.carry import Carry, Draft, Refused, into, own, setting
from skyvypack.importer.found import Given
from skyvypack.targets.qemu import BUILDER

BUILDERS = (BUILDER,)

# Options that the bundle gives itself, or that it replaces by its own.
_OURS = {
    "-display": "none",
    "-vnc": "none",
    "-serial": "file:./build/console.log",
    "-netdev": "user,id=user.0,hostfwd=tcp:127.0.0.1:{{ .SSHHostPort }}-:22",
}
# Only a bundle of ours loads the kernel of a layer, which has no boot loader yet.
_LAYER = ("-kernel", "-initrd", "-append")


def _firmware(draft: Draft, given: Given) -> None:
    """Firmware that takes EFI programs: of the bake, for its disk boots with both, and of the template."""
    if carry.known(given) is True:
        draft.put(("machine", "firmware"), "uefi", f"{given.where} {given.path}")
    draft.further(given.path, given.value, f"{given.where} {given.path}")


def _booted(draft: Draft, given: Given) -> None:
    """An image that boots: Debian's, unless QEMU is given the kernel of a layer."""
    if carry.known(given) in (True, "true") and ("base", "kind") not in draft.places:
        draft.put(("base", "kind"), "cloud-image", f"{given.where} {given.path}")


def _options(draft: Draft, given: Given) -> None:
    """QEMU's own options: those that an argument or a setting stands for; the others have no place in a spec."""
    if not isinstance(given.value, list):
        carry.known(given)
        raise Refused("is no list of options")
    for option in given.value:
        name, value = (*map(str, option), "")[:2] if isinstance(option, list) and option else ("", "")
        try:
            _option(draft, given, name, value)
        except Refused as error:
            draft.leave("lost", Given(f"{given.path} {name}", "", given.file, given.line), str(error))


def _option(draft: Draft, given: Given, name: str, value: str) -> None:
    note = f"{given.where} {given.path} {name}"
    if name in _LAYER:
        draft.put(("base", "kind"), "bootstrap", note)
    elif name == "-cpu":
        draft.put_setting("cpu_model", value, note)
    elif name == "-m":
        draft.put(("machine", "memory"), int(value) if value.isdigit() else value.upper(), note)
    elif name == "-smp":
        _topology(draft, value, note)
    elif name == "-bios":
        draft.put(("machine", "firmware"), "uefi", note)
        draft.further("efi_boot", True, note)
        if value != "/usr/share/OVMF/OVMF_CODE.fd":
            draft.further("efi_firmware_code", value, note)
    elif _OURS.get(name) != value:
        raise Refused("is an option of QEMU for which a spec has no word")


def _topology(draft: Draft, text: str, note: str) -> None:
    """``-smp 4``, or ``cpus=4,cores=2``."""
    for word in text.split(","):
        name, _, number = word.rpartition("=")
        if not number.isdigit():
            raise Refused("is no topology that can be read")
        if name in ("", "cpus"):
            draft.put(("machine", "cpus"), int(number), note)
        elif name in ("sockets", "cores", "threads"):
            draft.further(name, int(number), note)


ARGUMENTS: Mapping[str, Carry] = {
    **carry.COMMUNICATOR,
    **carry.SHUTDOWN,
    **carry.INSTALLATION,
    **carry.CLOUD_INIT_DISC,
    **carry.IMAGE,
    "boot_wait": own("-1s", why="the bundle has nothing to type"),
    # Which limit it becomes, the base decides.
    "ssh_timeout": setting("install_timeout"),
    "ssh_wait_timeout": setting("install_timeout"),
    "accelerator": setting("accelerator"),
    "machine_type": own("q35"),
    "cpus": into("machine", "cpus"),
    "memory": into("machine", "memory"),
    "net_device": setting("net_device"),
    "headless": own(True),
    "disable_vnc": own(True),
    "cpu_model": setting("cpu_model"),
    "qemuargs": _options,
    "efi_boot": _firmware,
    "disk_image": _booted,
    "use_backing_file": own(True, False),
    "format": setting("formats"),
    "disk_size": carry.size_of_disk,
    "disk_interface": setting("disk_interface"),
    "disk_cache": own("unsafe"),
    "disk_discard": own("unmap"),
    "disk_detect_zeroes": own("unmap"),
    "disk_compression": own(True),
    "skip_compaction": own(),
    "output_directory": own("./output"),
    "vm_name": carry.name,
    "qemu_img_args.create": own(["-F", "qcow2"]),
}


def finish(draft: Draft) -> None:
    """What only the whole template says.

    Args:
        draft: with what each argument became.
    """
    kind = draft.places.setdefault(("base", "kind"), "iso")
    if kind == "bootstrap":
        draft.leftovers[:] = [one for one in draft.leftovers if one.what != "argument iso_checksum"]
    patience = ("targets", draft.target, "install_timeout")
    if kind != "iso" and patience in draft.places:
        draft.put_setting("ssh_timeout", draft.places.pop(patience), draft.notes.pop(patience))
