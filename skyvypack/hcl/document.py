"""Blocks, and the document that is checked and emitted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from skyvypack.hcl.text import IDENTIFIER, HclError, indent, key, lines, literal, pairs
from skyvypack.hcl.values import Ref, Value, Word, references


@dataclass(frozen=True, slots=True)
class Attribute:
    """``name = value`` in a block.

    Args:
        name: of the attribute.
        value: what it holds.
        comment: lines above it; empty for none.
    """

    name: str
    value: Value
    comment: str = ""


@dataclass(frozen=True, slots=True)
class Block:
    """A block with its labels and what it holds.

    Args:
        type: the block's first word, such as ``source``.
        labels: the quoted words after it.
        body: attributes and blocks, in order.
        comment: lines above it; empty for none.
    """

    type: str
    labels: Sequence[str] = ()
    body: Sequence[Item] = ()
    comment: str = ""

    @property
    def attributes(self) -> Iterator[Attribute]:
        """The block's own attributes."""
        return (item for item in self.body if isinstance(item, Attribute))

    @property
    def blocks(self) -> Iterator[Block]:
        """The blocks directly within."""
        return (item for item in self.body if isinstance(item, Block))


Item: TypeAlias = "Attribute | Block"


def variable(
    name: str,
    *,
    type: str = "string",
    default: Value,
    description: str = "",
    checks: Sequence[Block] = (),
    sensitive: bool = False,
) -> Block:
    """A ``variable`` block.

    Args:
        name: of the variable.
        type: Packer's type, such as ``string`` or ``bool``.
        default: its value when none is given.
        description: what it is for, shown to a user who inspects the file.
        checks: ``validation`` blocks.
        sensitive: True for what Packer must not show.
    """
    said = [Attribute("description", description)] if description else []
    hidden = [Attribute("sensitive", True)] if sensitive else []
    body: list[Item] = [Attribute("type", Word(type)), *said, Attribute("default", default), *hidden, *checks]
    return Block("variable", [name], body)


@dataclass(frozen=True, slots=True)
class Document:
    """One `.pkr.hcl` file.

    Args:
        blocks: in order.
        comment: lines at the top; empty for none.
    """

    blocks: Sequence[Block] = field(default_factory=list)
    comment: str = ""

    def render(self) -> str:
        """The file's text, a fixed point of `packer fmt`.

        Raises:
            HclError: a name is undefined or defined twice, or a value has no HCL form.
        """
        _check(self.blocks)
        parts = [_comment(self.comment)] if self.comment else []
        parts += [_block(block) for block in self.blocks]
        return "\n\n".join("\n".join(part) for part in parts) + "\n"


def _comment(text: str) -> list[str]:
    return [f"# {line}".rstrip() for line in text.splitlines()]


def _block(block: Block) -> list[str]:
    labels = "".join(f' "{literal(label)}"' for label in block.labels)
    return [*_comment(block.comment), f"{block.type}{labels} {{", *indent(_body(block.body)), "}"]


def _body(body: Sequence[Item]) -> list[str]:
    """Attributes in runs; a comment begins a new one, and blocks stand alone between blank lines."""
    groups: list[list[str]] = []
    run: list[Attribute] = []
    for item in [*body, None]:
        if run and (not isinstance(item, Attribute) or item.comment):
            groups.append(_comment(run[0].comment) + pairs((one.name, lines(one.value)) for one in run))
            run = []
        if isinstance(item, Block):
            groups.append(_block(item))
        elif item:
            run.append(item)
    return [line for number, group in enumerate(groups) for line in ([""] if number else []) + group]


def _check(blocks: Sequence[Block]) -> None:
    defined = Counter(_definitions(blocks))
    if twice := [name for name, count in defined.items() if count > 1]:
        raise HclError(f"defined twice: {', '.join(twice)}")
    for ref in (ref for block in blocks for ref in _used(block)):
        if not ref.is_built_in and ref.path not in defined:
            raise HclError(f"not defined: {ref.path}", f"defined are: {', '.join(defined) or 'no names'}")


def _definitions(blocks: Sequence[Block]) -> Iterator[str]:
    for block in blocks:
        match block.type:
            case "variable":
                yield f"var.{'.'.join(block.labels)}"
            case "source":
                yield f"source.{'.'.join(block.labels)}"
            case "locals":
                yield from (f"local.{attribute.name}" for attribute in block.attributes)


def _used(block: Block) -> Iterator[Ref]:
    names = Counter(attribute.name for attribute in block.attributes)
    for name, count in names.items():
        if count > 1 or not IDENTIFIER.fullmatch(name):
            raise HclError(f"{block.type}: {key(name)} is {'set twice' if count > 1 else 'no attribute name'}")
    for item in block.body:
        yield from references(item.value) if isinstance(item, Attribute) else _used(item)
