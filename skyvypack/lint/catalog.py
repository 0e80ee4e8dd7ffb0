"""Every rule, in the order of the reference."""

from __future__ import annotations

import difflib
from collections.abc import Mapping

from skyvypack.lint.findings import Rule

_QEMU = 'source "qemu" "a" {\n  iso_url      = "x.iso"\n  iso_checksum = "sha256:aa"\n  ssh_username = "debian"\n'
_BUILD = 'build {\n  sources = ["source.qemu.a"]\n}\n'


def _source(lines: str = "", before: str = "") -> str:
    return f"{before}{_QEMU}{lines}}}\n\n{_BUILD}"


SYNTAX = Rule(
    "syntax",
    "error",
    "The file is not HCL",
    "Packer reads nothing of a file that it cannot parse. The place shown is the first that does not fit.",
    bad='source "qemu" {\n  memory =\n}\n',
    good=_source("  memory = 1024\n"),
)
UNKNOWN_BLOCK = Rule(
    "unknown-block",
    "error",
    "A block or argument of Packer's own language that does not exist, or has the wrong number of labels",
    "Concerns what no plugin defines: `variable`, `locals`, `source`, `build`, `packer` and what stands in them.",
    bad='varable "a" {}\n',
    good='variable "a" {\n  default = 1\n}\n\n' + _source("  memory = var.a\n"),
)
UNKNOWN_ARGUMENT = Rule(
    "unknown-argument",
    "error",
    "A builder has no such argument or block in this version",
    "The tables of skyvypack's builders say what each one takes: as bundled with Packer 1.6.6, and at every release of "
    "its plugin since. The message names the version that brought or removed the argument, or the nearest name.",
    bad=_source("  memroy = 1024\n"),
    good=_source("  memory = 1024\n"),
)
BLOCK_OR_ARGUMENT = Rule(
    "block-or-argument",
    "error",
    "A block is written as an argument, or an argument as a block",
    "HCL tells `tags = {…}` from `tags {…}`; a builder takes only one of them.",
    bad=_source('  qemu_img_args = {\n    create = ["-o"]\n  }\n'),
    good=_source('  qemu_img_args {\n    create = ["-o"]\n  }\n'),
)
REPEATED = Rule(
    "repeated",
    "error",
    "An argument, or a block that may stand once, stands twice",
    "HCL refuses an argument that is set twice in one block; some blocks may stand only once.",
    bad=_source("  memory = 1\n  memory = 2\n"),
    good=_source("  memory = 2\n"),
)
MISSING_ARGUMENT = Rule(
    "missing-argument",
    "error",
    "An argument that the builder needs is not set",
    "Checked are those that Packer's own `validate` insists on. Of some, one of several is enough.",
    bad='source "qemu" "a" {\n  iso_url = "x.iso"\n}\n\n' + _BUILD,
    good=_source(),
)
MISSING_OR_ENVIRONMENT = Rule(
    "missing-or-environment",
    "note",
    "An argument that the builder needs is not set, and only the environment could have it",
    "The builder reads an environment variable in its place, which is a good place for a secret; but Packer accepts "
    "the file only where it is set.",
    bad='source "proxmox-clone" "a" {\n  node = "pve"\n  clone_vm     = "base"\n  ssh_username = "debian"\n}\n\n'
    'build {\n  sources = ["source.proxmox-clone.a"]\n}\n',
    good='variable "password" {\n  type      = string\n  sensitive = true\n}\n\n'
    'source "proxmox-clone" "a" {\n  proxmox_url  = "https://pve:8006/api2/json"\n  username     = "packer@pve"\n'
    '  password     = var.password\n  node         = "pve"\n  clone_vm     = "base"\n  ssh_username = "debian"\n}\n\n'
    'build {\n  sources = ["source.proxmox-clone.a"]\n}\n',
)
EXCLUSIVE = Rule(
    "exclusive-arguments",
    "error",
    "Arguments that exclude each other are both set",
    "The builder takes one of them and refuses both.",
    bad=_source('  boot_command = ["<enter>"]\n  boot_steps   = [["<enter>"]]\n'),
    good=_source('  boot_command = ["<enter>"]\n'),
)
WRONG_TYPE = Rule(
    "wrong-type",
    "error",
    "A value is not of the type that is wanted",
    "HCL turns numbers and booleans into strings, and strings that look like them back; nothing else. Looked at are "
    "values that are written out, and variables by their declared type.",
    bad=_source("  floppy_files = 3\n"),
    good=_source('  floppy_files = ["preseed.cfg"]\n'),
)
UNDEFINED = Rule(
    "undefined-reference",
    "error",
    "Something is referred to that does not exist",
    "Variables, locals, data sources and sources are looked for in all files of the folder; references inside strings, "
    "heredocs, template directives and for-expressions are seen too.",
    bad=_source('  vm_name = "debian-${var.release}"\n'),
    good=_source('  vm_name = "debian-${var.release}"\n', before='variable "release" {\n  default = "13"\n}\n\n'),
)
CIRCULAR = Rule(
    "circular-local",
    "error",
    "A local needs itself, by way of others or at once",
    "No Packer can work out such locals.",
    bad=_source(
        "  vm_name = local.name\n", before='locals {\n  name  = "web-${local.label}"\n  label = local.name\n}\n\n'
    ),
    good=_source("  vm_name = local.name\n", before='locals {\n  name  = "web-${local.label}"\n  label = "13"\n}\n\n'),
)
DUPLICATE = Rule(
    "duplicate-name",
    "error",
    "Two variables, locals, data sources or sources of one name in a file",
    "Packer refuses it.",
    bad='variable "a" {\n  default = 1\n}\n\nvariable "a" {\n  default = 2\n}\n\n' + _source("  memory = var.a\n"),
    good='variable "a" {\n  default = 1\n}\n\n' + _source("  memory = var.a\n"),
)
DECLARED_TWICE = Rule(
    "declared-in-two-files",
    "warning",
    "Two files of a folder declare the same name",
    "Packer reads the files of a folder as one module and refuses it then. Where each file is a template of its own, "
    "lint the files one by one, or give each a folder.",
    bad="",
    good="",
)
UNUSED_VARIABLE = Rule(
    "unused-variable",
    "warning",
    "A variable is declared and never used",
    "Left over, or a reference to it is misspelt.",
    bad='variable "release" {\n  default = "13"\n}\n\n' + _source(),
    good=_source('  vm_name = "debian-${var.release}"\n', before='variable "release" {\n  default = "13"\n}\n\n'),
)
UNUSED_LOCAL = Rule(
    "unused-local",
    "warning",
    "A local is declared and never used",
    "Left over, or a reference to it is misspelt.",
    bad='locals {\n  release = "13"\n}\n\n' + _source(),
    good=_source("  vm_name = local.release\n", before='locals {\n  release = "13"\n}\n\n'),
)
UNUSED_SOURCE = Rule(
    "unused-source",
    "note",
    "A source is declared and no build uses it",
    "Only where the folder has a build at all.",
    bad=_source().replace("qemu.a", "null.b") + '\nsource "null" "b" {\n  communicator = "none"\n}\n',
    good=_source(),
)
UNDECLARED_VALUE = Rule(
    "undeclared-value",
    "warning",
    "A variable file sets a variable that the folder does not declare",
    "Packer warns of it and goes on without: most likely the name is misspelt.",
    bad="",
    good="",
)
NEWER_LANGUAGE = Rule(
    "newer-language",
    "error",
    "The chosen Packer does not know this part of the language yet",
    "`required_plugins`, `local` and `data` blocks, `error-cleanup-provisioner`, functions: each came with a version "
    "of Packer, which the message names. Choose the version with `--packer`.",
    bad='data "null" "a" {\n  input = "x"\n}\n\n' + _source("  vm_name = data.null.a.output\n"),
    good=_source('  vm_name = "x"\n'),
)
UNKNOWN_FUNCTION = Rule(
    "unknown-function",
    "error",
    "No Packer has this function, or not here",
    "`env` may stand only in the default of a variable.",
    bad=_source('  vm_name = uper("a")\n'),
    good=_source('  vm_name = upper("a")\n'),
)
PACKER_VERSION = Rule(
    "packer-version",
    "error",
    "The chosen Packer is not one that the file wants",
    "`required_version` does not admit the version given by `--packer`, or the installed one.",
    bad='packer {\n  required_version = "< 1.0"\n}\n\n' + _source(),
    good='packer {\n  required_version = ">= 1.6.6"\n}\n\n' + _source(),
)
PLUGIN_RANGE = Rule(
    "plugin-too-old",
    "note",
    "`required_plugins` admits a plugin that lacks an argument in use",
    "`packer init` installs the newest that fits, so this hurts only where an older one is already installed. "
    "Raise the lower limit.",
    bad='packer {\n  required_plugins {\n    qemu = {\n      source  = "github.com/hashicorp/qemu"\n'
    '      version = ">= 1.0.4"\n    }\n  }\n}\n\n' + _source('  cpu_model = "host"\n'),
    good='packer {\n  required_plugins {\n    qemu = {\n      source  = "github.com/hashicorp/qemu"\n'
    '      version = ">= 1.0.9"\n    }\n  }\n}\n\n' + _source('  cpu_model = "host"\n'),
)
SECRET = Rule(
    "secret-in-clear",
    "warning",
    "A password, key or token stands in the file",
    "Whoever can read the file has it, and so has every later reader of the repository. Declare a variable with "
    "`sensitive = true` and no default, and give its value as `PKR_VAR_name` in the environment.",
    bad=_source('  ssh_password = "correct horse"\n'),
    good=_source(
        "  ssh_password = var.ssh_password\n",
        before='variable "ssh_password" {\n  type      = string\n  sensitive = true\n}\n\n',
    ),
)
NOT_SENSITIVE = Rule(
    "secret-not-sensitive",
    "warning",
    "A variable that holds a secret is not `sensitive`",
    "Packer prints its value in logs then.",
    bad=_source("  ssh_password = var.word\n", before='variable "word" {\n  type = string\n}\n\n'),
    good=_source(
        "  ssh_password = var.word\n", before='variable "word" {\n  type      = string\n  sensitive = true\n}\n\n'
    ),
)
CHECKSUM_NONE = Rule(
    "checksum-none",
    "warning",
    "What is downloaded is not checked",
    'With `iso_checksum = "none"` whoever answers the download decides what is installed. Give the digest that the '
    "publisher signs, as in `sha256:…` or `file:https://…/SHA256SUMS`.",
    bad=_source().replace("sha256:aa", "none"),
    good=_source(),
)
BOOT_WAIT = Rule(
    "boot-command-without-wait",
    "warning",
    "Keys are typed on after `<esc>` or `<enter>` without any `<wait>`",
    "After such a key the screen changes, and what is typed before it has changed is lost, on a slow host first. "
    "Packer's key interval alone does not help.",
    bad=_source('  boot_command = ["<esc>", "auto url=http://x/preseed.cfg<enter>"]\n'),
    good=_source('  boot_command = ["<esc><wait>", "auto url=http://x/preseed.cfg<enter>"]\n'),
)
DEPRECATED = Rule(
    "deprecated-name",
    "warning",
    "An argument has a newer name",
    "It still works, and a later release of the plugin will refuse it. `--fix` renames where nothing else changes.",
    bad=_source('  ssh_wait_timeout = "10m"\n'),
    good=_source('  ssh_timeout = "10m"\n'),
)
BAD_IGNORE = Rule(
    "unknown-ignore",
    "warning",
    "A comment ignores a rule that does not exist",
    "It silences nothing.",
    bad="# skyvypack:ignore-file no-such-rule\n" + _source(),
    good="# skyvypack:ignore-file unused-source\n" + _source(),
)

RULES: Mapping[str, Rule] = {
    rule.id: rule
    for rule in (
        SYNTAX,
        UNKNOWN_BLOCK,
        UNKNOWN_ARGUMENT,
        BLOCK_OR_ARGUMENT,
        REPEATED,
        MISSING_ARGUMENT,
        MISSING_OR_ENVIRONMENT,
        EXCLUSIVE,
        WRONG_TYPE,
        UNDEFINED,
        CIRCULAR,
        DUPLICATE,
        DECLARED_TWICE,
        UNUSED_VARIABLE,
        UNUSED_LOCAL,
        UNUSED_SOURCE,
        UNDECLARED_VALUE,
        NEWER_LANGUAGE,
        UNKNOWN_FUNCTION,
        PACKER_VERSION,
        PLUGIN_RANGE,
        SECRET,
        NOT_SENSITIVE,
        CHECKSUM_NONE,
        BOOT_WAIT,
        DEPRECATED,
        BAD_IGNORE,
    )
}


def nearest(name: str) -> str:
    """The rule that was probably meant, or nothing."""
    return next(iter(difflib.get_close_matches(name, RULES, 1)), "")
