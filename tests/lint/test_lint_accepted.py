"""The linter agrees with what Packer 1.6.6 said of 404 templates."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

import pytest
from lint.conftest import FACTS, Edit
from lint.language_cases import CASES, ENVIRONMENT, NOT_OURS

from skyvypack import dialect
from skyvypack.lint import Finding, lint

VERDICTS: Mapping[str, bool] = json.loads((FACTS / "verdicts.json").read_text(encoding="utf-8"))
OLD = dialect.named("1.6.6")


def argument(*without: str, lines: str = "") -> tuple[frozenset[str], str]:
    return frozenset(without), lines


# Cases whose names say in words what was changed in a builder's file.
WORDS = {
    "qemu use_backing_file=true with disk_image": argument(
        "use_backing_file", "disk_compression", lines="  use_backing_file = true\n  disk_compression = true"
    ),
    "qemu use_backing_file=true, no compression": argument(
        "use_backing_file", "disk_compression", lines="  use_backing_file = true"
    ),
    "qemu accelerator=tcg": argument("accelerator", lines='  accelerator = "tcg"'),
    "qemu accelerator=hvf": argument("accelerator", lines='  accelerator = "hvf"'),
    "qemu iso_checksum none": argument("iso_checksum", lines='  iso_checksum = "none"'),
    "qemu iso_url local missing": argument("iso_url", lines='  iso_url = "./missing.iso"'),
    "proxmox-iso iso_url+iso_storage_pool": argument(
        "iso_file",
        lines='  iso_url = var.iso_url\n  iso_checksum = var.iso_checksum\n  iso_storage_pool = "local"',
    ),
    "proxmox-iso os=debian (bad)": argument("os", lines='  os = "debian"'),
    "proxmox-iso disk_size no unit": argument(
        "disks", lines='  disks {\n    disk_size = "8"\n    storage_pool = "a"\n    storage_pool_type = "lvm"\n  }'
    ),
    "proxmox-iso disk without storage_pool_type": argument(
        "disks", lines='  disks {\n    disk_size = "8G"\n    storage_pool = "a"\n  }'
    ),
    "proxmox-iso disk ssd/discard": argument(
        "disks",
        lines='  disks {\n    storage_pool = "a"\n    storage_pool_type = "lvm"\n    ssd = true\n  }',
    ),
    "proxmox-iso vlan_tag number": argument(
        "network_adapters", lines='  network_adapters {\n    bridge = "vmbr0"\n    vlan_tag = 10\n  }'
    ),
    "vsphere-iso convert_to_template + content_library": argument(
        lines='  content_library_destination {\n    library = "x"\n  }'
    ),
    "vsphere-iso clib no convert": argument(
        "convert_to_template", lines='  content_library_destination {\n    library = "x"\n    ovf = true\n  }'
    ),
    "vsphere-iso clib no convert no ovf name absent": argument(
        "convert_to_template", lines='  content_library_destination {\n    library = "x"\n  }'
    ),
    "vsphere-iso clib no convert no ovf named": argument(
        "convert_to_template", lines='  content_library_destination {\n    library = "x"\n    name = "y"\n  }'
    ),
    "amazon-ebs source_ami_filter drop owners": argument(
        "source_ami_filter", lines='  source_ami_filter {\n    filters = { name = "x" }\n    most_recent = true\n  }'
    ),
    "virtualbox-ovf source missing": argument("source_path", lines='  source_path = "./missing.ova"'),
}


def template(case: str, accepted: Mapping[str, str], edited: Edit) -> str:
    """The text that a case is about."""
    if case in CASES:
        return CASES[case]
    builder, _, rest = case.partition(" ")
    if case in WORDS:
        return edited(accepted[builder], *WORDS[case])
    if rest.startswith("drop "):
        names = frozenset(
            {"access": "access_key", "secret": "secret_key"}.get(name, name) for name in rest[5:].split("+")
        )
        return edited(accepted[builder], names, "")
    # Two blanks stand for a line's end in the names of cases.
    line = rest.replace("  ", "\n").replace(" }", "\n}") if "{  " in rest else rest
    line = line.replace(" iso_checksum =", "\niso_checksum =")
    return edited(accepted[builder.rstrip(":")], frozenset({line.split()[0]}), line)


def errors(text: str) -> list[Finding]:
    return [one for one in lint({"a.pkr.hcl": text}, dialect=OLD) if one.severity == "error"]


def disagreement(case: str, text: str) -> str:
    """What is wrong with our verdict on a case; empty when it is Packer's."""
    found = errors(text)
    if any(one.rule == "syntax" for one in found):
        return f"{case}: cannot be read: {found}"
    if case in ENVIRONMENT:
        rules = {one.rule for one in lint({"a.pkr.hcl": text}, dialect=OLD)}
        return "" if "missing-or-environment" in rules and not found else f"{case}: {rules}"
    if bool(found) is VERDICTS[case]:
        return f"{case}: Packer {'accepts' if VERDICTS[case] else 'refuses'} it, found {found}"
    return ""


def builder_of(case: str) -> str:
    return "language" if case in CASES else case.split(" ")[0].rstrip(":")


JUDGED = [case for case in VERDICTS if case not in NOT_OURS]


# One test for each builder: a test for each case would take three times as long.
@pytest.mark.parametrize("builder", sorted({builder_of(case) for case in JUDGED}))
def test_agrees_with_packer(builder: str, accepted: Mapping[str, str], edited: Edit) -> None:
    """An error is found exactly where Packer 1.6.6 refused the template."""
    cases = [case for case in JUDGED if builder_of(case) == builder]
    found = [disagreement(case, template(case, accepted, edited)) for case in cases]
    assert not [one for one in found if one]


def test_every_case_is_judged_or_has_a_reason() -> None:
    """Of Packer's verdicts none is passed over in silence, and no reason is left without a case."""
    builders = {path.name.removesuffix(".pkr.hcl") for path in FACTS.glob("*.pkr.hcl")}
    told = {*CASES, *WORDS, *NOT_OURS}
    by_name = {case for case in VERDICTS if builder_of(case) in builders and re.match(r"[\w-]+(: | drop )", case)}
    assert set(VERDICTS) == told | by_name
    assert all(NOT_OURS.values())


def test_what_packer_accepts_has_no_error(accepted: Mapping[str, str]) -> None:
    """The template of each builder that 1.6.6 accepts is clean of errors; the warnings left are true of them."""
    assert len(accepted) == 11
    for builder, text in accepted.items():
        found = lint({f"{builder}.pkr.hcl": text}, dialect=OLD)
        assert {one.rule for one in found} <= {"unused-variable", "secret-in-clear"}, builder
