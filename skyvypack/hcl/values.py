"""What an HCL attribute can hold.

Plain Python values stand for themselves: None, bool, int, float, str, sequences and mappings with str keys. A str is
always literal text; what Packer has to work out is one of the expressions below.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

# Names that Packer itself defines; they need no definition in the document.
_BUILT_IN = ("build", "packer", "path")
_TRAVERSAL = re.compile(r"[A-Za-z_][\w-]*(\.[A-Za-z_][\w-]*)+", re.ASCII)
_WORD = re.compile(r"[a-z]+(\([a-z]+\))?")
_HOLE = re.compile(r"\$\{([^{}]*)\}")


class Expression:
    """Something Packer works out when it reads the file."""


@dataclass(frozen=True, slots=True)
class Ref(Expression):
    """A name: ``var.x``, ``local.x``, ``source.type.name``, ``source.name`` or Packer's own such as ``path.root``.

    Args:
        path: the name with its dots.

    Raises:
        ValueError: it is not a name of one of these kinds.
    """

    path: str

    def __post_init__(self) -> None:
        root, _, rest = self.path.partition(".")
        known = root in _BUILT_IN or (root in ("var", "local") and "." not in rest) or root == "source"
        if not _TRAVERSAL.fullmatch(self.path) or not known:
            raise ValueError(f"not a reference: {self.path!r}")

    @property
    def is_source(self) -> bool:
        """Whether it names a source block (``source.name`` alone is the running build's)."""
        return self.path.startswith("source.") and self.path.count(".") == 2

    @property
    def is_built_in(self) -> bool:
        """Whether Packer defines it, not the document."""
        root = self.path.partition(".")[0]
        return root in _BUILT_IN or (root == "source" and not self.is_source)


@dataclass(frozen=True, slots=True)
class Word(Expression):
    """A bare word: a variable's type, such as ``string`` or ``list(string)``.

    Args:
        text: the word.

    Raises:
        ValueError: it is no such word.
    """

    text: str

    def __post_init__(self) -> None:
        if not _WORD.fullmatch(self.text):
            raise ValueError(f"not a type: {self.text!r}")


@dataclass(frozen=True, slots=True)
class Template(Expression):
    """Text with holes; see `template` for the short form.

    Args:
        parts: literal text and what fills the holes, in order.
    """

    parts: tuple[str | Expression, ...]


@dataclass(frozen=True, slots=True)
class Heredoc(Expression):
    """Literal text of several lines, written as lines.

    Args:
        text: ends with a newline.
    """

    text: str


@dataclass(frozen=True, slots=True)
class Call(Expression):
    """A function call.

    Args:
        name: of the function.
        args: its arguments.
    """

    name: str
    args: tuple[Value, ...]


@dataclass(frozen=True, slots=True)
class Equals(Expression):
    """``left == right``."""

    left: Value
    right: Value


@dataclass(frozen=True, slots=True)
class Differs(Expression):
    """``left != right``."""

    left: Value
    right: Value


@dataclass(frozen=True, slots=True)
class Choice(Expression):
    """``test ? yes : no``."""

    test: Expression
    yes: Value
    no: Value


Value: TypeAlias = "bool | int | float | str | Sequence[Value] | Mapping[str, Value] | Expression | None"


def template(text: str) -> Template:
    """Text whose ``${name}`` are references: ``template("${local.seed}/id_ed25519")``.

    Raises:
        ValueError: a hole holds something else than a reference, or is not closed.
    """
    parts: list[str | Expression] = []
    end = 0
    for hole in _HOLE.finditer(text):
        parts += [text[end : hole.start()], Ref(hole[1])]
        end = hole.end()
    parts.append(text[end:])
    if any(isinstance(part, str) and "${" in part for part in parts):
        raise ValueError(f"not a template: {text!r}")
    return Template(tuple(part for part in parts if part != ""))


def references(value: Value) -> Iterator[Ref]:
    """Every reference in a value, in order."""
    match value:
        case Ref():
            yield value
        case Template(parts=inner) | Call(args=inner):
            yield from (ref for part in inner for ref in references(part))
        case Equals(left=left, right=right) | Differs(left=left, right=right):
            yield from (*references(left), *references(right))
        case Choice(test=test, yes=yes, no=no):
            yield from (*references(test), *references(yes), *references(no))
        case Mapping():
            yield from (ref for part in value.values() for ref in references(part))
        case Sequence() if not isinstance(value, str):
            yield from (ref for part in value for ref in references(part))
