"""Each rule finds what its page says, and not what its page calls mended."""

from __future__ import annotations

import re

import pytest

from skyvypack import dialect
from skyvypack.lint import RULES, SEVERITIES, Finding, lint

LATEST = dialect.LATEST
OLD = dialect.named("1.6.6")
_OF_ITS_TIME = {"newer-language": OLD}
_SEVERAL_FILES = {"declared-in-two-files", "undeclared-value"}


def found(text: str, **options: object) -> list[Finding]:
    return lint({"a.pkr.hcl": text}, **options)  # type: ignore[arg-type]


def rules(text: str, **options: object) -> list[str]:
    return [one.rule for one in found(text, **options)]


@pytest.mark.parametrize("rule", sorted(RULES.keys() - _SEVERAL_FILES))
def test_examples(rule: str) -> None:
    """The bad example of a rule has its finding, and the good one has none at all."""
    version = _OF_ITS_TIME.get(rule, LATEST)
    assert rule in rules(RULES[rule].bad, dialect=version)
    assert rules(RULES[rule].good, dialect=version) == []


def test_every_rule_says_what_it_is() -> None:
    """Ids are words with hyphens, and each rule has a line, a text and one of the three severities."""
    for name, rule in RULES.items():
        assert name == rule.id
        assert re.fullmatch(r"[a-z]+(-[a-z]+)*", name)
        assert rule.severity in SEVERITIES
        assert rule.summary
        assert rule.doc.endswith(".")
        assert not rule.summary.endswith(".")


def test_a_folder_is_one_module() -> None:
    """Variables, locals and sources of all files of a folder belong together."""
    files = {
        "variables.pkr.hcl": 'variable "a" {\n  default = 1\n}\n',
        "locals.pkr.json": '{"locals": {"b": "${var.a}"}}',
        "source.pkr.hcl": 'source "null" "c" {\n  communicator = "none"\n}\n',
        "build.pkr.hcl": 'build {\n  sources = ["null.c"]\n  name    = local.b\n}\n',
    }
    assert lint(files) == []


def test_context_is_not_judged() -> None:
    """A file beside the one that is judged says what exists, and gets no finding of its own."""
    beside = {"b.pkr.hcl": 'variable "a" {\n  default = 1\n}\nvariable "unused" {}\n'}
    assert (
        lint({"a.pkr.hcl": "locals {\n  x = var.a\n  y = local.x\n}\n"}, context=beside, ignore=["unused-local"]) == []
    )


def test_two_files_that_declare_one_name() -> None:
    """Across files it is a warning, for the files may each be a template of their own."""
    text = 'variable "a" {\n  default = 1\n}\nlocals {\n  x = var.a\n  y = local.x\n}\n'
    once = lint({"a.pkr.hcl": text, "b.pkr.hcl": text}, ignore=["unused-local"])
    assert {one.rule for one in once} == {"declared-in-two-files"}
    assert {one.file for one in once} == {"b.pkr.hcl"}
    assert once[0].message == "variable a is declared already, at a.pkr.hcl:1, as are 2 more names"
    assert len(once) == 1


def test_variable_files() -> None:
    """A variable file may set only what the folder declares, and only with its type."""
    files = {
        "a.pkr.hcl": 'variable "size" {\n  type = number\n}\nlocals {\n  x = var.size\n  y = local.x\n}\n',
        "a.pkrvars.hcl": 'size = "big"\nsise = 3\n',
        "b.auto.pkrvars.json": '{"size": 3, "x": {"y": 1}}',
    }
    told = [(one.file, one.line, one.rule, one.hint) for one in lint(files, ignore=["unused-local"])]
    assert told == [
        ("a.pkrvars.hcl", 1, "wrong-type", ""),
        ("a.pkrvars.hcl", 2, "undeclared-value", "did you mean size?"),
        ("b.auto.pkrvars.json", 1, "undeclared-value", ""),
    ]


def test_variable_files_alone() -> None:
    """Where no template stands beside it, nothing is known of what a variable file may set."""
    assert lint({"a.pkrvars.hcl": "size = 3\n"}) == []


