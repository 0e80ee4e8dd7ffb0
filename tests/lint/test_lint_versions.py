"""The plugin version that a folder will get decides what a builder takes."""

from __future__ import annotations

import pytest

from skyvypack import dialect
from skyvypack.lint import Finding, lint
from skyvypack.lint.versions import constraint, parse

OLD = dialect.named("1.6.6")


@pytest.mark.parametrize(
    ("text", "admitted", "refused"),
    [
        ("1.0.4", ["1.0.4"], ["1.0.5", "1.0.3"]),
        ("= 1.0.4", ["1.0.4"], ["1.0.5"]),
        ("~> 1.0.4", ["1.0.4", "1.0.99"], ["1.1.0", "1.0.3"]),
        ("~> 1.0", ["1.0.0", "1.9.9"], ["2.0.0"]),
        ("~> 1", ["1.0.0", "1.9.9"], ["2.0.0"]),
        (">= 1.0.4, < 2", ["1.0.4", "1.9.0"], ["2.0.0", "1.0.3"]),
        ("> 1, != 1.2.0", ["1.1.0"], ["1.0.0", "1.2.0"]),
        ("<= v1.2.3", ["1.2.3"], ["1.2.4"]),
    ],
)
def test_constraints(text: str, admitted: list[str], refused: list[str]) -> None:
    """They admit what HashiCorp's go-version admits."""
    limits = constraint(text)
    assert limits
    assert [one for one in admitted if not limits.admits(parse(one) or (0, 0, 0))] == []
    assert [one for one in refused if limits.admits(parse(one) or (0, 0, 0))] == []


@pytest.mark.parametrize("text", ["", "latest", ">=", "1.x", "~> ", "a.b.c"])
def test_no_constraint(text: str) -> None:
    """What is none is not guessed at."""
    assert constraint(text) is None


def qemu(line: str, version: str = "", source: str = "github.com/hashicorp/qemu") -> str:
    asked = f'version = "{version}"\n' if version else ""
    head = f'packer {{\n  required_plugins {{\n    qemu = {{\n      source = "{source}"\n{asked}    }}\n  }}\n}}\n'
    body = '  iso_url = "x"\n  iso_checksum = "sha256:a"\n  ssh_username = "d"\n'
    return f'{head}source "qemu" "a" {{\n{body}  {line}\n}}\nbuild {{\n  sources = ["source.qemu.a"]\n}}\n'


def found(text: str, rule: str = "unknown-argument", **options: object) -> list[Finding]:
    return lint({"a.pkr.hcl": text}, select=[rule], **options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("version", "known"),
    [("= 1.0.8", False), ("1.0.9", True), ("~> 1.0.4", True), (">= 1.0.4", True), ("< 1.0.9", False), ("", True)],
)
def test_the_newest_plugin_admitted_counts(version: str, known: bool) -> None:
    """cpu_model came with plugin 1.0.9; `packer init` installs the newest that fits."""
    assert bool(found(qemu('cpu_model = "host"', version))) is not known


def test_since_and_nearest() -> None:
    """The message says since when there is such an argument, or what was probably meant."""
    [since] = found(qemu('cpu_model = "host"', "1.0.8"))
    assert "builder qemu of plugin 1.0.8 has no cpu_model" in since.message
    assert since.hint == "plugin github.com/hashicorp/qemu 1.0.9 has it"
    [bundled] = found(qemu('cpu_model = "host"'), dialect=OLD)
    assert bundled.hint == "plugin github.com/hashicorp/qemu 1.0.9 has it, with Packer 1.7.0 or newer"
    [near] = found(qemu("memroy = 1"))
    assert near.hint == "did you mean memory?"


