"""The language cases of Packer 1.6.6's verdicts, as text; the names are theirs."""

from __future__ import annotations

from collections.abc import Mapping

_NULL = 'source "null" "a" {\n  communicator = "none"\n}\n\n'
_BUILD = 'build {\n  sources = ["source.null.a"]\n}\n'
_SHELL = 'build {{\n  sources = ["source.null.a"]\n  provisioner "shell" {{\n    {}\n  }}\n}}\n'


def _before(text: str) -> str:
    return f"{text}\n\n{_NULL}{_BUILD}"


def _local(value: str) -> str:
    return _before(f"locals {{\n  a = {value}\n}}")


def _in_build(text: str) -> str:
    return f'{_NULL}build {{\n  sources = ["source.null.a"]\n  {text}\n}}\n'


def _shell(lines: str) -> str:
    return _NULL + _SHELL.format(lines)


_PLUGINS = 'packer {\n  required_plugins {\n    qemu = {\n      version = ">= 1.0.0"\n'
_PLUGINS += '      source  = "github.com/hashicorp/qemu"\n    }\n  }\n}'

CASES: Mapping[str, str] = {
    "packer{required_version}": _before('packer {\n  required_version = ">= 1.6.0"\n}'),
    "packer{required_plugins}": _before(_PLUGINS),
    "plugins.pkr.hcl required_plugins": _before(_PLUGINS),
    "required_version >=1.7 (fails as wanted?)": _before('packer {\n  required_version = ">= 1.7.0"\n}'),
    "validation block": _before(
        'variable "a" {\n  default = "abc"\n  validation {\n    condition     = length(var.a) > 2\n'
        '    error_message = "Too short."\n  }\n}'
    ),
    "validation regex/can": _before(
        'variable "a" {\n  default = "abc"\n  validation {\n    condition     = can(regex("^a", var.a))\n'
        '    error_message = "Not an a."\n  }\n}'
    ),
    "env() in variable default": _before('variable "a" {\n  default = env("HOME")\n}'),
    "env() in local": _local('env("HOME")'),
    "variable type list(string)/number/bool/map/object": _before(
        'variable "a" {\n  type    = list(string)\n  default = ["x"]\n}\nvariable "b" {\n  type    = number\n'
        '  default = 1\n}\nvariable "c" {\n  type    = bool\n  default = true\n}\nvariable "d" {\n'
        '  type    = map(string)\n  default = { a = "b" }\n}\nvariable "e" {\n'
        '  type    = object({ a = string, b = number })\n  default = { a = "x", b = 1 }\n}'
    ),
    "variable nullable/default null": _before('variable "a" {\n  type    = string\n  default = null\n}'),
    "locals block": _local('"x"'),
    'local "x" {expression sensitive}': _before('local "x" {\n  expression = "a"\n  sensitive  = true\n}'),
    "locals timestamp/formatdate": _local('formatdate("YYYYMMDD", timestamp())'),
    "locals jsonencode/yamlencode/templatefile": _before(
        "locals {\n  a = jsonencode({ a = 1 })\n  b = yamlencode({ a = 1 })\n}"
    ),
    "templatefile()": _local('templatefile("${path.root}/x.tpl", { a = 1 })'),
    "data source block": _before('data "amazon-ami" "a" {\n  owners = ["1"]\n}'),
    "path.root / path.cwd": _local('"${path.root}/${path.cwd}"'),
    "build.name / source.name in provisioner": _shell('inline = ["echo ${build.ID} ${source.name}"]'),
    "source.name": _shell('inline = ["echo ${source.name} ${source.type}"]'),
    "packer.version": _shell('inline = ["echo ${packer.version}"]'),
    "build source block (label)": f'{_NULL}build {{\n  source "source.null.a" {{\n    name = "b"\n  }}\n}}\n',
    "build description": _in_build('description = "words"'),
    "hcp_packer_registry": _in_build('hcp_packer_registry {\n    bucket_name = "x"\n  }'),
    "error-cleanup-provisioner": _in_build('error-cleanup-provisioner "shell-local" {\n    inline = ["x"]\n  }'),
    "post-processors block": _in_build(
        'post-processors {\n    post-processor "manifest" {\n      output = "x.json"\n    }\n  }'
    ),
    "shell env block": _shell('inline = ["x"]\n    env    = { A = "b" }'),
    "shell environment_vars,execute_command,expect_disconnect,pause_before,timeout,max_retries,only": _shell(
        'inline            = ["x"]\n    environment_vars  = ["A=b"]\n    execute_command   = "sh {{ .Path }}"\n'
        '    expect_disconnect = true\n    pause_before      = "1s"\n    timeout           = "1m"\n'
        '    max_retries       = 2\n    only              = ["null.a"]'
    ),
    "shell inline_shebang,script": _shell('inline         = ["x"]\n    inline_shebang = "/bin/sh -e"'),
    "manifest custom_data": _in_build(
        'post-processor "manifest" {\n    output      = "x.json"\n    custom_data = { a = "b" }\n  }'
    ),
    "dynamic block": _before(
        'source "amazon-ebs" "b" {\n  ami_name      = "abc"\n  instance_type = "t3.micro"\n  source_ami    = "ami-1"\n'
        '  ssh_username  = "debian"\n  region        = "eu-west-1"\n  dynamic "tag" {\n    for_each = { a = "b" }\n'
        "    content {\n      key   = tag.key\n      value = tag.value\n    }\n  }\n}"
    ),
    "heredoc <<-EOT": _local("<<-EOT\n    a ${path.root}\n      b\n  EOT"),
    "unicode/escapes": _local('"ä \\u00e9 \\" \\\\ \\n $${x} %%{y} ☃"'),
    "unset ref var.nope": _local("var.nope"),
    "string for number attr": _before('source "null" "b" {\n  communicator = "ssh"\n  ssh_port     = "22"\n}'),
}

NOT_OURS: Mapping[str, str] = {
    "PKR_VAR env": "the environment's values are not in the file",
    "variable without default & unset": "a value may come with the command; the file is right",
    "build source override block": "1.6.6 refuses it only where the source sets the argument too",
    "missing cd_files path": "whether a file exists is not looked at",
    "missing http_directory": "whether a folder exists is not looked at",
    "qemu iso_checksum file:": "1.6.6 downloads the list and fails without a network",
    "amazon-ebs ami_name bad char": "the form of a value is not looked at",
    'qemu: ssh_private_key_file = "./files/meta-data"': "what is in a file is not looked at",
    'amazon-ebs: kms_key_id = "x"': "the form of a value is not looked at",
    'amazon-ebssurrogate: kms_key_id = "x"': "the form of a value is not looked at",
    'amazon-ebs: region_kms_key_ids = {  "eu-west-1" = "x" }': "the form of a value is not looked at",
    'amazon-ebssurrogate: region_kms_key_ids = {  "eu-west-1" = "x" }': "the form of a value is not looked at",
    "hyperv-iso: enable_virtualization_extensions = true": "it fails on Linux alone",
    'hyperv-iso: secondary_iso_images = ["x.iso"]': "whether a file exists is not looked at",
}

# Of the arguments that an environment variable may stand in for, a note is right, and Packer's refusal too.
ENVIRONMENT = frozenset({"proxmox-iso drop proxmox_url", "proxmox-iso drop username", "proxmox-iso drop password"})
