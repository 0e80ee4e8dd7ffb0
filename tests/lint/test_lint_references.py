"""References are found wherever HCL lets them stand, and names that a for or a dynamic block makes are none."""

from __future__ import annotations

import pytest

from skyvypack import dialect
from skyvypack.lint import Finding, lint

HEAD = 'variable "a" {\n  default = ["x"]\n}\n\nsource "null" "n" {\n  communicator = "none"\n}\n\n'


def missing(expression: str) -> list[Finding]:
    text = f"{HEAD}locals {{\n  l = {expression}\n  m = [local.l, var.a]\n  n = local.m\n}}\n"
    return lint({"a.pkr.hcl": text}, select=["undefined-reference"])


FOUND = [
    ("var.nope", "variable nope"),
    ("local.nope", "local nope"),
    ('"x ${var.nope} y"', "variable nope"),
    ('"${"${var.nope}"}"', "variable nope"),
    ("<<EOT\n${var.nope}\nEOT\n", "variable nope"),
    ("<<-EOT\n  %{ if var.nope ~}\n  x\n  %{ endif ~}\n  EOT\n", "variable nope"),
    ("<<EOT\n%{ for x in var.nope }${x}%{ endfor }\nEOT\n", "variable nope"),
    ("<<EOT\n%{ for x in var.a }${x}%{ endfor }${x}\nEOT\n", "x is no reference"),
    ("[for x in var.nope : x]", "variable nope"),
    ("[for x in var.a : var.nope if x]", "variable nope"),
    ("{ for k, v in var.a : k => local.nope }", "local nope"),
    ("[for x in var.a : y]", "y is no reference"),
    ("{ (var.nope) = 1 }", "variable nope"),
    ('{ "${var.nope}" = 1 }', "variable nope"),
    ("var.a[var.nope]", "variable nope"),
    ("var.a[*].b[local.nope]", "local nope"),
    ('var["nope"]', "variable nope"),
    ("upper(var.nope)", "variable nope"),
    ("var.a ? local.nope : 1", "local nope"),
    ("-var.nope + 1", "variable nope"),
    ("data.null.nope.output", "data source null.nope"),
    ("path.nope", "path has no nope"),
    ("source.null.n", "source.null.n is a source, not a value"),
    ("vars.a", "there is no vars"),
    ("nope.x", "there is no nope.x"),
    ("nope", "nope is no reference"),
    ("convert(var.nope, list(string))", "variable nope"),
]


@pytest.mark.parametrize(("expression", "words"), FOUND)
def test_what_does_not_exist_is_found(expression: str, words: str) -> None:
    """One finding, at the reference, that names what is missing."""
    [finding] = missing(expression)
    assert words in finding.message


FINE = [
    "var.a",
    "[for x in var.a : x.y]",
    "[for i, x in var.a : [for y in x : [i, y]]]",
    "<<EOT\n%{ for i, x in var.a ~}\n${i}${x}\n%{ endfor ~}\nEOT\n",
    "{ nope = 1, other : 2 }",
    "try(var.nope, 1)",
    "can(var.nope.x)",
    '"$${var.nope} %%{ if var.nope }"',
    "path.root",
    "packer.version",
    "source.name",
    "build.ID",
    "convert(var.a, list(string))",
    "var.a.*.b",
]


@pytest.mark.parametrize("expression", FINE)
def test_what_exists_is_not(expression: str) -> None:
    """Names of loops, keys, escapes and what Packer itself knows are no finding."""
    assert missing(expression) == []


def test_dynamic_blocks() -> None:
    """The iterator of a dynamic block is known in its content and not outside."""
    text = (
        'source "other" "a" {\n  dynamic "tag" {\n    for_each = [tag.key]\n    content {\n      key = tag.key\n    }\n'
        '  }\n  dynamic "b" {\n    for_each = []\n    iterator = it\n    labels   = [it.key]\n    content {\n'
        "      x = [it.value, b.value]\n    }\n  }\n}\n"
    )
    found = lint({"a.pkr.hcl": text}, select=["undefined-reference"])
    assert [(one.line, one.message) for one in found] == [
        (3, "there is no tag.key"),
        (13, "there is no b.value"),
    ]


def test_sources_of_a_build() -> None:
    """With or without its first word, in the list or as a block, a source must exist."""
    text = HEAD + (
        'build {\n  sources = ["source.null.n", "null.n", "null.nn"]\n  source "source.null.n" {\n  }\n'
        '  source "null.x" {\n  }\n}\n'
    )
    found = lint({"a.pkr.hcl": text}, select=["undefined-reference"])
    assert [(one.message, one.hint) for one in found] == [
        ("there is no source null.nn", "did you mean source.null.n?"),
        ("there is no source null.x", "did you mean source.null.n?"),
    ]


def test_a_default_refers_to_nothing() -> None:
    """Packer works out defaults first."""
    text = 'variable "a" {}\nvariable "b" {\n  default = "${var.a}"\n}\n'
    [finding] = lint({"a.pkr.hcl": text}, select=["undefined-reference"])
    assert "cannot refer to var.a" in finding.message


def test_used_everywhere_counts() -> None:
    """A variable that only a heredoc, a loop or an index uses is used; one that only checks itself is not."""
    for expression in ("<<EOT\n${var.x}\nEOT\n", "[for y in var.x : y]", 'var["x"]', "var[local.key]", '"${var.x}"'):
        text = f'variable "x" {{}}\nlocals {{\n  key = {expression}\n}}\n'
        assert lint({"a.pkr.hcl": text}, select=["unused-variable"]) == []
    text = 'variable "x" {\n  validation {\n    condition = var.x > 1\n    error_message = "No."\n  }\n}\n'
    assert [one.rule for one in lint({"a.pkr.hcl": text}, select=["unused-variable"])] == ["unused-variable"]


def test_two_locals_of_one_name_before_1_7() -> None:
    """Packer 1.6.6 takes the last of them; later ones refuse it."""
    text = "locals {\n  a = 1\n}\nlocals {\n  a = 2\n}\n"
    assert lint({"a.pkr.hcl": text}, select=["duplicate-name"], dialect=dialect.named("1.6.6")) == []
    assert len(lint({"a.pkr.hcl": text}, select=["duplicate-name"], dialect=dialect.named("1.9.0"))) == 1


def test_locals_that_need_themselves() -> None:
    """A round of locals is told once, across files too; what only leads into one is not told."""
    files = {
        "a.pkr.hcl": 'locals {\n  a = local.b\n  into = local.a\n  self = "x${local.self}"\n}\n',
        "b.pkr.hcl": "locals {\n  b = [for one in [1] : local.c]\n  c = upper(local.a)\n}\n",
    }
    found = [(one.file, one.line, one.message) for one in lint(files, select=["circular-local"])]
    assert found == [
        ("a.pkr.hcl", 2, "local.a needs local.b needs local.c needs local.a"),
        ("a.pkr.hcl", 4, "local.self needs local.self"),
    ]
