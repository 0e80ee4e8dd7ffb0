"""What the documents of several builders have in common: variables, access to the guest, the steps of a build."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from skyvypack.cloudinit import BUILD_ACCOUNT
from skyvypack.dialect import Dialect
from skyvypack.hcl import (
    Attribute,
    Block,
    Call,
    Choice,
    Differs,
    Document,
    Equals,
    Ref,
    Value,
    template,
    variable,
)
from skyvypack.spec.model import Spec
from skyvypack.targets.wishes import Wishes

SEAL = "/tmp/skyvypack-seal.sh"
# It holds every answer and what cloud-init needs afterwards, so that nothing is typed.
INSTALLER: Mapping[str, Ref] = {"iso_url": Ref("local.installer"), "iso_checksum": Ref("local.installer_checksum")}
NOT_IN_DEFAULTS = "Variables cannot name this folder in their defaults, locals can."

_SUDO = "sudo env {{ .Vars }} sh '{{ .Path }}'"
_SEEDS = ("${path.root}/user-data", "${path.root}/meta-data", "${local.seed}/vendor-data")


def versioned_name(spec: Spec) -> str:
    """Name and version in the characters that every provider takes for a template's name."""
    return f"{spec.name}-{spec.version}".translate(str.maketrans("+~", "--"))


def given(name: str, otherwise: Value) -> Choice:
    """A variable, or something else when it is empty."""
    return Choice(Equals(Ref(f"var.{name}"), ""), otherwise, Ref(f"var.{name}"))


def seed_variables(ssh_timeout: str) -> list[Block]:
    """The variables of access to the guest.

    Args:
        ssh_timeout: default of the variable of that name.
    """
    about = "Folder of id_ed25519 and vendor-data, made by prepare.sh. Empty: build."
    patience = "How long the guest may take until it answers."
    return [
        variable("seed", default="", description=about),
        variable("ssh_timeout", default=ssh_timeout, description=patience),
    ]


def seed_local() -> Attribute:
    """The local that names the folder of the seed: paths start at this file's folder, wherever Packer is called."""
    return Attribute("seed", given("seed", template("${path.root}/build")))


def needed(name: str, value: Value, description: str, otherwise: str = "") -> Block:
    """A variable that must not be empty.

    Args:
        name: of the variable.
        value: its default; when empty, taken from the environment.
        description: what it is for.
        otherwise: name in the environment to take it from.
    """
    default: Value = value or (Call("env", (otherwise,)) if otherwise else "")
    where = f" or {otherwise} in the environment" if otherwise else ""
    refused = Attribute("error_message", f"Give {name}{where}.")
    check = Block("validation", body=[Attribute("condition", Differs(Ref(f"var.{name}"), "")), refused])
    return variable(name, default=default, description=description, checks=[check])


def secret(name: str, environment: str, description: str) -> Block:
    """A variable that comes from the environment alone, and that Packer never shows.

    Args:
        name: of the variable.
        environment: name in the environment.
        description: what it is for.
    """
    about = f"{description} From {environment} in the environment."
    return variable(name, default=Call("env", (environment,)), description=about, sensitive=True)


def stored_iso(spec: Spec) -> Block:
    """The variable of an installer image that the platform holds itself."""
    return needed("iso_url", spec.base.url, "Debian's installer image, as the platform names it.")


def installer_variables() -> list[Block]:
    """The variables of an installer that asks nothing, made of Debian's by prepare.sh."""
    about = "Checksum of the installer, such as sha256:…, or file: and a list of them. Empty: what prepare.sh wrote."
    return [
        variable("installer", default="", description="The installer, made by prepare.sh. Empty: build/installer.iso."),
        variable("installer_checksum", default="", description=about),
    ]


def installer_locals() -> list[Attribute]:
    """The locals that name the installer: paths start at this file's folder, wherever Packer is called."""
    made = "${path.root}/build/installer.iso"
    return [
        Attribute("installer", given("installer", template(made))),
        Attribute("installer_checksum", given("installer_checksum", template(f"file:{made}.sha256"))),
    ]


def cloud_init_disc() -> list[Attribute]:
    """cloud-init's data on a disc of the build machine."""
    return [
        Attribute("cd_files", [template(path) for path in _SEEDS], "cloud-init finds its data on a CD of this label."),
        Attribute("cd_label", "cidata"),
    ]


def typed(spec: Spec) -> list[Attribute]:
    """How an installer that the platform holds is told what to do: by typing where its answers are.

    The installer reads them, and what the first boot needs, from Packer's own web server.
    """
    where = "auto=true priority=critical url=http://{{ .HTTPIP }}:{{ .HTTPPort }}/preseed.cfg"
    if spec.machine.firmware == "uefi":
        kernel = f"linux /install.amd/vmlinuz {where}<enter><wait>"
        typed = ["<wait>c<wait3>", kernel, "initrd /install.amd/initrd.gz<enter><wait>", "boot<enter>"]
    else:
        typed = ["<wait><esc><wait3>", f"auto {where}<enter>"]
    return [
        Attribute("http_directory", template("${local.seed}/http"), "Holds no secret, for whoever asks may read it."),
        Attribute("boot_wait", "5s"),
        Attribute("boot_command", typed),
    ]


