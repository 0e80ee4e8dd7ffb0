"""The HCL emitter, without Packer."""

from __future__ import annotations

from typing import Any

import pytest

from skyvypack.hcl import (
    Attribute,
    Block,
    Call,
    Choice,
    Document,
    Equals,
    HclError,
    Heredoc,
    Ref,
    Template,
    Value,
    Word,
    template,
    variable,
)
from skyvypack.hcl.text import inline, key, lines


def block(*body: Attribute | Block) -> str:
    return Document([Block("b", body=body)]).render()


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "null"),
        (True, "true"),
        (7, "7"),
        (-1.5, "-1.5"),
        ("", '""'),
        ('say "hi"', r'"say \"hi\""'),
        ("C:\\new", r'"C:\\new"'),
        ("a\nb\r\tc", r'"a\nb\r\tc"'),
        ("\x00\x1b\x7f", r'"\u0000\u001b\u007f"'),
        ("Zoë, 東京, 🐧", '"Zoë, 東京, 🐧"'),
        ("no\u00a0break\u202e", r'"no\u00a0break\u202e"'),
        ("\U000e0001", r'"\U000e0001"'),
        ("cost: 5$ and 5%", '"cost: 5$ and 5%"'),
        ("${x} %{if} $${y}", r'"\u0024{x} \u0025{if} $\u0024{y}"'),
        (["a", 1], '["a", 1]'),
        ({"a": 1, "b c": "d"}, '{ a = 1, "b c" = "d" }'),
        ({}, "{}"),
        (Ref("var.x"), "var.x"),
        (Ref("source.qemu.x"), '"source.qemu.x"'),
        (Word("list(string)"), "list(string)"),
        (template("file:${local.c}/x"), '"file:${local.c}/x"'),
        (Template(("$", Ref("var.x"), "$", "{y}")), r'"\u0024${var.x}\u0024{y}"'),
        (Call("contains", (["a"], Ref("var.x"))), 'contains(["a"], var.x)'),
        (Choice(Equals(Ref("var.x"), ""), 1, Ref("var.x")), 'var.x == "" ? 1 : var.x'),
    ],
)
def test_inline(value: Value, text: str) -> None:
    """Each kind of value has its one form."""
    assert inline(value) == text


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "\ud800", object(), b"bytes", {1, 2}])
def test_no_form(value: Any) -> None:
    """What HCL cannot say is refused, not written wrongly."""
    with pytest.raises(HclError):
        inline(value)


@pytest.mark.parametrize(("name", "text"), [("a-b", "a-b"), ("for", '"for"'), ("1", '"1"'), ("é", r'"\u00e9"')])
def test_key(name: str, text: str) -> None:
    """A mapping's key is bare where it can be, and ASCII always."""
    assert key(name) == text


def test_equals_signs_line_up_in_runs() -> None:
    """Adjacent one-line values share a column; a value of several lines, a comment or a block begins a new run."""
    text = block(
        Attribute("a", 1),
        Attribute("long_name", 2),
        Attribute("table", {"k": 1, "key": [["x"], ["y"]]}),
        Attribute("b", 3),
        Attribute("other", 4, "why\n\nand how"),
        Block("inner", ["l"], [Attribute("deep", True)]),
        Attribute("last", []),
    )
    assert text == (
        "b {\n"
        "  a         = 1\n"
        "  long_name = 2\n"
        "  table = {\n"
        "    k = 1\n"
        "    key = [\n"
        '      ["x"],\n'
        '      ["y"],\n'
        "    ]\n"
        "  }\n"
        "  b = 3\n"
        "\n"
        "  # why\n"
        "  #\n"
        "  # and how\n"
        "  other = 4\n"
        "\n"
        '  inner "l" {\n'
        "    deep = true\n"
        "  }\n"
        "\n"
        "  last = []\n"
        "}\n"
    )


def test_long_list_is_written_by_line() -> None:
    """A list wider than the limit has one element a line, each with a comma."""
    words = ["x" * 40, "y" * 40, "z" * 40]
    assert lines(words) == ["[", *(f'  "{word}",' for word in words), "]"]


