"""All of HCL is read, positions are those of the file, and what is no HCL is a finding, never a traceback."""

from __future__ import annotations

import random
from collections.abc import Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skyvypack.lint import lint
from skyvypack.lint.syntax import read
from skyvypack.lint.templates import Malformed, scan, unescape

# Valid HCL that pyhcl2 alone refuses, or reads otherwise.
VALID = [
    "a = (\n  x ||\n  y\n)",
    "a = b ? c : d ? e : f",
    "a = (b ?\n  c :\n  d)",
    "a = !b && !(c)",
    "a = b == !c",
    'a = "${b["}"]}"',
    'a = "${join(",", [for x in y : "${x}-${z}"])}"',
    'a = "$${b} %%{c} ${"\\"}"}"',
    "true = true",
    "a = { true = null }",
    "ä = ö.ü",
    "a = <<EOT\nEOT\n",
    "a = <<-EOT\n  EOTx\n  ${b}\n  EOT\n",
    "a = [<<EOT\nx\nEOT\n, 1]",
    'a = <<EOT\n%{ for x in y ~}\n"${x}"\n%{ endfor ~}\nEOT\n',
    "a = { for k, v in x :\n  k => v...\n  if v != null\n}",
    "a = { b = c ? d : e\n  f : 1\n}",
    "a = b /* c \n d */\n",
    "a = 1 # end",
    "a = 1 // end",
    "a {\n  b = 1\n}",
    "a { b = 1 }",
    "a {}",
    "a = b[0].c.*.d[*].e",
    "a = f(\n  1,\n  2,\n)",
    "a = f(b...)",
    "a = provider::f(1)",
    'a = {\n  "b.c" = 1, d : 2\n  (e) = 3\n}',
    "a\t=\t1\r\nb = 2\r\n",
    'a = "\\u00e9\\U0001F600\\n"',
    "a = -1 + -b",
    "a = {}\n\n\n",
    "",
]


@pytest.mark.parametrize("text", VALID)
def test_valid_hcl_is_read(text: str) -> None:
    """None of HCL's forms is refused."""
    read(text)


MALFORMED = [
    ("a = ", 0, "the text ends too early"),
    ('a = "b', 4, "the string never ends"),
    ('a = "b\n"', 4, "a quoted string ends on the line it begins on"),
    ("a = [1", 4, "[ is never closed"),
    ("a = 1]", 5, "unexpected ]"),
    ("a = (1]", 6, "unexpected ]"),
    ("a {\n  b = 1 c = 2\n}", 12, "a line break is missing"),
    ("a = 1 b = 2", 6, "a line break is missing"),
    ('a = "C:\\Users"', 7, "unknown escape \\U"),
    ("a = <<EOT\nx\n", 4, "the heredoc never ends"),
    ('a = "${b', 5, "{ is never closed"),
    ('a = "${}"', 7, "an expression is missing"),
    ('a = "%{ if ~}"', 10, "an expression is missing"),
    ('a = "%{ nope }"', 5, "unknown template directive"),
    ("a = /* b", 4, "the comment never ends"),
    ("a = %q", 4, "unexpected %q"),
    ('a = "${b c}"', 9, "unexpected c"),
]


@pytest.mark.parametrize(("text", "position", "words"), MALFORMED)
def test_malformed_hcl_is_told_with_its_place(text: str, position: int, words: str) -> None:
    """The finding says what is wrong and where it begins."""
    with pytest.raises(Malformed) as caught:
        read(text)
    assert words in caught.value.message
    if words != "the text ends too early":
        assert caught.value.position == position
    [finding] = lint({"a.pkr.hcl": text})
    line_start = text.rfind("\n", 0, caught.value.position) + 1
    assert (finding.rule, finding.column) == ("syntax", caught.value.position - line_start + 1)


def test_one_broken_file_silences_only_what_it_could_explain() -> None:
    """Beside a file that cannot be read nothing is called missing or unused; the rest is still judged."""
    files = {"a.pkr.hcl": "variable {", "b.pkr.hcl": 'source "other" "x" {\n  x = var.a\n  x = 2\n}\nvariable "b" {}\n'}
    assert {(one.file, one.rule) for one in lint(files)} == {("a.pkr.hcl", "syntax"), ("b.pkr.hcl", "repeated")}


