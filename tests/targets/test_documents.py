"""The documents of every target: what a setting does, what is refused, and what no document may hold."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from target_cases import BIOS, CASES, ISO, NEEDED, PLAIN, with_settings

from skyvypack import assets, targets
from skyvypack.dialect import named
from skyvypack.errors import InputError
from skyvypack.render import render
from skyvypack.spec.model import Base, Machine, Spec

CLONE = Base("clone", source="debian-13")
# By target, the bases that its own builders start from.
BASES = {"proxmox": (ISO, CLONE), "vsphere": (ISO, CLONE), "aws": (CLONE, Base()), "virtualbox": (ISO, CLONE)}


def hcl(spec: Spec, target: str, dialect: str = "latest") -> str:
    return str(targets.source(target).document(spec, named(dialect)).render())


def documents(target: str, settings: dict[str, Any]) -> list[str]:
    """What a target makes of settings: a document, or the words of its refusal, for each of its bases."""
    found = []
    for base in BASES.get(target, (ISO,)):
        given = NEEDED.get(target, {}) | ({"surrogate": True} if base.kind == "bootstrap" else {}) | settings
        for spec in (replace(PLAIN, base=base), replace(PLAIN, base=base, machine=BIOS)):
            for dialect in ("1.6.6", "latest"):
                try:
                    found.append(hcl(with_settings(spec, target, given), target, dialect))
                except InputError as error:
                    found.append(str(error))
    return found


def used_settings(target: str) -> list[str]:
    """The settings that a target's source names."""
    source = Path(targets.__file__).parent / target / "source.py"
    named = re.findall(r'(?:setting\(|settings\[)"(\w+)"', source.read_text(encoding="utf-8"))
    return sorted({*named} - {"arguments", "surrogate"})


def other_value(rule: Any) -> Any:
    """A value that is not the default."""
    match rule["type"]:
        case "boolean":
            return not rule["default"]
        case "integer":
            return rule["default"] + 1
        case "list":
            return ["us-east-1"]
        case "dict":
            return {"key": "value"}
    return next((word for word in rule.get("allowed", ()) if word != rule["default"]), "changed")


@pytest.mark.parametrize(
    ("target", "setting"), [(name, used) for name in targets.names() if name != "qemu" for used in used_settings(name)]
)
def test_every_setting_matters(target: str, setting: str) -> None:
    """A setting that a source reads changes a document, or is refused with a reason, in some case."""
    changed = {setting: other_value(targets.settings_rules(target)[setting])}
    assert documents(target, changed) != documents(target, {})


@pytest.mark.parametrize("name", CASES)
def test_builder_is_the_cases(name: str) -> None:
    """The spec's base, and for AWS a setting, choose the builder."""
    case = CASES[name]
    bundle = render(case.spec, case.target, "latest")
    assert bundle.builder == name.removesuffix("-settings").removesuffix("-ssm")
    assert f'source "{bundle.builder}" "skyvyos-server"' in bundle.files["skyvyos.pkr.hcl"]


def test_every_builder_has_a_case() -> None:
    """Each builder that a target names is rendered by a case, in both dialects."""
    builders = {builder for name in targets.names() for builder in targets.source(name).BUILDERS}
    assert {name for name, case in CASES.items() if case.old} >= builders - {"qemu"}
    assert len(builders) == 11


@pytest.mark.parametrize("target", targets.names())
@pytest.mark.parametrize("kind", ["bootstrap", "cloud-image"])
def test_a_disk_is_baked_here_for_every_target(target: str, kind: Any) -> None:
    """A layer or a cloud image is QEMU's wherever its template goes; only where clones look for data differs."""
    spec = replace(PLAIN, base=Base(kind, url="https://image.example/d.qcow2", checksum="sha256:" + "0" * 64))
    bundle = render(spec, target)
    assert bundle.builder == "qemu"
    assert bundle.files["skyvyos.pkr.hcl"] == hcl(spec, "qemu", "1.6.6")
    assert f"datasource_list: [{', '.join(targets.datasources(target))}]" in bundle.files["user-data"]


