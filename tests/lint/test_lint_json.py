"""Packer's JSON is judged by the same rules, at the place of its strings."""

from __future__ import annotations

import json

import pytest

from skyvypack import dialect
from skyvypack.lint import Finding, lint

TEMPLATE = """{
  "//": "a comment",
  "variable": {"size": {"type": "number", "default": 1}, "left": {}},
  "locals": [{"a": "x ${var.nope} y"}, {"b": "${local.a}", "c": "\\n${local.gone}"}],
  "source": {
    "proxmox-iso": {
      "p": {
        "disks": [{"storage_pool": "x", "nope": 1}, {"storage_pool": "y", "ssd": true}],
        "vga": {"type": "std"},
        "memory": [1],
        "cores": "${var.size}",
        "password": "hunter2"
      }
    }
  },
  "build": [{"sources": ["source.proxmox-iso.q"], "provisioner": [{"shell": {"inline": ["x"], "env": {}}}]}]
}
"""


def found(text: str, **options: object) -> list[Finding]:
    return lint({"a.pkr.json": text}, **options)  # type: ignore[arg-type]


def test_findings_of_a_template() -> None:
    """Unknown and missing arguments, types, references, secrets and unused names, with line and column."""
    told = {(one.line, one.column, one.rule) for one in found(TEMPLATE)}
    assert told >= {
        (*place('"left"'), "unused-variable"),
        (*place("var.nope"), "undefined-reference"),
        (*place('"nope": 1'), "unknown-argument"),
        (*place("[1]"), "wrong-type"),
        (*place('"hunter2"'), "secret-in-clear"),
        (*place('"source.proxmox-iso.q"'), "undefined-reference"),
        (*place('"p"'), "missing-argument"),
    }
    assert "syntax" not in {rule for _, _, rule in told}


def place(words: str) -> tuple[int, int]:
    before = TEMPLATE[: TEMPLATE.index(words)]
    return before.count("\n") + 1, len(before) - before.rfind("\n")


def test_blocks_by_the_builders_table() -> None:
    """A list of objects is a block for each; in 1.6.6 disks have no ssd."""
    unknown = [one.message for one in found(TEMPLATE, dialect=dialect.named("1.6.6"), select=["unknown-argument"])]
    assert unknown == [f"builder proxmox-iso of Packer 1.6.6 has no disks.{name}" for name in ("nope", "ssd")]


@pytest.mark.parametrize(
    "text",
    [
        *("", "{", "[", '{"a"}', '{"a": }', '{"a": 1,}', '{"a": [1,]}', '{"a": "b}', '{"a": 1} 2', '{"a": tru}', "[]"),
        *('"x"', '{"variable": 3}', '{"locals": {"a": "${"}}', "{'a': 1}", '{"a": "\t"}'),
    ],
)
def test_malformed_json(text: str) -> None:
    """One finding, with a place in the text."""
    [finding] = found(text)
    assert finding.rule == "syntax"
    assert finding.column <= len(text) + 1


def test_any_json_is_read() -> None:
    """Every kind of value is understood, and an empty object is an empty module."""
    assert found("{}") == []
    value = {"a": [1, -1.5e3, True, None, "x", {"b": {}}], "c": 'ü\n"', "d": "$${x}"}
    assert found(json.dumps({"locals": value}), ignore=["unused-local"]) == []


def test_short_strings_keep_their_own_text() -> None:
    """A string's text is not taken for that of one a few characters before it."""
    from skyvypack.lint import json_text

    text = '{"a":"1G","type":"v"}'
    syntax = json_text.read(text)
    texts = {start: template.plain for start, template in syntax.templates.items()}
    assert texts == {text.index('"1G"'): "1G", text.index('"v"'): "v"}