def test_deep_nesting_is_no_recursion_error() -> None:
    """However deep a text is nested, it is a finding."""
    for text in (
        "a = " + "[" * 5000,
        "a = " + "(" * 150 + "1" + ")" * 150,
        'a = "${' * 3000,
        "a {\n" * 150 + "}\n" * 150,
    ):
        assert {one.rule for one in lint({"a.pkr.hcl": text})} <= {"syntax", "unknown-block"}
    assert lint({"a.pkr.json": '{"locals":' * 3000})[0].rule == "syntax"


def test_bytes_that_are_no_text() -> None:
    """A byte that is no UTF-8, as Python hands it over, is a finding at its place."""
    text = b'a = "\xff"\n'.decode("utf-8", "surrogateescape")
    [finding] = lint({"a.pkr.hcl": text})
    assert (finding.rule, finding.line, finding.column) == ("syntax", 1, 6)


def test_escapes() -> None:
    """What stands between quotes is understood as HCL does."""
    assert unescape(r"a\n\t\"\\ é \U0001F600 $${x} %%{y}") == 'a\n\t"\\ é 😀 ${x} %{y}'
    assert unescape(r"$\u0024{x} \\${y}") == "$${x} \\${y}"


PIECES = [
    *(
        "a",
        "var.x",
        "local.y",
        "source",
        "build",
        '"',
        "'",
        "{",
        "}",
        "[",
        "]",
        "(",
        ")",
        "=",
        "==",
        "=>",
        ",",
        ".",
        ":",
    ),
    *(
        "?",
        "!",
        "${",
        "%{",
        "$${",
        "<<EOT",
        "<<-EOT",
        "EOT",
        "\n",
        "\r\n",
        " ",
        "#",
        "//",
        "/*",
        "*/",
        "\\",
        "\\n",
        "~",
    ),
    *("for", "in", "if", "endif", "endfor", "else", "true", "null", "1", "1.5", "...", "[*]", "é", "😀", "\x00", "%q"),
    *(
        'variable "x" {\n',
        "default = 1\n",
        'source "qemu" "a" {\n',
        "locals {\n",
        "dynamic",
        "content",
        "skyvypack:ignore",
    ),
]


@settings(max_examples=200, deadline=None)
@given(st.lists(st.sampled_from(PIECES), max_size=30).map("".join))
def test_any_text_gives_findings_within_it(text: str) -> None:
    """Whatever stands in a file, `lint` returns, and every finding is at a place of the text."""
    check_places(text, "a.pkr.hcl")


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=60), st.sampled_from(["a.pkr.hcl", "a.pkr.json", "a.pkrvars.hcl", "a.pkrvars.json"]))
def test_any_characters_too(text: str, name: str) -> None:
    """The same for characters of all kinds, in each kind of file."""
    check_places(text, name)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from(["cut", "drop", "double", "swap"]))
def test_damaged_templates(accepted: Mapping[str, str], seed: int, how: str) -> None:
    """A template of which a piece is lost, doubled or moved is judged, never a traceback."""
    chance = random.Random(seed)
    text = accepted[chance.choice(sorted(accepted))]
    start = chance.randrange(len(text))
    end = min(len(text), start + chance.randrange(1, 40))
    damaged = {
        "cut": text[:start],
        "drop": text[:start] + text[end:],
        "double": text[:end] + text[start:],
        "swap": text[end:] + text[start:end] + text[:start],
    }[how]
    check_places(damaged, "a.pkr.hcl")


def check_places(text: str, name: str) -> None:
    lines = text.split("\n")
    for finding in lint({name: text}):
        assert 1 <= finding.line <= len(lines)
        assert 1 <= finding.column <= len(lines[finding.line - 1]) + 2
        assert (finding.end_line, finding.end_column) >= (finding.line, finding.column)
        assert "Error" not in finding.message


@settings(max_examples=200, deadline=None)
@given(st.lists(st.sampled_from(PIECES), max_size=30).map("".join))
def test_the_mask_keeps_every_position(text: str) -> None:
    """What pyhcl2 reads is as long as the file, line by line outside of strings."""
    try:
        found = scan(text)
    except Malformed:
        return
    assert len(found.mask) == len(text)
    for start, template in found.templates.items():
        assert text[start] in '"<'
        assert start < template.end <= len(text)


@pytest.mark.parametrize("name", ["a.pkr.hcl", "a.pkr.json"])
def test_a_byte_order_mark_is_passed_over(name: str) -> None:
    """As Packer does, in both versions; positions count it."""
    text = "\ufeff" + ("locals { a = 1 }\n" if name.endswith("hcl") else '{"locals": {"a": 1}}')
    [finding] = lint({name: text})
    assert (finding.rule, finding.column > 9) == ("unused-local", True)