def test_heredoc_keeps_its_lines() -> None:
    """A heredoc's lines are not indented with the block, its holes are escaped and its mark is not in the text."""
    text = block(Attribute("x", Heredoc("if true; then\n  echo ${x}\nEOT\n")), Attribute("long", 1))
    assert text == "b {\n  x    = <<EOT_\nif true; then\n  echo $${x}\nEOT\nEOT_\n  long = 1\n}\n"


@pytest.mark.parametrize("text", ["no newline at the end", "bell\a\n", "run $${x}\n", "\r\n"])
def test_heredoc_falls_back_to_quotes(text: str) -> None:
    """What a heredoc cannot hold unescaped is written between quotes."""
    assert lines(Heredoc(text)) == [inline(text)]


def test_comments_cannot_break_out() -> None:
    """Every line of a comment stays one, whatever ends it."""
    text = Document([Block("b", comment="one\ntwo\rthree\u2028four")], comment="top\x0bpage").render()
    assert text == "# top\n# page\n\n# one\n# two\n# three\n# four\nb {\n}\n"


@pytest.mark.parametrize(
    "value",
    [
        Ref("var.nope"),
        Ref("local.nope"),
        Ref("source.qemu.nope"),
        template("${var.nope}"),
        [{"k": [template("x${local.nope}")]}],
        Call("f", (1, Ref("var.nope"))),
        Equals(1, Ref("var.nope")),
        Choice(Equals(1, 1), 1, template("${var.nope}")),
    ],
)
def test_undefined_reference(value: Value) -> None:
    """A name that the document does not define cannot be emitted, wherever it hides."""
    document = Document([variable("x", default=""), Block("b", body=[Block("c", body=[Attribute("a", value)])])])
    with pytest.raises(HclError, match=r"not defined: \w+\.(qemu\.)?nope"):
        document.render()


def test_defined_and_built_in_references() -> None:
    """Variables, locals and sources of the document and Packer's own names are known."""
    names = ["var.x", "local.y", "source.qemu.z", "path.root", "build.ID", "source.name", "packer.version"]
    blocks = [
        variable("x", default=""),
        Block("locals", body=[Attribute("y", 1)]),
        Block("source", ["qemu", "z"]),
        Block("b", body=[Attribute("all", [Ref(name) for name in names])]),
    ]
    assert "path.root" in Document(blocks).render()


@pytest.mark.parametrize(
    "blocks",
    [
        [variable("x", default=""), variable("x", default="")],
        [Block("source", ["qemu", "x"]), Block("source", ["qemu", "x"])],
        [Block("locals", body=[Attribute("x", 1)]), Block("locals", body=[Attribute("x", 1)])],
    ],
)
def test_defined_twice(blocks: list[Block]) -> None:
    """Two variables, sources or locals of one name are an error."""
    with pytest.raises(HclError, match="defined twice"):
        Document(blocks).render()


def test_attribute_twice_or_misnamed() -> None:
    """An attribute stands once in a block, and its name is a name."""
    with pytest.raises(HclError, match="set twice"):
        block(Attribute("a", 1), Attribute("a", 2))
    with pytest.raises(HclError, match="no attribute name"):
        block(Attribute("a b", 1))


@pytest.mark.parametrize("path", ["", "var", "var.", "var.a.b", "nope.x", "var.x}", "var.x\n"])
def test_not_a_reference(path: str) -> None:
    """Only names are references."""
    with pytest.raises(ValueError, match="not a reference"):
        Ref(path)


@pytest.mark.parametrize("text", ["${upper(var.x)}", "${var.x", "${}"])
def test_not_a_template(text: str) -> None:
    """A hole holds a reference and nothing else."""
    with pytest.raises(ValueError, match="not a"):
        template(text)


def test_not_a_word() -> None:
    """A bare word is a type, not any text."""
    with pytest.raises(ValueError, match="not a type"):
        Word("string }")
