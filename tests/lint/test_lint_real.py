"""Packer 1.6.6 itself agrees: on types, on what is missing, and on what was mended."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from lint.conftest import FACTS, Edit

from skyvypack import command, dialect
from skyvypack.lint import lint
from skyvypack.lint.fix import fix
from skyvypack.lint.schema import facts

OLD = dialect.named("1.6.6")
BUILDERS = sorted(path.name.removesuffix(".pkr.hcl") for path in FACTS.glob("*.pkr.hcl"))
QUIET = {"CHECKPOINT_DISABLE": "1"}

pytestmark = pytest.mark.tool


@pytest.fixture
def packer(tmp_path: Path) -> Path:
    """A folder to run Packer in, with the files that the templates name."""
    if not command.which("packer") or "v1.6.6" not in command.run(["packer", "version"], env=QUIET).stdout:
        pytest.skip("the verdicts are of Packer 1.6.6, which is not installed")
    (tmp_path / "files").symlink_to(FACTS / "files")
    return tmp_path


def verdict(folder: Path, text: str) -> str:
    """What Packer says of a template; nothing when it accepts it."""
    (folder / "a.pkr.hcl").write_text(text, encoding="utf-8")
    done = command.run(["packer", "validate", "a.pkr.hcl"], cwd=folder, env=QUIET, check=False)
    return "" if done.returncode == 0 else done.stdout


# An argument of each type that the tables know, of the qemu builder.
KINDS = ("vm_name", "memory", "headless", "cd_files", "qemuargs", "http_port_min", "floppy_files")
VALUES = (
    *('"x"', '"12"', "12", "1.5", "true", '"true"', '"1"', "null", "[]", '["a"]', "[1]", '[["a"]]', "[[1]]", "{}"),
    *('{ a = "b" }', "[true]", '"${12}"', '"a${12}"', '"${["a"]}"', "var.text", "var.number", "var.list", "var.map"),
    *('[for x in ["a"] : x]', '{ for x in ["a"] : x => x }', "-1", '"-1"', '"1e2"', '"0x1"', '"1."', '".5"', '" 1"'),
    *('""', '"+1"', '"1_0"', '"-"', '"."', '"TRUE"', '"0"', '"no"'),
)
# Of what is worked out when Packer runs, the linter says only what is sure.
WORKED_OUT = frozenset({'"${12}"', '"a${12}"', '"${["a"]}"', "var.text", '[for x in ["a"] : x]', "-1"})
VARIABLES = (
    'variable "text" {\n  type    = string\n  default = "3"\n}\n'
    'variable "number" {\n  type    = number\n  default = 3\n}\n'
    'variable "list" {\n  type    = list(string)\n  default = ["3"]\n}\n'
    'variable "map" {\n  type    = map(string)\n  default = { a = "b" }\n}\n'
)


def test_types_as_packer_converts_them(packer: Path) -> None:
    """Each value in place of each type of argument: Packer and the linter refuse the same ones."""
    text, lines = VARIABLES, {}
    for number, value in enumerate(VALUES):
        text += f'source "qemu" "v{number}" {{\n'
        for name in KINDS:
            lines[text.count("\n") + 1] = (value, name)
            text += f"  {name} = {value}\n"
        text += "}\n"
    names = ", ".join(f'"source.qemu.v{number}"' for number in range(len(VALUES)))
    text += f"build {{\n  sources = [{names}]\n}}\n"
    theirs = set()
    for error in verdict(packer, text).split("Error: "):
        if "Inappropriate value for attribute" in error and (place := re.search(r"line (\d+)", error)):
            theirs.add(lines[int(place[1])])
    assert {name for _, name in theirs} <= set(KINDS)
    ours = {lines[one.line] for one in lint({"a.pkr.hcl": text}, dialect=OLD, select=["wrong-type"])}
    assert len(ours) > 80
    assert ours - theirs == set()
    assert {(value, name) for value, name in theirs - ours if value not in WORKED_OUT} == set()


SAMPLES = {
    **{"string": '"x"', "number": "1", "bool": "false", "list(string)": '["x"]', "list(number)": "[1]"},
    **{"list(list(string))": '[["x"]]', "map(string)": '{ a = "b" }'},
}


def everything(table: Mapping[str, Any]) -> str:
    """A body with every argument and every block of a table."""
    lines = [f"{name} = {SAMPLES[fact['type']]}\n" for name, fact in table["arguments"].items()]
    return "".join([*lines, *(f"{name} {{\n{everything(fact)}}}\n" for name, fact in table["blocks"].items())])


@pytest.mark.parametrize("builder", BUILDERS)
def test_every_argument_as_packer_says(packer: Path, builder: str) -> None:
    """All that the newest plugin takes, and all that the bundled builder takes: 1.6.6 refuses the same lines."""
    tables = dialect.tables(builder)
    assert tables
    for table in (tables.bundled, tables.newest):
        body = everything(table or {})
        text = f'source "{builder}" "a" {{\n{body}}}\nbuild {{\n  sources = ["source.{builder}.a"]\n}}\n'
        theirs = {
            int(place[1])
            for error in verdict(packer, text).split("Error: ")
            if error.startswith(("Unsupported", "Incorrect")) and (place := re.search(r"line (\d+)", error))
        }
        rules = ["unknown-argument", "wrong-type", "block-or-argument"]
        found = lint({"a.pkr.hcl": text}, dialect=OLD, select=rules)
        # 1.6.6 refuses these blocks later and in other words; what stands in them is not looked at then.
        ours = {one.line for one in found if "cannot take" not in one.message}
        lines = text.splitlines()
        within = {number for number, name in blocks(lines) if name in facts(builder).refused}
        assert ours - within == theirs - within
        assert len(theirs) > 3 or table is tables.bundled


def blocks(lines: list[str]) -> Iterator[tuple[int, str]]:
    """Line numbers with the outermost block that they stand in."""
    open_blocks: list[str] = []
    for number, line in enumerate(lines[1:], 2):
        if line.endswith(" {"):
            open_blocks.append(line.split(" ")[0])
        if open_blocks:
            yield number, open_blocks[0]
        if line == "}" and open_blocks:
            open_blocks.pop()


@pytest.mark.load
@pytest.mark.parametrize("builder", BUILDERS)
def test_what_is_missing_as_packer_says(packer: Path, builder: str, accepted: Mapping[str, str], edited: Edit) -> None:
    """Leave out each argument and block of a source in turn: Packer and the linter refuse the same templates."""
    text = accepted[builder]
    body = re.search(r'source "[\w-]+" "debian12" \{\n(.*?)\n\}\n', text, re.DOTALL)
    assert body
    names = dict.fromkeys(re.findall(r"^  (\w+)", body[1], re.MULTILINE))
    differs = []
    for name in names:
        shorter = edited(text, frozenset({name}), "")
        found = lint({"a.pkr.hcl": shorter}, dialect=OLD)
        ours = {one.rule for one in found} & {"missing-argument", "missing-or-environment"}
        # A device that the root device copies is a matter of values.
        if bool(verdict(packer, shorter)) != bool(ours) and "_device" not in name:
            differs.append((name, sorted(ours)))
    assert differs == []


def test_fmt_reads_what_was_mended(packer: Path, accepted: Mapping[str, str], edited: Edit) -> None:
    """A mended template is accepted by `packer validate`, and `packer fmt` reads it."""
    text = edited(accepted["qemu"], frozenset({"ssh_timeout"}), '  ssh_wait_timeout = "5m"\n  ssh_host_port_min = 3000')
    mended = fix("a.pkr.hcl", text, lint({"a.pkr.hcl": text}, dialect=OLD))
    assert "ssh_wait_timeout" not in mended
    assert verdict(packer, mended) == ""
    command.run(["packer", "fmt", "a.pkr.hcl"], cwd=packer, env=QUIET)
