"""Templates of roles: sandboxed, strict, and exact about where they fail."""

from __future__ import annotations

import pytest

from skyvypack.template import TemplateError, render


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("plain\n", "plain\n"),
        ("a {{ x }}\n", "a 1\n"),
        ("{{ x }}\n\n", "1\n\n"),
        ("{## gone ##}${#name} {{ x }}", "${#name} 1"),
        ("${#name} {# kept #}", "${#name} {# kept #}"),
        ('{% if "b" in s %}yes{% else %}no{% endif %}', "no"),
        ("{{ html }}", "<&>"),
    ],
)
def test_renders(text: str, result: str) -> None:
    """Text stays as it is but for marks: trailing newlines, shell's ${#name} and markup are kept."""
    assert render(text, {"x": 1, "s": {"a": 1}, "html": "<&>"}) == result


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("\n\n{{ y }}", 3, "'y' is undefined"),
        ("\n{{ s.b }}", 2, "'b' is undefined"),
        ("{{ s.b.c }}", 1, "'b' is undefined"),
        ("a\n{% if %}", 2, "Expected an expression"),
        ("{{ x | no }}", 1, "No filter named 'no'"),
        ("\n{{ x + 'a' }}", 2, "unsupported operand"),
        ("\n{{ 1 / 0 }}", 2, "division by zero"),
        ("{% include 'x' %}", 1, "no loader"),
        ("{{ ''.__class__ }}", 1, "unsafe"),
        ("{{ s.update({}) }}", 1, "unsafe"),
        ("{% for a in range(10**9) %}{% endfor %}", 1, "Range too big"),
        ("{{ [1, 2] | random }}", 1, "No filter named 'random'"),
        ("{{ lipsum() }}", 1, "'lipsum' is undefined"),
        ("{% macro m() %}{{ m() }}{% endmacro %}\n{{ m() }}", 1, "recursion"),
        ("{{ " * 500, 0, "recursion"),
    ],
)
def test_what_is_wrong_is_told_with_its_line(text: str, line: int, words: str) -> None:
    """Wrong syntax, an undefined name, a failing expression and a way out of the sandbox are one kind of error."""
    with pytest.raises(TemplateError, match=words) as caught:
        render(text, {"x": 1, "s": {"a": 1}})
    assert caught.value.line == line