def test_ignore_comments() -> None:
    """A comment silences its line, or the next when it stands alone, for all rules or those it names."""
    text = (
        'variable "a" {} # skyvypack:ignore\n'
        "# skyvypack:ignore unused-variable\n"
        'variable "b" {}\n'
        'variable "c" {} // skyvypack:ignore unused-local, unused-variable\n'
        'variable "d" {} # skyvypack:ignore unused-local\n'
    )
    assert [(one.line, one.rule) for one in found(text)] == [(5, "unused-variable")]
    assert rules("# skyvypack:ignore-file unused-variable\n" + text) == []


def test_select_and_ignore() -> None:
    """Only the rules asked for are used."""
    text = 'variable "a" {}\nlocals {\n  b = var.nope\n}\n'
    assert set(rules(text)) == {"unused-variable", "unused-local", "undefined-reference"}
    assert rules(text, select=["unused-local"]) == ["unused-local"]
    assert rules(text, ignore=["unused-local", "unused-variable"]) == ["undefined-reference"]


def test_findings_are_in_order_and_once() -> None:
    """By file as given, then by line; the same thing is told once."""
    files = {"b.pkr.hcl": "locals {\n  x = [var.b, var.b]\n}\n", "a.pkr.hcl": "locals {\n  y = var.a\n}\n"}
    places = [(one.file, one.line, one.column) for one in lint(files, select=["undefined-reference"])]
    assert places == [("b.pkr.hcl", 2, 8), ("b.pkr.hcl", 2, 15), ("a.pkr.hcl", 2, 7)]


SECRETS = [
    ('ssh_password = "x"', True),
    ('winrm_password = "x"', True),
    ('token = "x"', True),
    ("password = var.word", False),
    ('password = "${var.word}"', False),
    ('password = ""', False),
    ('password = "{{ build `Password` }}"', False),
    ('ssh_private_key_file = "~/.ssh/id"', False),
    ('password_file = "x"', False),
    ("vnc_disable_password = true", False),
    ('token_ttl = "1h"', False),
    ('anything = "AKIAABCDEFGHIJKLMNOP"', True),
    ('script = "-----BEGIN OPENSSH PRIVATE KEY-----"', True),
    ('tags = { db_password = "x" }', True),
]


@pytest.mark.parametrize(("line", "secret"), SECRETS)
def test_secrets(line: str, secret: bool) -> None:
    """A secret is known by its argument's name or by its looks; a reference to one is none."""
    text = f'variable "word" {{\n  sensitive = true\n}}\nsource "other" "a" {{\n  {line}\n}}\n'
    assert (rules(text, select=["secret-in-clear"]) == ["secret-in-clear"]) is secret


def test_a_secret_is_not_repeated_in_the_finding() -> None:
    """What a finding says can be shown to anyone."""
    text = 'source "other" "a" {\n  password = "canary-7131"\n  x = "AKIAABCDEFGHIJKLMNOP"\n}\n'
    told = "\n".join(f"{one}{dict(one.described())}" for one in found(text))
    assert "canary" not in told
    assert "ABCDEFGH" not in told


BOOT = [
    ('["<esc>", "auto<enter>"]', True),
    ('["<tab> ks=x<enter>"]', False),
    ('["<esc><wait>", "auto<enter>"]', False),
    ('["<enter><wait10>", "<enter>root"]', False),
    ('["<f2>", "install"]', True),
    ("local.boot", False),
    ('["<esc>", "${local.wait}auto<enter>"]', False),
    ("[]", False),
]


@pytest.mark.parametrize(("command", "early"), BOOT)
def test_boot_commands(command: str, early: bool) -> None:
    """Found is what is typed after a key that changes the screen, in a command that never waits."""
    text = f'source "other" "a" {{\n  boot_command = {command}\n}}\n'
    assert bool(rules(text, select=["boot-command-without-wait"])) is early
    paced = text.replace("}", '  boot_keygroup_interval = "1s"\n}')
    assert rules(paced, select=["boot-command-without-wait"]) == []