def test_until() -> None:
    """The message says with which version an argument went."""
    source = 'source "vsphere-iso" "a" {\n  export {\n    images = true\n  }\n}\n'
    [gone] = found(source)
    assert gone.hint == "plugin github.com/hashicorp/vsphere 1.2.4 removed it"
    assert found(source, plugins={"vsphere": (1, 2, 3)}) == []
    assert found(source, plugins={"github.com/hashicorp/vsphere": (1, 2, 3)}) == []
    assert found(source, dialect=OLD) == []


def test_a_plugin_that_moved() -> None:
    """vmware's plugin left HashiCorp with 2.0.0: under its old address it is older."""
    text = (
        'packer {\n  required_plugins {\n    vmware = {\n      source  = "github.com/%s/vmware"\n'
        '      version = ">= 1.0.0"\n    }\n  }\n}\nsource "vmware-iso" "a" {\n  remote_host = "x"\n}\n'
    )
    assert found(text % "hashicorp") == []
    [gone] = found(text % "vmware")
    assert gone.hint == "plugin github.com/vmware/vmware 2.0.0 removed it"


def test_another_plugin_of_the_name() -> None:
    """A builder that another's plugin provides is not judged by our tables."""
    assert found(qemu("nope = 1", source="github.com/example/qemu")) == []
    assert found('source "docker" "a" {\n  nope = 1\n}\n') == []


def test_nested_arguments() -> None:
    """An argument of a block has a history of its own."""
    source = 'source "proxmox-iso" "a" {\n  disks {\n    ssd = true\n  }\n}\n'
    assert found(source) == []
    [since] = found(source, plugins={"proxmox": (1, 1, 3)})
    assert (since.message, since.line, since.column) == ("builder proxmox-iso of plugin 1.1.3 has no disks.ssd", 3, 5)
    assert "1.1.4 has it" in since.hint


def test_the_builder_of_an_earlier_name() -> None:
    """proxmox is proxmox-iso, and deprecated."""
    text = 'source "proxmox" "a" {\n  nope = 1\n}\n'
    assert found(text)[0].message.endswith("has no nope")
    assert found(text, "deprecated-name")[0].message == "the builder proxmox is called proxmox-iso"


def test_forms() -> None:
    """A block written as an argument, an argument written as a block, and a block that stands twice."""
    assert "is a block" in found(qemu('qemu_img_args = { create = ["-o"] }'), "block-or-argument")[0].message
    assert "is an argument" in found(qemu('http_content { a = "b" }'), "block-or-argument")[0].message
    assert "once" in found(qemu("qemu_img_args {\n  }\n  qemu_img_args {\n  }"), "repeated")[0].message
    assert found(qemu('dynamic "qemu_img_args" {\n    for_each = []\n    content {\n      nope = 1\n    }\n  }'))


def test_what_a_build_adds_is_given() -> None:
    """A source that lacks what its block in the build sets is whole."""
    text = qemu("memory = 1").replace('  ssh_username = "d"\n', "")
    assert found(text, "missing-argument")[0].message.endswith("needs ssh_username")
    whole = text.replace('sources = ["source.qemu.a"]', 'source "source.qemu.a" {\n    ssh_username = "d"\n  }')
    assert found(whole, "missing-argument") == []
    for communicator, needed in (("winrm", "winrm_username"), ("none", ""), ("ssh", "ssh_username")):
        messages = [
            one.message
            for one in found(text.replace("memory = 1", f'communicator = "{communicator}"'), "missing-argument")
        ]
        assert messages == ([f"builder qemu of plugin 1.1.4 needs {needed}"] if needed else [])


def test_a_plugin_that_may_be_too_old() -> None:
    """Told once for a plugin, at its version, with the youngest argument in use."""
    [finding] = found(qemu('cpu_model = "host"\n  vga = "std"\n  vnc_password = var.a', ">= 1.0.4"), "plugin-too-old")
    assert (finding.line, finding.severity) == (5, "note")
    assert finding.message == "vnc_password at a.pkr.hcl:15 came with plugin 1.1.2, and 1.0.4 is admitted"
    assert found(qemu('cpu_model = "host"', ">= 1.0.9"), "plugin-too-old") == []