@pytest.mark.parametrize(
    ("target", "settings", "machine", "base", "dialect", "message", "hint"),
    [
        ("proxmox", {}, BIOS, ISO, "latest", "base iso needs targets.proxmox.node", "of the cluster"),
        ("proxmox", {"node": "n", "vm_id": 9}, BIOS, CLONE, "latest", "vm_id is 100 or more", "next free"),
        ("vsphere", {}, BIOS, ISO, "latest", "needs targets.vsphere.cluster or targets.vsphere.host", ""),
        (
            "proxmox",
            {"node": "n"},
            Machine(),
            ISO,
            "1.6.6",
            "machine.firmware uefi: builder proxmox-iso of",
            "1.0.3 has it",
        ),
        ("aws", {"surrogate": True}, Machine(), Base(), "1.6.6", "machine.firmware uefi: builder amazon-ebss", "1.0.5"),
        ("proxmox", {"node": "n", "tpm": True}, BIOS, ISO, "latest", "tpm needs machine.firmware uefi", ""),
        ("vsphere", {"cluster": "c", "tpm": True}, BIOS, ISO, "latest", "tpm needs machine.firmware uefi", ""),
        ("hyperv", {"tpm": True}, BIOS, ISO, "latest", "tpm needs machine.firmware uefi", ""),
        ("aws", {"tpm": True, "surrogate": True}, BIOS, Base(), "latest", "tpm needs machine.firmware uefi", ""),
        ("aws", {"tpm": True}, BIOS, CLONE, "latest", "tpm cannot be given to amazon-ebs", "surrogate registers one"),
        ("hyperv", {"tpm": True}, Machine(), ISO, "1.6.6", "targets.hyperv.tpm: builder hyperv-iso of", "1.1.1 has it"),
        ("proxmox", {"node": "n", "tags": ["a"]}, BIOS, ISO, "1.6.6", "targets.proxmox.tags: builder", "1.1.6 has it"),
        ("aws", {"protect": True}, BIOS, CLONE, "1.6.6", "targets.aws.protect: builder amazon-ebs of", "1.3.4 has it"),
        (
            "aws",
            {"throughput": 200, "volume_type": "gp2"},
            BIOS,
            CLONE,
            "1.6.6",
            "throughput is not for a volume of type gp2",
            "",
        ),
        ("aws", {"iops": 200, "volume_type": "gp2"}, BIOS, CLONE, "latest", "iops is not for a volume of type gp2", ""),
        ("aws", {"access": "ssm"}, BIOS, CLONE, "1.6.6", "ssm needs targets.aws.instance_profile", "give one whose"),
        ("aws", {"volume_type": "io2"}, BIOS, CLONE, "latest", "volume of type io2 needs targets.aws.iops", ""),
        (
            "aws",
            {"throughput": 9},
            BIOS,
            CLONE,
            "latest",
            "throughput of a gp3 volume is between 125 and 1000, not 9",
            "",
        ),
        ("aws", {"iops": 500, "volume_type": "io1"}, BIOS, CLONE, "latest", "of 8 GiB takes at most 400", ""),
        ("aws", {"kms_key": "alias/x"}, BIOS, CLONE, "latest", "need targets.aws.encrypt", ""),
        ("aws", {"encrypt": True, "users": ["123456789012"]}, BIOS, CLONE, "latest", "cannot be shared", "kms_key"),
        ("aws", {"subnet_id": "subnet-0", "subnet_tags": {"a": "b"}}, BIOS, CLONE, "latest", "not both", ""),
        ("virtualbox", {"disk_interface": "virtio"}, BIOS, ISO, "1.6.6", "virtio: Packer 1.6.6 has none", "1.7.0"),
        ("vmware", {"secure_boot": True}, BIOS, ISO, "latest", "secure_boot needs machine.firmware uefi", ""),
        ("proxmox", {"node": "n"}, BIOS, Base("clone", source="9001"), "1.6.6", "base.source: builder", "1.1.2 has it"),
        (
            "aws",
            {},
            BIOS,
            ISO,
            "latest",
            "base iso is not available for the target aws",
            "bootstrap, cloud-image, clone",
        ),
        ("hyperv", {"arguments": {"cpus": 3}}, BIOS, ISO, "latest", "sets cpus, which the bundle sets itself", "leave"),
        ("hyperv", {"arguments": {"cpu": 3}}, BIOS, ISO, "latest", "has no cpu", "did you mean cpus?"),
        ("hyperv", {"arguments": {"boot_order": "x"}}, BIOS, ISO, "latest", r"takes list\(string\)", ""),
    ],
)
def test_what_cannot_be_is_refused(
    target: str, settings: dict[str, Any], machine: Machine, base: Base, dialect: str, message: str, hint: str
) -> None:
    """An impossible combination, and what the dialect cannot express, are the caller's mistake, said in his words."""
    spec = with_settings(replace(PLAIN, base=base, machine=machine), target, settings)
    with pytest.raises(InputError, match=message) as caught:
        render(spec, target, dialect)
    assert hint in caught.value.hint


def test_everything_wrong_is_told_at_once() -> None:
    """Several refusals come as one error, a line and a hint for each."""
    settings = {"tags": ["a"], "tpm": True, "arguments": {"nope": 1}}
    spec = with_settings(replace(PLAIN, base=ISO), "proxmox", settings)
    with pytest.raises(InputError) as caught:
        render(spec, "proxmox", "1.6.6")
    for word in (
        "targets.proxmox.node",
        "targets.proxmox.tags",
        "machine.firmware uefi",
        "targets.proxmox.tpm",
        "nope",
    ):
        assert word in caught.value.message
    assert caught.value.message.count("\n") == 4


