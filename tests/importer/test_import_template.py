"""Templates in the style of those that people have become specs, and what does not come along is listed."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import regenerate_goldens
from click.testing import CliRunner, Result

from skyvypack import command, dialect, targets
from skyvypack.cli.app import cli
from skyvypack.importer import Imported, import_template
from skyvypack.spec import load

TEMPLATES = regenerate_goldens.TEMPLATES
SPECS = regenerate_goldens.imports()
QEMU = """\
source "qemu" "a" {
  iso_url      = "https://image.example/debian-12.iso"
  iso_checksum = "sha256:%s"
  %s
}
"""


def imported(body: str = "", more: str = "") -> Imported:
    """A template of the qemu builder with some more in its source and after it."""
    return import_template({"a.pkr.hcl": QEMU % ("0" * 64, body) + more})


def left(made: Imported, kind: str) -> list[tuple[str, int, str]]:
    return [(one.what, one.line, one.reason) for one in made.leftovers if one.kind == kind]


def run(*arguments: Any) -> Result:
    return CliRunner().invoke(cli, ["import", *map(str, arguments)])


@pytest.mark.parametrize("path", SPECS, ids=lambda path: path.name)
def test_templates_become_specs(path: Path) -> None:
    """The spec that a template becomes is the one that is kept beside it; `nox -s golden` writes them anew."""
    assert SPECS[path] == path.read_text(encoding="utf-8")
    spec = load(path)
    assert spec.debian == "bookworm"


@pytest.mark.parametrize("path", SPECS, ids=lambda path: path.name)
def test_no_secret_comes_along(path: Path, tmp_path: Path) -> None:
    """Of passwords, keys and tokens in a template nothing reaches the spec or either report."""
    template = path.with_suffix("")
    text = template.read_text(encoding="utf-8")
    assert re.search("canary", text, re.IGNORECASE)
    told = [run(template, "-o", tmp_path / "a.yaml"), run(template, "-o", tmp_path / "b.yaml", "--json")]
    assert [one.exit_code for one in told] == [0, 0]
    written = [(tmp_path / name).read_text(encoding="utf-8") for name in ("a.yaml", "b.yaml")]
    assert not re.search("canary", "".join([*written, *(one.output for one in told)]), re.IGNORECASE)


def test_secrets_are_fed_by_the_environment() -> None:
    """A secret is listed with its place and the variable that feeds it."""
    text = (TEMPLATES / "amazon.pkr.hcl").read_text(encoding="utf-8")
    made = import_template({"amazon.pkr.hcl": text})
    fed = {(one.what, one.environment): text.splitlines()[one.line - 1] for one in made.leftovers}
    assert "access_key" in fed["argument access_key", "AWS_ACCESS_KEY_ID"]
    assert "secret_key" in fed["argument secret_key", "AWS_SECRET_ACCESS_KEY"]


def test_every_builder_is_one_target_s() -> None:
    """Each builder that there are facts about has a way back, and only one."""
    owners = [builder for target in targets.names() for builder in targets.reverse(target).BUILDERS]
    assert sorted(owners) == sorted({builder for name in targets.names() for builder in targets.source(name).BUILDERS})


def test_every_way_back_is_for_an_argument_that_there_is() -> None:
    """No target waits for an argument that its builders never had."""
    for target in targets.names():
        reverse = targets.reverse(target)
        tables = [dialect.tables(builder) for builder in reverse.BUILDERS]
        known = {
            name
            for table in tables
            if table
            for facts in (table.bundled, table.newest)
            if facts
            for name in names(facts)
        } | {name for table in tables if table for name in (*table.first, *table.removed)}
        assert {*reverse.ARGUMENTS} - known <= OLDER


# Names that templates of the first years have, from before Packer 1.6.
OLDER = {"ssh_wait_timeout", "boot_iso.iso_checksum_type", "ram_size", "iso_checksum_type", "cpu", "security_group_id"}


def names(facts: Any, within: str = "") -> set[str]:
    found = {within + name for name in facts["arguments"]}
    for name, inner in facts["blocks"].items():
        found |= names(inner, f"{within}{name}.")
    return found


@pytest.mark.parametrize(
    ("expression", "worth"),
    [
        ('var.cores == "" ? 3 : 5', 5),
        ("!(var.cores == 4) || var.big ? 1 : var.cores", 4),
        ("var.big && true ? 8 : local.more[1]", 7),
        ('local.sizes["small"]', 2),
        ('"${var.cores}"', 4),
        ("local.sizes.small + 1", 3),
        ("(var.cores)", 4),
    ],
)
def test_plain_expressions_are_worked_out(expression: str, worth: int) -> None:
    """References, conditionals, indices and templates have their value."""
    more = 'variable "cores" { default = 4 }\nvariable "big" { default = false }\n'
    more += "locals {\n  more = [6, 7]\n  sizes = { small = 2 }\n}\n"
    assert imported(f"cpus = {expression}", more).spec.machine.cpus == worth


@pytest.mark.parametrize(
    ("expression", "reason"),
    [
        ("max(1, 2)", "calls max()"),
        ("var.none", "uses var.none, which has no default"),
        ("var.gone", "uses var.gone, which is not declared"),
        ("local.round", "uses local.round, which uses local.about, which uses local.round, which refers to itself"),
        ("data.a.b.c", "uses data.a, which only Packer knows"),
        ("[for n in [1] : n][0]", "is an expression that only Packer works out"),
        ("local.sizes.huge", "uses a part of local.sizes that it does not have"),
        ('"%{ if true }4%{ endif }"', "is a template with directives"),
        ('env("CPUS")', "comes from CPUS in the environment"),
        ("1 + {}", "puts together what does not fit"),
        ('"many"', "does not fit machine.cpus: virtual CPUs"),
    ],
)
def test_what_only_packer_works_out_is_listed(expression: str, reason: str) -> None:
    """Everything else is told with its reason and line, and the spec is still good."""
    more = 'variable "none" {}\nlocals {\n  round = local.about\n  about = local.round\n  sizes = {}\n}\n'
    made = imported(f"cpus = {expression}", more)
    assert left(made, "lost") == [("argument cpus", 4, reason)]
    assert made.spec.machine.cpus == 2


def test_values_of_variables_come_from_their_files() -> None:
    """A file of values counts before a default."""
    text = QEMU % ("0" * 64, "cpus = var.cores")
    files = {"a.pkr.hcl": f'{text}variable "cores" {{ default = 4 }}\n', "b.pkrvars.hcl": "cores = 6\n"}
    assert import_template(files).spec.machine.cpus == 6


def test_packer_s_own_json_is_read() -> None:
    """`.pkr.json` gives what HCL gives, blocks that look like arguments too."""
    source = {
        "node": "pve1",
        "disks": [{"disk_size": "9G", "type": "virtio"}],
        "boot_iso": {"iso_file": "local:iso/debian-13.iso"},
        "cores": "${var.cores}",
    }
    whole = {"source": {"proxmox-iso": {"a": source}}, "variable": {"cores": {"default": 3}}}
    made = import_template({"a.pkr.json": json.dumps(whole)})
    assert (made.spec.machine.cpus, made.spec.machine.disk, made.spec.base.url) == (3, 9, "local:iso/debian-13.iso")
    assert made.refusal == ""


def test_what_stands_in_a_build_counts() -> None:
    """A build may give its source further arguments."""
    made = imported("", 'build {\n  source "qemu.a" {\n    name = "x"\n    cpus = 7\n  }\n}\n')
    assert made.spec.machine.cpus == 7


def test_old_names_become_today_s() -> None:
    """An argument with a newer name is kept by that one."""
    assert imported("ssh_host_port_min = 4000").spec.target_settings("qemu")["arguments"] == {"host_port_min": 4000}


def test_what_is_missing_stands_in_and_is_told() -> None:
    """Without an image and its checksum the spec is good, says where they go, and no unverified image is used."""
    made = import_template({"a.pkr.hcl": 'source "qemu" "a" {\n  iso_checksum = "none"\n}\n'})
    assert [what for what, _, _ in left(made, "needed")] == ["debian", "base.url", "base.checksum"]
    assert made.spec.base.checksum == f"sha256:{'0' * 64}"
    assert made.text.count("TO BE GIVEN") == 2


def test_what_cannot_be_rendered_yet_is_told() -> None:
    """The report says what a bundle still needs."""
    made = import_template({"a.pkr.hcl": 'source "proxmox-clone" "a" {\n  clone_vm = "debian-13"\n}\n'})
    assert made.refusal.startswith("base clone needs targets.proxmox.node")


def test_a_spec_is_never_overwritten(tmp_path: Path) -> None:
    """What stands in the way of the spec stays as it is, a link that leads nowhere too."""
    (tmp_path / "a.yaml").write_text("mine")
    (tmp_path / "b.yaml").symlink_to("nowhere")
    for name in ("a.yaml", "b.yaml"):
        result = run(TEMPLATES / "qemu.pkr.hcl", "-o", tmp_path / name)
        assert (result.exit_code, f"{name} exists already" in result.output) == (2, True)
    assert (tmp_path / "a.yaml").read_text() == "mine"
    assert {path.name for path in tmp_path.iterdir()} == {"a.yaml", "b.yaml"}


def test_the_report_in_json(tmp_path: Path) -> None:
    """`--json` tells where each value comes from, and each leftover by kind, file and line."""
    result = run(TEMPLATES / "amazon.json", "-o", tmp_path / "a.yaml", "--json")
    told = json.loads(result.stdout)
    assert (told["source"], told["target"], told["refusal"]) == ("amazon-ebs.amazon-ebs", "aws", "")
    assert told["carried"]["targets.aws.region"].endswith("amazon.json:13 region")
    assert {one["kind"] for one in told["leftovers"]} == {"secret", "lost", "own"}
    assert all(one["file"].endswith("amazon.json") and one["line"] > 1 for one in told["leftovers"])


def test_one_of_several_sources_is_chosen(tmp_path: Path) -> None:
    """Several sources are named, and `--source` takes one; a name that is nearly right is guessed."""
    path = tmp_path / "a.pkr.hcl"
    path.write_text('source "qemu" "a" {}\nsource "hyperv-iso" "b" {}\nsource "null" "c" {}\n')
    result = run(path, "-o", tmp_path / "a.yaml")
    assert result.exit_code == 2
    assert "there are several sources: qemu.a, hyperv-iso.b" in result.output
    assert "did you mean `hyperv-iso.b`?" in run(path, "--source", "hyperv.b", "-o", tmp_path / "a.yaml").output
    assert run(path, "--source", "hyperv-iso.b", "-o", tmp_path / "a.yaml").exit_code == 0
    assert load(tmp_path / "a.yaml").base.kind == "iso"


@pytest.mark.tool
def test_packer_s_own_upgrade_says_the_same(tmp_path: Path) -> None:
    """The old JSON, read here, becomes the spec that it becomes by way of `packer hcl2_upgrade` of Packer 1.6.6."""
    upgraded = tmp_path / "a.pkr.hcl"
    command.run(["packer", "hcl2_upgrade", f"-output-file={upgraded}", TEMPLATES / "amazon.json"])
    direct = import_template(read("amazon.json"))
    again = import_template({"a.pkr.hcl": upgraded.read_text(encoding="utf-8")})
    assert again.spec.targets == direct.spec.targets
    assert (again.spec.base, again.spec.machine) == (direct.spec.base, direct.spec.machine)


def read(name: str) -> dict[str, str]:
    return {name: (TEMPLATES / name).read_text(encoding="utf-8")}
