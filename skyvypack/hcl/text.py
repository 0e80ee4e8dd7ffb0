"""Values to text, in the one form that `packer fmt` leaves untouched."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from itertools import count

from skyvypack.errors import SkyvypackError
from skyvypack.hcl.values import Call, Choice, Differs, Equals, Expression, Heredoc, Ref, Template, Value, Word

IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")
_KEYWORDS = frozenset({"false", "for", "if", "in", "null", "true"})
_ESCAPES = {"\n": "\\n", "\r": "\\r", "\t": "\\t", '"': '\\"', "\\": "\\\\"}
_NEEDS_ESCAPE = re.compile(r'[$%](?=\{)|["\\]|[^ -~]')
_HOLE_START = re.compile(r"([$%])(?=\{)")
_WIDE = 100  # columns an array may take before it is written one element a line


class HclError(SkyvypackError):
    """A document that must not be emitted: a name is undefined or defined twice, or a value has no HCL form."""


def _escape(character: str) -> str:
    if character in _ESCAPES:
        return _ESCAPES[character]
    code = ord(character)
    if 0xD800 <= code <= 0xDFFF:
        raise HclError(f"half a surrogate pair, U+{code:04X}, cannot be written in a file")
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"


def literal(text: str) -> str:
    """Text as it stands between quotes, printable characters as they are.

    The ``$`` of ``${`` is written by its number: doubling it, HCL's other way, is read differently by different readers
    when a further ``$`` stands before it.
    """

    def write(match: re.Match[str]) -> str:
        character = match[0]
        return character if character.isprintable() and character not in '$%"\\' else _escape(character)

    return _NEEDS_ESCAPE.sub(write, text)


def _after_dollar(parts: Iterable[str]) -> str:
    """Join the parts of a template; a part's last ``$`` or ``%`` must not run into the ``${`` that follows it."""
    text = ""
    for part in parts:
        if part.startswith(("${", "{")) and text.endswith(("$", "%")):
            text = text[:-1] + _escape(text[-1])
        text += part
    return text


def _template(value: Template) -> str:
    parts = [literal(part) if isinstance(part, str) else f"${{{inline(part)}}}" for part in value.parts]
    return f'"{_after_dollar(parts)}"'


def key(name: str) -> str:
    """A mapping's key, all escaped that is not ASCII: `packer fmt` aligns by columns, and only ASCII's are sure."""
    if IDENTIFIER.fullmatch(name) and name not in _KEYWORDS:
        return name
    return '"' + "".join(part if part.isascii() else _escape(part) for part in literal(name)) + '"'


def inline(value: Value) -> str:
    """A value on one line.

    Raises:
        HclError: the value has no such form.
    """
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case int() | float():
            return _number(value)
        case str():
            return f'"{literal(value)}"'
        case Expression():
            return _expression(value)
        case Mapping():
            pairs = ", ".join(f"{key(name)} = {inline(item)}" for name, item in value.items())
            return f"{{ {pairs} }}" if pairs else "{}"
        case Sequence() if not isinstance(value, bytes | bytearray):
            return f"[{', '.join(map(inline, value))}]"
    raise HclError(f"{type(value).__name__} has no HCL form")


def _number(value: int | float) -> str:
    if isinstance(value, float) and not math.isfinite(value):
        raise HclError(f"the number {value} has no HCL form")
    # Without an exponent, which not every reader of HCL knows.
    return format(Decimal(repr(value)), "f") if isinstance(value, float) else str(value)


def _expression(value: Expression) -> str:
    match value:
        case Ref():
            # Packer 1.6.6 takes sources as text only; later versions take both.
            return f'"{value.path}"' if value.is_source else value.path
        case Word(text=text):
            return text
        case Template():
            return _template(value)
        case Call(name=name, args=args):
            return f"{name}({', '.join(map(inline, args))})"
        case Equals(left=left, right=right):
            return f"{inline(left)} == {inline(right)}"
        case Differs(left=left, right=right):
            return f"{inline(left)} != {inline(right)}"
        case Choice(test=test, yes=yes, no=no):
            return f"{inline(test)} ? {inline(yes)} : {inline(no)}"
        case Heredoc(text=text):
            return f'"{literal(text)}"'
    raise HclError(f"{type(value).__name__} has no HCL form")


def lines(value: Value) -> list[str]:
    """A value as an attribute has it: the first line follows ``=``, brackets of several lines are indented within."""
    match value:
        case Heredoc(text=text) if _fits_heredoc(text):
            return _heredoc(text)
        case Mapping() if value:
            return ["{", *indent(pairs((key(name), lines(item)) for name, item in value.items())), "}"]
        case Sequence() if value and not isinstance(value, str) and not _is_short(value):
            inner = [[*item[:-1], item[-1] + ","] for item in map(_element, value)]
            return ["[", *indent(line for item in inner for line in item), "]"]
    return [inline(value)]


def _is_short(value: Sequence[Value]) -> bool:
    nested = any(isinstance(item, Sequence | Mapping) and not isinstance(item, str) for item in value)
    return not nested and len(inline(value)) <= _WIDE


def _element(value: Value) -> list[str]:
    # A heredoc cannot be followed by the comma on its last line.
    return [inline(value)] if isinstance(value, Heredoc) else lines(value)


def pairs(items: Iterable[tuple[str, list[str]]]) -> list[str]:
    """``name = value`` lines; the ``=`` of adjacent values that end where they begin stand in one column."""
    written: list[str] = []
    run: list[tuple[str, list[str]]] = []

    def close() -> None:
        width = max((len(name) for name, _ in run), default=0)
        for name, value in run:
            written.extend([f"{name:{width}} = {value[0]}", *value[1:]])
        run.clear()

    for name, value in items:
        if len(value) > 1 and not value[0].startswith("<<"):
            close()
            written.extend([f"{name} = {value[0]}", *value[1:]])
        else:
            run.append((name, value))
    close()
    return written


class _Verbatim(str):
    """A line of a heredoc: it keeps its place, whatever it stands in."""

    __slots__ = ()


def indent(text: Iterable[str]) -> list[str]:
    """Lines, two columns further right; those of a heredoc stay."""
    return [line if isinstance(line, _Verbatim) or not line else f"  {line}" for line in text]


def _fits_heredoc(text: str) -> bool:
    """Whether it can be written without escapes, which a heredoc does not have."""
    printable = all(part.isprintable() or part in "\n\t" for part in text)
    return text.endswith("\n") and printable and not re.search(r"[$%]{2}\{", text)


def _heredoc(text: str) -> list[str]:
    body = _HOLE_START.sub(r"\1\1", text).split("\n")[:-1]
    # Some readers end a heredoc at a line that only begins with its mark.
    names = ("EOT" + "_" * length for length in count())
    mark = next(name for name in names if not any(line.strip().startswith(name) for line in body))
    return [f"<<{mark}", *map(_Verbatim, body), _Verbatim(mark)]