def test_a_default_that_the_dialect_lacks_is_left_out() -> None:
    """Only what the spec gives is refused: a default of today's plugin does not keep 1.6.6 from working."""
    spec = with_settings(replace(PLAIN, base=ISO, machine=BIOS), "proxmox", {"node": "pve1"})
    old, new = (re.sub(" +", " ", hcl(spec, "proxmox", dialect)) for dialect in ("1.6.6", "latest"))
    for line in ('machine = "q35"', 'serials = ["socket"]', "discard = true", "boot_iso {"):
        assert line in new
        assert line not in old
    assert 'storage_pool_type = "lvm-thin"' in old
    assert "storage_pool_type" not in new


def test_gp3_names_its_speed_where_packer_wants_it() -> None:
    """1.6.6 refuses a gp3 volume without IOPS and throughput; the plugin leaves them to EC2."""
    spec = with_settings(replace(PLAIN, base=CLONE), "aws", {})
    old, new = hcl(spec, "aws", "1.6.6"), hcl(spec, "aws")
    assert re.search(r"iops += 3000\n +throughput += 125\n", old)
    assert "throughput" not in new
    assert re.search(
        r"iops += 3000\n +throughput += 500", hcl(with_settings(spec, "aws", {"throughput": 500}), "aws", "1.6.6")
    )


@pytest.mark.parametrize("name", CASES)
def test_secrets_come_from_the_environment(name: str) -> None:
    """What may hold a secret is a sensitive variable whose only value is the environment's."""
    case = CASES[name]
    text = hcl(case.spec, case.target)
    for variable in re.findall(r'variable "(\w*(?:password|token|secret)\w*)" \{\n(.*?)\n\}', text, re.DOTALL):
        assert re.search(r"default +=\ env\(\"[A-Z_]+\"\)", variable[1]), variable
        assert re.search(r"sensitive +=\ true", variable[1]), variable
    for line in re.findall(r"^ +(?:password|token|access_key|secret_key) += (.*)$", text, re.MULTILINE):
        assert line.startswith("var."), line


@pytest.mark.parametrize("name", CASES)
def test_guest_is_sealed_last(name: str) -> None:
    """Every guest that becomes a template is sealed: by the builder's shutdown command, or by the last provisioner."""
    case = CASES[name]
    bundle = render(case.spec, case.target, "latest")
    text = bundle.files["skyvyos.pkr.hcl"]
    if "scripts/seal.sh" not in bundle.files:
        assert "write-disk.sh" in text, "the disk was sealed where it was baked"
        return
    last = text[text.rindex("  provisioner ") :]
    assert "shutdown_command " in text or 'inline            = ["sudo sh /tmp/skyvypack-seal.sh"' in last


def test_installer_gets_mirror_and_agent() -> None:
    """The preseed names the spec's mirror; the platform's agent is among the packages, unless the spec refuses it."""
    mirror = replace(PLAIN.mirror, main="http://mirror.example/{snapshot}/debian", snapshot="20260101T000000Z")
    spec = with_settings(replace(PLAIN, base=ISO, machine=BIOS, mirror=mirror), "proxmox", {"node": "pve1"})
    files = render(spec, "proxmox").files
    for line in (
        "d-i mirror/http/hostname string mirror.example",
        "d-i mirror/http/directory string /20260101T000000Z/debian",
    ):
        assert line in files["installer/initrd/preseed.cfg"]
    packages = "installer/initrd/skyvyos/packages.txt"
    assert "qemu-guest-agent\n" in files[packages]
    without = with_settings(spec, "proxmox", {"node": "pve1", "agent": False})
    assert "qemu-guest-agent" not in render(without, "proxmox").files[packages]


@pytest.mark.parametrize("target", ["vsphere", "vmware"])
def test_a_disk_that_is_baked_here_has_the_platforms_agent(target: str) -> None:
    """open-vm-tools is in the layer, unless the spec refuses it, and a spec that is equipped stays as it is."""
    settings = dict(NEEDED.get(target, {}))
    spec = with_settings(PLAIN, target, settings)
    assert "open-vm-tools\n" in render(spec, target).files["layer/packages.txt"]
    assert "open-vm-tools" in (once := targets.equipped(spec, target)).packages
    assert targets.equipped(once, target) is once
    assert targets.equipped(spec, "qemu") is spec
    without = with_settings(PLAIN, target, settings | {"agent": False})
    assert "open-vm-tools" not in render(without, target).files["layer/packages.txt"]


def test_scripts_are_copies() -> None:
    """Every script that a document runs is in the bundle, as it is in `builders/shared`."""
    for case in CASES.values():
        files = render(case.spec, case.target, "latest").files
        for path in re.findall(r"\$\{path\.root\}/(scripts/[\w.-]+)", files["skyvyos.pkr.hcl"]):
            assert files[path] == (assets.builders() / "shared" / path).read_text(encoding="utf-8")
