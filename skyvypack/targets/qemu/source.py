"""`Spec` → the Packer document of the target qemu.

What Packer 1.6.6's qemu builder does with it was seen in its log: a local `iso_url` is used where it is, by its
absolute path, never copied; with `use_backing_file` the guest writes to an overlay, which `disk_compression` turns
into a disk that stands alone; `-device` and `-drive` in `qemuargs` replace all of Packer's own, so none is given,
while `-netdev` replaces its one, which would listen on every address of the host; `disable_vnc` keeps Packer from
connecting to a screen, yet QEMU from opening one takes `-vnc none`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from skyvypack.dialect import Dialect
from skyvypack.errors import InputError
from skyvypack.hcl import Attribute, Block, Call, Choice, Document, Equals, Ref, Template, Value, template, variable
from skyvypack.spec.model import Spec
from skyvypack.targets import pieces
from skyvypack.targets.bases import LOCAL, builder_of
from skyvypack.targets.qemu import BUILDER
from skyvypack.targets.qemu.arguments import translate

BUILDERS = (BUILDER,)

# No mitigations for this boot: where instructions are translated they cost time, and nobody else runs in this guest.
_KERNEL_LINE = "root=LABEL=root rw console=tty0 console=ttyS0,115200 mitigations=off"
# `user.0` is the backend that Packer's network card asks for.
_NETWORK = "user,id=user.0,hostfwd=tcp:127.0.0.1:{{ .SSHHostPort }}-:22"


def builder(spec: Spec) -> str:
    """The builder for a spec.

    Args:
        spec: what to bake.

    Raises:
        InputError: the target cannot start from the spec's base.
    """
    return builder_of(spec, "qemu", {**LOCAL, "iso": BUILDER})


def remastered(spec: Spec) -> bool:
    """Whether the build starts from an installer that `installer.sh` made.

    Args:
        spec: what to bake.
    """
    return spec.base.kind == "iso"


def document(spec: Spec, dialect: Dialect) -> Document:
    """The document: variables, locals, source and build.

    Args:
        spec: what to bake.
        dialect: the Packer to write for.

    Raises:
        InputError: the target cannot start from the spec's base, or the dialect cannot express a setting.
    """
    builder(spec)
    settings = spec.target_settings("qemu")
    source = _source(spec, settings, dialect)
    dialect.check(source)
    blocks = [
        dialect.packer_block(BUILDER),
        *_variables(spec, settings),
        _locals(spec),
        source,
        pieces.build(spec, BUILDER, pieces.sealed(scripts(spec))),
    ]
    return Document(blocks, pieces.title(spec, dialect))


def _variables(spec: Spec, settings: Mapping[str, Any]) -> list[Block]:
    known = Call("contains", (["hvf", "kvm", "tcg"], Ref("var.accelerator")))
    refused = Attribute("error_message", "The accelerator is kvm, tcg or hvf.")
    texts = {
        **_disk_variables(spec),
        "output_directory": ("", "Folder that Packer makes for the finished disk. Empty: output."),
        "console": ("", "File of the guest's serial log. Empty: build/console.log."),
    }
    return [
        *pieces.seed_variables(_ssh_timeout(spec, settings)),
        *(pieces.installer_variables() if remastered(spec) else []),
        *(variable(name, default=default, description=about) for name, (default, about) in texts.items()),
        variable(
            "accelerator",
            default="kvm" if settings["accelerator"] == "kvm" else "tcg",
            description="How QEMU runs the guest: kvm, tcg or hvf.",
            checks=[Block("validation", body=[Attribute("condition", known), refused])],
        ),
        variable(
            "compress",
            type="bool",
            default=True,
            description="Finish with a compressed disk that stands alone; without, it needs the disk it started from.",
        ),
    ]


def _ssh_timeout(spec: Spec, settings: Mapping[str, Any]) -> str:
    timeout: str = settings["install_timeout" if spec.base.kind == "iso" else "ssh_timeout"]
    return timeout


def _disk_variables(spec: Spec) -> dict[str, tuple[str, str]]:
    """Default and description of each."""
    if spec.base.kind == "iso":
        return {}
    if spec.base.kind == "bootstrap":
        return {
            "layer": ("", "Folder of disk.qcow2, vmlinuz and initrd.img, made by layer.sh. Empty: build/layer."),
            "disk_checksum": ("none", "Checksum of disk.qcow2, such as sha256:…; none trusts the layer as it stands."),
        }
    checksum = spec.base.checksum or f"file:{spec.base.checksums}"
    return {
        "layer": ("", "Folder that holds the image as disk.qcow2. Empty: Packer downloads it."),
        "disk_checksum": (checksum, "Checksum of the image, such as sha512:…, or file: and the URL of a list of them."),
    }


def _locals(spec: Spec) -> Block:
    places: list[Attribute] = [
        pieces.seed_local(),
        Attribute("output_directory", pieces.given("output_directory", template("${path.root}/output"))),
        Attribute("console", pieces.given("console", template("${path.root}/build/console.log"))),
    ]
    if spec.base.kind == "iso":
        places += pieces.installer_locals()
    elif spec.base.kind == "bootstrap":
        places += [
            Attribute("layer", pieces.given("layer", template("${path.root}/build/layer"))),
            Attribute("disk", template("${local.layer}/disk.qcow2")),
        ]
    else:
        downloaded = template("${var.layer}/disk.qcow2")
        places.append(Attribute("disk", Choice(Equals(Ref("var.layer"), ""), spec.base.url, downloaded)))
    return Block("locals", body=places, comment=pieces.NOT_IN_DEFAULTS)


def _source(spec: Spec, settings: Mapping[str, Any], dialect: Dialect) -> Block:
    machine: dict[str, Value] = {
        "accelerator": Ref("var.accelerator"),
        "machine_type": "q35",
        "cpus": spec.machine.cpus,
        "memory": spec.machine.memory,
        "net_device": settings["net_device"],
        "headless": True,
        "disable_vnc": True,
        "cpu_model": settings["cpu_model"],
    }
    iso = spec.base.kind == "iso"
    groups = [_disk(spec, settings), *([] if iso else [pieces.cloud_init_disc()]), _communicator()]
    further = settings["arguments"]
    _refuse_ours(further, [*machine, "qemuargs", *(item.name for group in groups for item in group)])
    arguments, options = translate(machine | further, dialect)
    body: list[Attribute | Block] = [Attribute(name, value) for name, value in arguments.items()]
    body.append(Attribute("qemuargs", [*options, *_qemuargs(spec, further)], _about_qemuargs(spec)))
    body += [item for group in groups for item in group]
    if not iso:
        # QEMU 6.1 and newer want a backing file's format named, which Packer 1.6.6 does not.
        body.append(Block("qemu_img_args", body=[Attribute("create", ["-F", "qcow2"])]))
    return Block("source", [BUILDER, spec.name], body)


def _refuse_ours(further: Mapping[str, Any], ours: list[str]) -> None:
    if clash := sorted({*further} & {*ours, "qemu_img_args"}):
        raise InputError(
            f"targets.qemu.arguments sets {', '.join(clash)}, which the bundle sets itself",
            "leave it out; the spec's machine and the target's other settings decide it",
        )


def _overlay(spec: Spec) -> list[Attribute]:
    ours = "Nothing is downloaded: the layer is made on this machine. skyvypack:ignore checksum-none"
    return [
        Attribute("iso_url", Ref("local.disk"), "The guest writes to an overlay; what it starts from never changes."),
        Attribute("iso_checksum", Ref("var.disk_checksum"), ours if spec.base.kind == "bootstrap" else ""),
        Attribute("disk_image", True),
        Attribute("use_backing_file", True),
    ]


def _installer() -> list[Attribute]:
    url, checksum = pieces.INSTALLER.items()
    return [Attribute(*url, "It holds every answer, and what cloud-init needs afterwards."), Attribute(*checksum)]


def _disk(spec: Spec, settings: Mapping[str, Any]) -> list[Attribute]:
    return [
        *(_installer() if spec.base.kind == "iso" else _overlay(spec)),
        Attribute("format", "qcow2"),
        Attribute("disk_size", f"{spec.machine.disk}G"),
        Attribute("disk_interface", settings["disk_interface"]),
        Attribute("disk_cache", "unsafe", "A build that dies is thrown away: no need to wait for the host's disk."),
        Attribute("disk_discard", "unmap", "What the guest frees leaves the file, too."),
        Attribute("disk_detect_zeroes", "unmap"),
        Attribute("disk_compression", Ref("var.compress")),
        Attribute("output_directory", Ref("local.output_directory")),
        Attribute("vm_name", f"{spec.name}-{spec.version}.qcow2"),
    ]


def _communicator() -> list[Attribute]:
    boot_wait = Attribute("boot_wait", "-1s", "There is nothing to type, so nothing to wait for.")
    return [*pieces.communicator(), boot_wait, *pieces.shutdown()]


def _about_qemuargs(spec: Spec) -> str:
    kernel = " The layer has no boot loader yet: QEMU loads its kernel." if spec.base.kind == "bootstrap" else ""
    return f"No screen; the console is logged; only this host reaches SSH.{kernel}"


def _qemuargs(spec: Spec, further: Mapping[str, Any]) -> list[Value]:
    console = Template(("file:", Ref("local.console")))
    options: list[Value] = [["-display", "none"], ["-vnc", "none"], ["-serial", console]]
    if "net_bridge" not in further:  # a bridged guest has no forward
        options.append(["-netdev", _NETWORK])
    if spec.base.kind == "bootstrap":
        options += [
            ["-kernel", template("${local.layer}/vmlinuz")],
            ["-initrd", template("${local.layer}/initrd.img")],
            ["-append", _KERNEL_LINE],
        ]
    return options


def scripts(spec: Spec) -> list[str]:
    """The scripts that run in the guest, by their paths in the bundle, in the order they run; the last one seals."""
    return ["scripts/wait.sh", *(["scripts/bootloader.sh"] if spec.base.kind == "bootstrap" else []), "scripts/seal.sh"]