def test_arguments_that_exclude_each_other() -> None:
    """Both are set for sure: what a variable gives may be null, which Packer takes for not set."""
    for one, other, both in (
        ('["<enter>"]', '[["<enter>"]]', True),
        ('["<enter>"]', "var.steps", False),
        ('["<enter>"]', "null", False),
    ):
        text = qemu(f"boot_command = {one}\n  boot_steps = {other}")
        assert bool(found(text, "exclusive-arguments")) is both


def test_language_by_version() -> None:
    """Each part of the language is an error before the version it came with."""
    for text, first in (
        ('local "a" {\n  expression = 1\n}\n', "1.7.0"),
        ('data "null" "a" {}\n', "1.7.0"),
        ('locals {\n  a = templatefile("x", {})\n}\n', "1.7.1"),
        ("locals {\n  a = regex(1, 2)\n}\n", "1.7.0"),
        ("locals {\n  a = startswith(1, 2)\n}\n", "1.13.0"),
        ('build {\n  error-cleanup-provisioner "shell" {}\n}\n', "1.7.0"),
        ("build {\n  hcp_packer_registry {}\n}\n", "1.7.5"),
        ('build {\n  provisioner "shell" {\n    env = {}\n  }\n}\n', "1.8.0"),
    ):
        assert f"Packer {first} " in found(text, "newer-language", dialect=OLD)[0].hint
        assert found(text, "newer-language", dialect=dialect.named(first)) == []


TYPES = [
    ("memory = 1024", True),
    ('memory = "1024"', True),
    ('memory = "much"', False),
    ("memory = [1]", False),
    ("memory = true", False),
    ("memory = null", True),
    ("memory = var.number", True),
    ("memory = var.text", True),
    ("memory = var.list", False),
    ("memory = local.anything", True),
    ("headless = true", True),
    ('headless = "true"', True),
    ('headless = "yes"', False),
    ("headless = 1", False),
    ("vm_name = 3", True),
    ('vm_name = ["x"]', False),
    ('cd_files = "x"', False),
    ('cd_files = ["x", 1]', True),
    ('cd_files = [["x"]]', False),
    ("cd_files = { a = 1 }", False),
    ("cd_files = var.list", True),
    ("cd_files = var.text", False),
    ("cd_files = [for x in var.list : x]", True),
    ('cd_files = "${var.list}"', True),
    ('cd_files = "a${var.list}"', False),
    ("cd_files = { for x in var.list : x => x }", False),
    ('http_content = { "/a" = "b" }', True),
    ('http_content = { "/a" = ["b"] }', False),
    ('http_content = ["b"]', False),
    ('qemuargs = [["-m", 3]]', True),
    ('qemuargs = ["-m"]', False),
]


@pytest.mark.parametrize(("line", "right"), TYPES)
def test_types(line: str, right: bool) -> None:
    """Values become the type that is wanted as HCL converts them, and what is worked out later is right."""
    variables = (
        'variable "number" {\n  type = number\n}\nvariable "text" {\n  type = string\n}\n'
        'variable "list" {\n  type = list(string)\n}\n'
    )
    assert bool(found(variables + qemu(line), "wrong-type")) is not right


def test_defaults_are_of_their_type() -> None:
    """A default that cannot become the variable's type is found."""
    for kind, default, right in (
        ("number", '"x"', False),
        ("string", "[1]", False),
        ("list(string)", "[1]", True),
        ("set(string)", '"x"', False),
        ("object({ a = string })", "{ a = 1 }", True),
        ("tuple([string])", "{}", False),
        ("map(number)", '{ a = "x" }', False),
        ("any", "[1]", True),
    ):
        text = f'variable "a" {{\n  type = {kind}\n  default = {default}\n}}\n'
        assert bool(found(text, "wrong-type")) is not right, kind