def communicator() -> list[Attribute]:
    """How Packer gets into the guest, and how the guest is switched off."""
    return [
        Attribute("communicator", "ssh", "vendor-data makes this account; sealing removes it."),
        Attribute("ssh_username", BUILD_ACCOUNT),
        Attribute("ssh_private_key_file", template("${local.seed}/id_ed25519")),
        Attribute("ssh_timeout", Ref("var.ssh_timeout")),
    ]


def shutdown() -> list[Attribute]:
    """How the guest is switched off, where the builder asks it to."""
    return [
        Attribute("shutdown_command", f"sudo sh {SEAL}", "Leaves no trace of the build, then switches off."),
        Attribute("shutdown_timeout", "15m"),
    ]


def shell(about: str, scripts: Sequence[str], further: Mapping[str, Value] | None = None) -> Block:
    """A provisioner that runs scripts of the bundle as root.

    Args:
        about: a comment above it.
        scripts: paths in the bundle.
        further: more of its arguments.
    """
    body = [
        Attribute("scripts", [template(f"${{path.root}}/{path}") for path in scripts]),
        Attribute("execute_command", _SUDO),
        *(Attribute(name, value) for name, value in (further or {}).items()),
    ]
    return Block("provisioner", ["shell"], body, about)


def upload(about: str, source: Sequence[str] | str, destination: str) -> Block:
    """A provisioner that copies files into the guest.

    Args:
        about: a comment above it.
        source: a path, or several for a folder; templates.
        destination: in the guest; a folder ends in a slash.
    """
    single = isinstance(source, str)
    what: Value = template(source) if isinstance(source, str) else [template(path) for path in source]
    body = [Attribute("source" if single else "sources", what), Attribute("destination", destination)]
    return Block("provisioner", ["file"], body, about)


def handed_over() -> list[Block]:
    """The steps that give cloud-init its data where a machine cannot be started with it."""
    about = "The configuration comes by SSH: this platform has no way, or not enough room, to start a machine with it."
    restart = {"expect_disconnect": True}
    return [
        upload(about, _SEEDS, "/tmp/"),
        shell("Restarts the guest, whose cloud-init then configures it.", ["scripts/apply.sh"], restart),
    ]


def sealed(scripts: Sequence[str], *, restarted: bool = False) -> list[Block]:
    """The steps that wait for the configuration and make ready to seal.

    Args:
        scripts: paths in the bundle; the last one seals and is only copied.
        restarted: True when the guest has just been told to restart.
    """
    *run, seal = scripts
    about = "Waits for cloud-init, which configures everything; fails with its errors."
    return [
        shell(about, run, {"pause_before": "15s"} if restarted else None),
        upload("Sealing comes last, and ends with the power.", f"${{path.root}}/{seal}", SEAL),
    ]


def seal_and_wait() -> Block:
    """A provisioner that seals, where the builder has no shutdown command or does not wait for one.

    The guest ends the connection once its disk is written out, and is off a moment later. It must not be told to
    stop before that; and if it never does, sealing has failed.
    """
    body = [
        Attribute("inline", [f"sudo sh {SEAL}", "sleep 900", "exit 1"]),
        Attribute("expect_disconnect", True),
        Attribute("skip_clean", True),
    ]
    return Block("provisioner", ["shell"], body, "Leaves no trace of the build, then switches off.")


def build(spec: Spec, builder: str, steps: Sequence[Block]) -> Block:
    """The build block.

    Args:
        spec: what to bake.
        builder: of the source.
        steps: provisioners, in order.
    """
    about = {"name": spec.name, "version": spec.version, "debian": spec.debian}
    manifest = Block(
        "post-processor",
        ["manifest"],
        [
            Attribute("output", template("${path.root}/packer-manifest.json")),
            Attribute("strip_path", True),
            Attribute("custom_data", about),
        ],
    )
    return Block("build", body=[Attribute("sources", [Ref(f"source.{builder}.{spec.name}")]), *steps, manifest])


def title(spec: Spec, dialect: Dialect) -> str:
    """The comment at the top of a document."""
    return f"{spec.title}, made by skyvypack for Packer {dialect.name}; README.md says how to use it."


def document(
    wishes: Wishes,
    variables: Sequence[Block],
    body: list[Attribute | Block],
    steps: Sequence[Block],
    places: Sequence[Attribute] = (),
) -> Document:
    """The document of a builder that needs nothing unusual.

    Args:
        wishes: of the source block.
        variables: in order; those of the seed come last.
        body: of the source block, without the setting `arguments`.
        steps: provisioners, in order.
        places: locals beside that of the seed.

    Raises:
        InputError: the dialect cannot express a setting, or one is missing.
    """
    spec, dialect = wishes.spec, wishes.dialect
    blocks = [
        dialect.packer_block(wishes.builder),
        *variables,
        *seed_variables(wishes.settings["ssh_timeout"]),
        Block("locals", body=[seed_local(), *places], comment=NOT_IN_DEFAULTS),
        wishes.source(body),
        build(spec, wishes.builder, steps),
    ]
    return Document(blocks, title(spec, dialect))


def export_variables(headless: bool, what: str) -> list[Block]:
    """The variables of a builder that leaves files on this machine.

    Args:
        headless: default of the variable of that name.
        what: is put into the folder.
    """
    return [
        variable("output_directory", default="", description=f"Folder that Packer makes for {what}. Empty: output."),
        variable("headless", type="bool", default=headless, description="No window while it is made."),
    ]


def output_local() -> Attribute:
    """The local that names the folder of the result."""
    return Attribute("output_directory", given("output_directory", template("${path.root}/output")))
