"""Where HCL text has strings, heredocs, interpolations, comments and line ends.

pyhcl2's grammar reads the structure of a document, but takes a template for plain characters, and refuses valid HCL:
a line break after an operator inside parentheses, a conditional in a conditional, a brace in a string in an
interpolation, `!x` after an operator, an argument named `true`. `scan` finds the templates by HCL's own rules and makes
a *mask*: text of the same length, so that every position stays true, that pyhcl2 reads without harm. In the mask
strings hold no quotes, heredocs are strings, comments and meaningless line breaks are blanks, and the operators of a
conditional are `+`: that keeps what refers to what, which is all that a linter asks of an operator.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

_CODE = re.compile(r'["#/<({\[\])}?:!\r\n]|\b(?:true|false|null)\b|[^\x00-\x7f]')
_KEYWORD_AS_NAME = re.compile(r"[ \t]*=(?![=>])")
_FOR = re.compile(r"\{\s*for\s+[\w-]+\s*(?:,|in\s)")
_HEREDOC = re.compile(r"<<-?([^\W\d][\w-]*)\r?\n")
_QUOTED = re.compile(r'["\n]|\\.|\$\$\{|%%\{|[$%]\{', re.DOTALL)
_IN_HEREDOC = re.compile(r"\n|\$\$\{|%%\{|[$%]\{")
_STANDS_FOR = re.compile(r'\\(?:[nrt"\\]|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8})|\$\$\{|%%\{')
_ESCAPE = re.compile(r'\\(?:[nrt"\\]|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8})')
_DIRECTIVE = re.compile(r"~?\s*(if|else|endif|for|endfor)\b")
_LOOP = re.compile(r"\s*([\w-]+)\s*(?:,\s*([\w-]+)\s*)?in\b")
_PAIRS = {"(": ")", "[": "]", "{": "}"}
# What pyhcl2 must not see inside a string.
_HARMLESS = str.maketrans({'"': "'", "\\": "/", "$": "_", "%": "_", "\n": " ", "\r": " "})
_DEPTH = 200


@dataclass(frozen=True, slots=True)
class Hole:
    """An interpolation or a directive of a template.

    Args:
        kind: ``value`` for ``${…}``, else the directive's word, such as ``if`` or ``endfor``.
        start: position of its expression in the text.
        mask: the expression as pyhcl2 can read it; empty when there is none.
        names: what a ``for`` directive names.
        text: the text that `start` is a position in.
        shift: from there to the position in the file; not 0 in JSON, where a string is a text of its own.
    """

    kind: str
    start: int
    mask: str
    names: tuple[str, ...]
    text: str
    shift: int = 0


@dataclass(frozen=True, slots=True)
class Template:
    """A quoted string or a heredoc.

    Args:
        start: position of its first character, the quote or ``<<``.
        end: the position after its last.
        text: what is between the quotes, as written, or the heredoc's lines.
        escapes: whether a backslash means something in it, as between quotes.
        holes: in order.
    """

    start: int
    end: int
    text: str
    escapes: bool
    holes: tuple[Hole, ...] = ()

    @property
    def plain(self) -> str | None:
        """The text it stands for, when nothing is interpolated in it."""
        if self.holes:
            return None
        return unescape(self.text) if self.escapes else self.text.replace("$${", "${").replace("%%{", "%{")


def unescape(quoted: str) -> str:
    r"""What stands between quotes, with its escapes replaced.

    >>> unescape(r'a\n\"b\" $${c}')
    'a\n"b" ${c}'
    """
    # In one go: what an escape stands for begins no template.
    return _STANDS_FOR.sub(_unescaped, quoted)


def _unescaped(match: re.Match[str]) -> str:
    code = match.group()[1:]
    if code in ("${", "%{"):
        return code
    if code[0] in "uU":
        number = int(code[1:], 16)
        return chr(number) if number < 0x110000 else "\ufffd"
    return {"n": "\n", "r": "\r", "t": "\t"}.get(code, code)


class Malformed(Exception):
    """The text is not HCL.

    Args:
        message: what is wrong.
        position: where in the text.
    """

    def __init__(self, message: str, position: int) -> None:
        super().__init__(message)
        self.message = message
        self.position = position


@dataclass(frozen=True, slots=True)
class Scan:
    """What `scan` found.

    Args:
        mask: as long as the text.
        templates: by position of their first character, those in interpolations too.
        comments: start and end of each.
    """

    mask: str
    templates: Mapping[int, Template]
    comments: tuple[tuple[int, int], ...]


def scan(text: str) -> Scan:
    """Find the templates and comments of HCL text, and mask them.

    Raises:
        Malformed: a string, heredoc, comment or bracket does not end, or an escape is unknown.
    """
    scanner = _Scanner(text)
    scanner.code(0, _Frame("", 0))
    return Scan("".join(scanner.mask), scanner.templates, tuple(scanner.comments))


@dataclass(slots=True)
class _Frame:
    """A bracket that is open: its kind, where, and how many conditionals wait for their colon."""

    bracket: str
    start: int
    joins_lines: bool = False
    conditionals: int = 0


@dataclass(slots=True)
class _Scanner:
    text: str
    mask: list[str] = field(init=False)
    templates: dict[int, Template] = field(default_factory=dict)
    comments: list[tuple[int, int]] = field(default_factory=list)
    depth: int = 0

    def __post_init__(self) -> None:
        self.mask = list(self.text)

    def code(self, at: int, outer: _Frame) -> int:
        """Scan code until what closes `outer`, or to the end of the text when nothing does; returns where that is."""
        frames = [outer]
        while match := _CODE.search(self.text, at):
            at, found = match.start(), match.group()
            if found in _PAIRS:
                if len(frames) > _DEPTH:
                    raise Malformed("brackets are nested too deeply", at)
                joins = found != "{" or _FOR.match(self.text, at) is not None
                frames.append(_Frame(found, at, joins))
            elif found in ")]}":
                frame = frames.pop()
                if _PAIRS.get(frame.bracket) != found:
                    raise Malformed(f"unexpected {found}", at)
                if not frames:
                    return at
            at = self._token(at, found, frames[-1])
        if frames[-1].bracket:
            raise Malformed(f"{frames[-1].bracket} is never closed", frames[-1].start)
        return len(self.text)

    def _token(self, at: int, found: str, frame: _Frame) -> int:
        if found == '"':
            return self._template(at, at + 1, None)
        if found == "#" or self.text.startswith(("//", "/*"), at):
            return self._comment(at)
        if found == "<" and (heredoc := _HEREDOC.match(self.text, at)):
            return self._template(at, heredoc.end(), heredoc[1])
        if found in "\r\n":
            self._blank(at, found, frame)
        elif found in "?:!":
            self._operator(at, found, frame)
        elif len(found) > 1:
            if _KEYWORD_AS_NAME.match(self.text, at + len(found)):
                self._cover(at, at + len(found), "_")
        elif found > "\x7f" and found.isidentifier():
            self.mask[at] = "_"
        return at + (2 if self.text.startswith(("::", "!="), at) else len(found))

    def _blank(self, at: int, found: str, frame: _Frame) -> None:
        if found == "\r" or frame.joins_lines:
            self.mask[at] = " "

    def _operator(self, at: int, found: str, frame: _Frame) -> None:
        if found == "!":
            if not self.text.startswith("!=", at):
                self.mask[at] = "-"
        elif found == "?":
            frame.conditionals += 1
            self.mask[at] = "+"
        elif frame.conditionals and not self.text.startswith("::", at):
            frame.conditionals -= 1
            self.mask[at] = "+"

    def _cover(self, start: int, end: int, cover: str) -> None:
        self.mask[start:end] = cover * (end - start)

    def _comment(self, at: int) -> int:
        if self.text.startswith("/*", at):
            end = self.text.find("*/", at + 2) + 2
            if end < 2:
                raise Malformed("the comment never ends", at)
        else:
            end = self.text.find("\n", at)
            end = len(self.text) if end < 0 else end
        self.comments.append((at, end))
        self._cover(at, end, " ")
        return end

    def _template(self, start: int, inner: int, marker: str | None) -> int:
        self.depth += 1
        if self.depth > _DEPTH // 10:
            raise Malformed("templates are nested too deeply", start)
        holes: list[Hole] = []
        if marker is None:
            stop, end = self._quoted(start, inner, holes)
        else:
            stop, end = self._heredoc(start, inner, marker, holes)
        self.depth -= 1
        self.templates[start] = Template(start, end, self.text[inner:stop], marker is None, tuple(holes))
        self.mask[start:end] = f'"{self.text[start + 1 : end - 1].translate(_HARMLESS)}"'
        return end

    def _quoted(self, start: int, at: int, holes: list[Hole]) -> tuple[int, int]:
        while match := _QUOTED.search(self.text, at):
            found, at = match.group(), match.end()
            if found == '"':
                return match.start(), at
            if found == "\n":
                raise Malformed("a quoted string ends on the line it begins on; a longer text is a heredoc", start)
            if found[0] == "\\" and not _ESCAPE.match(self.text, match.start()):
                raise Malformed(f"unknown escape {found}; a backslash is written \\\\", match.start())
            if found in ("${", "%{"):
                at = self._hole(match.start(), holes)
        raise Malformed("the string never ends", start)

    def _heredoc(self, start: int, at: int, marker: str, holes: list[Hole]) -> tuple[int, int]:
        last = re.compile(rf"[ \t]*{re.escape(marker)}(?=\r?\n|\Z)")
        if end := last.match(self.text, at):
            return at, end.end()
        while match := _IN_HEREDOC.search(self.text, at):
            at = match.end()
            if match.group() == "\n" and (end := last.match(self.text, at)):
                return at, end.end()
            if match.group() in ("${", "%{"):
                at = self._hole(match.start(), holes)
        raise Malformed(f"the heredoc never ends: no line is {marker} alone", start)

    def _hole(self, start: int, holes: list[Hole]) -> int:
        """Scan from ``${`` or ``%{``; returns the position after its brace."""
        at = start + 2
        end = self.code(at, _Frame("{", start, joins_lines=True))
        kind = "value"
        names: tuple[str, ...] = ()
        if self.text[start] == "%":
            directive = _DIRECTIVE.match(self.text, at)
            if not directive:
                raise Malformed("unknown template directive", start)
            kind, at = directive[1], directive.end()
            if kind == "for":
                loop = _LOOP.match(self.text, at)
                if not loop:
                    raise Malformed("a template's for is written %{ for name in list }", start)
                names, at = tuple(name for name in loop.groups() if name), loop.end()
        at += self.text.startswith("~", at)
        last = end - self.text.startswith("~", end - 1)
        if kind in ("value", "if", "for") and not "".join(self.mask[at:last]).strip():
            raise Malformed("an expression is missing here", at)
        holes.append(Hole(kind, at, "".join(self.mask[at:last]), names, self.text))
        return end + 1
