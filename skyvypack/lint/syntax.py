"""HCL text to pyhcl2's nodes, whose spans are positions in the text, with the templates in them read too."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import resources
from typing import Any

from lark import Lark, Token, UnexpectedInput, v_args
from lark.exceptions import VisitError
from pyagnostics.spans import SourceId
from pyhcl2.nodes import Block, Expression, Identifier, Literal, Stmt
from pyhcl2.transformer import ToAstTransformer
from pyhcl2.values import String

from skyvypack.lint.templates import Hole, Malformed, Template, scan

_SOURCE = SourceId()


@dataclass(slots=True)
class Syntax:
    """A text that was read.

    Args:
        text: as it stands in the file.
        body: its attributes and blocks, in order.
        templates: its strings and heredocs, by position.
        comments: start and end of each.
    """

    text: str
    body: list[Stmt]
    templates: Mapping[int, Template]
    comments: tuple[tuple[int, int], ...]
    _holes: dict[int, Expression | None] = field(default_factory=dict)

    def template(self, node: Any) -> Template | None:
        """The string or heredoc that a node is, or nothing."""
        return self.templates.get(node.span.start) if isinstance(node, Literal) else None

    def expression(self, hole: Hole) -> Expression | None:
        """What stands in an interpolation or directive, or nothing, as in ``%{ else }``.

        Raises:
            Malformed: it is no HCL expression.
        """
        place = hole.start + hole.shift
        if place not in self._holes:
            self._holes[place] = parse_hole(hole) if hole.mask.strip() else None
        return self._holes[place]

    def plain(self, node: Any) -> str | None:
        """The text a string or heredoc stands for, when nothing is interpolated in it."""
        template = self.template(node)
        return template.plain if template else None


def read(text: str) -> Syntax:
    """Read HCL.

    Raises:
        Malformed: with the position of the first thing that is wrong.
    """
    found = scan(text)
    body = _parse(text, found.mask, 0, "start")
    _lines_apart(body, found.mask)
    syntax = Syntax(text, body, found.templates, found.comments)
    for template in found.templates.values():
        for hole in template.holes:
            syntax.expression(hole)
    return syntax


_READY: list[Lark] = []


def grammar() -> Lark:
    """pyhcl2's grammar as a parser, made once: its own functions make it anew for each text."""
    if not _READY:
        _READY.append(make_grammar())
    return _READY[0]


def adopt(ready: Lark) -> None:
    """Use a parser that was made earlier: making one takes three quarters of a second."""
    _READY[:] = [ready]


def make_grammar() -> Lark:
    """A parser of pyhcl2's grammar."""
    text = resources.files("pyhcl2").joinpath("hcl2.lark").read_text(encoding="utf-8")
    return Lark(text, parser="lalr", start=["start", "start_expr"], propagate_positions=True)


class _Nodes(ToAstTransformer):
    """pyhcl2's nodes with positions and names of the text, not of its mask."""

    def __init__(self, text: str, offset: int, shift: int) -> None:
        super().__init__(source_id=_SOURCE)
        self._text, self._offset, self._shift = text, offset, offset + shift

    def _span(self, start: int, end: int) -> Any:
        return super()._span(start + self._shift, end + self._shift)

    def _place(self, token: Token) -> Any:
        return self._span(token.start_pos or 0, token.end_pos or 0)

    def _written(self, token: Token) -> str:
        return self._text[(token.start_pos or 0) + self._offset : (token.end_pos or 0) + self._offset]

    @v_args(inline=True)
    def identifier(self, token: Token) -> Identifier:
        """A name, also one that the mask hides."""
        return Identifier(self._written(token), span=self._place(token))

    @v_args(inline=True)
    def string_lit(self, token: Token) -> Literal:
        """A string as written; pyhcl2 keeps an object's elements by their keys, which the mask may make equal."""
        span = self._place(token)
        return Literal(String(self._written(token), span=span), span=span)


def parse_hole(hole: Hole) -> Expression:
    """The expression of an interpolation.

    Raises:
        Malformed: it is none.
    """
    expression: Expression = _parse(hole.text, hole.mask, hole.start, "start_expr", hole.shift)
    return expression


def _parse(text: str, mask: str, offset: int, start: str, shift: int = 0) -> Any:
    try:
        # A comment on the last line has become blanks, and the grammar wants a body's lines ended.
        tree = grammar().parse(mask + "\n" if start == "start" else mask, start=start)
        return _Nodes(text, offset, shift).transform(tree)
    except UnexpectedInput as error:
        raise _malformed(error, text, offset, len(mask), shift) from None
    except RecursionError:
        raise Malformed("nested too deeply", offset + shift) from None
    except (VisitError, TypeError, ValueError) as error:
        raise Malformed(f"not understood: {error}".splitlines()[0], offset + shift) from None


def _malformed(error: UnexpectedInput, text: str, offset: int, length: int, shift: int) -> Malformed:
    found_at: int | None = error.pos_in_stream
    inside = length if found_at is None or found_at < 0 else found_at
    at = offset + min(inside, length)
    found = text[at : at + 20].split(maxsplit=1)
    if inside >= length or not found:
        message, at = "the text ends too early", max(at - 1, 0)
    elif text[at] in "\r\n":
        message = "the line ends too early"
    else:
        message = f"unexpected {found[0]}"
    return Malformed(message, at + shift)


def _lines_apart(body: list[Stmt], mask: str) -> None:
    """HCL wants each attribute and block on a line of its own; pyhcl2 does not."""
    for number, stmt in enumerate(body):
        if number and not mask[: stmt.span.start].rstrip(" \t").endswith("\n"):
            raise Malformed("a line break is missing before this", stmt.span.start)
        if isinstance(stmt, Block):
            _lines_apart(stmt.body, mask)
