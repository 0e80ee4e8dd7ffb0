"""What HCL refers to and calls: in expressions, strings, heredocs, directives and for-expressions."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from pyhcl2.nodes import (
    ArrayExpression,
    Attribute,
    AttrSplat,
    BinaryExpression,
    Block,
    Expression,
    ForObjectExpression,
    ForTupleExpression,
    FunctionCall,
    GetAttr,
    GetIndex,
    GetIndexKey,
    Identifier,
    IndexSplat,
    Literal,
    Node,
    ObjectExpression,
    Parenthesis,
    UnaryExpression,
)

from skyvypack.lint.syntax import Syntax

# Where an error is an answer, not a failure.
_GUARDS = frozenset({"try", "can"})


@dataclass(frozen=True, slots=True)
class Use:
    """A name or a function that an expression uses.

    Args:
        parts: such as ``("var", "region")``; of a function its name alone.
        start: position in the file.
        end: the position after it.
        call: whether it is a function.
        guarded: whether it stands in a ``try`` or ``can``.
    """

    parts: tuple[str, ...]
    start: int
    end: int
    call: bool = False
    guarded: bool = False


@dataclass(frozen=True, slots=True)
class Scope:
    """What names mean here: those that a ``for`` or a dynamic block made, and whether an error would be caught."""

    names: frozenset[str] = frozenset()
    guarded: bool = False

    def having(self, names: Iterable[str]) -> Scope:
        """This scope and more names."""
        return replace(self, names=self.names | frozenset(names))


def uses(syntax: Syntax, node: Any, scope: Scope = Scope()) -> Iterator[Use]:
    """Everything an expression uses that is not a name of its own.

    Args:
        syntax: the text the node is of.
        node: an expression.
        scope: names that mean something already.
    """
    match node:
        case Literal():
            yield from _in_template(syntax, node, scope)
        case Identifier() | GetAttr() | GetIndex():
            yield from _path(syntax, node, scope)
        case FunctionCall():
            yield from _call(syntax, node, scope)
        case ObjectExpression():
            for key, value in node.fields.items():
                if not isinstance(key, Identifier):
                    yield from uses(syntax, key, scope)
                yield from uses(syntax, value, scope)
        case ForTupleExpression() | ForObjectExpression():
            yield from _for(syntax, node, scope)
        case _:
            for child in _children(node):
                yield from uses(syntax, child, scope)


def _children(node: Any) -> Iterable[Node]:
    match node:
        case ArrayExpression():
            return node.values
        case Parenthesis() | UnaryExpression() | GetIndexKey():
            return [node.expr]
        case BinaryExpression():
            return [node.left, node.right]
        case AttrSplat() | IndexSplat():
            return [node.on, *(key for key in node.keys if isinstance(key, GetIndexKey))]
    return []


def _path(syntax: Syntax, node: Expression, scope: Scope) -> Iterator[Use]:
    """A name with what follows it; keys in brackets are part of it where they are plain text."""
    parts: list[str] = []
    on, end = node, node.span.end
    while isinstance(on, GetAttr | GetIndex):
        if isinstance(on, GetAttr):
            parts.append(on.key.ident.name)
        else:
            yield from uses(syntax, on.key.expr, scope)
            plain = syntax.plain(on.key.expr)
            # What comes after an index that is worked out later is not known by name.
            parts = [*parts, plain] if plain is not None else []
            end = end if plain is not None else on.on.span.end
        on = on.on
    if not isinstance(on, Identifier):
        yield from uses(syntax, on, scope)
    elif on.name not in scope.names:
        yield Use((on.name, *reversed(parts)), on.span.start, end, guarded=scope.guarded)


def _call(syntax: Syntax, node: FunctionCall, scope: Scope) -> Iterator[Use]:
    name = node.ident.name
    yield Use((name,), node.ident.span.start, node.ident.span.end, call=True, guarded=scope.guarded)
    inner = replace(scope, guarded=True) if name in _GUARDS else scope
    # The second argument of convert is a type, such as list(string).
    for argument in node.args[:1] if name == "convert" else node.args:
        yield from uses(syntax, argument, inner)


def _for(syntax: Syntax, node: ForTupleExpression | ForObjectExpression, scope: Scope) -> Iterator[Use]:
    yield from uses(syntax, node.collection, scope)
    inner = scope.having(ident.name for ident in (node.key_ident, node.value_ident) if ident)
    key = node.key if isinstance(node, ForObjectExpression) else None
    for child in (key, node.value, node.condition):
        if child is not None:
            yield from uses(syntax, child, inner)


def _in_template(syntax: Syntax, node: Literal, scope: Scope) -> Iterator[Use]:
    template = syntax.template(node)
    loops: list[Scope] = [scope]
    for hole in template.holes if template else ():
        expression = syntax.expression(hole)
        if expression is not None:
            yield from uses(syntax, expression, loops[-1])
        if hole.kind == "for":
            loops.append(loops[-1].having(hole.names))
        elif hole.kind == "endfor" and len(loops) > 1:
            loops.pop()


def body_uses(syntax: Syntax, body: Iterable[Any], scope: Scope = Scope()) -> Iterator[Use]:
    """Everything that attributes and blocks use, dynamic blocks included."""
    for stmt in body:
        if isinstance(stmt, Attribute):
            yield from uses(syntax, stmt.value, scope)
        elif isinstance(stmt, Block) and stmt.type.name == "dynamic":
            yield from _dynamic(syntax, stmt, scope)
        elif isinstance(stmt, Block):
            yield from body_uses(syntax, stmt.body, scope)


def _dynamic(syntax: Syntax, block: Block, scope: Scope) -> Iterator[Use]:
    iterator = block.attributes.get("iterator")
    label: Any = iterator if isinstance(iterator, Identifier) else block.labels[0] if block.labels else None
    inner = scope.having([syntax.plain(label) or str(getattr(label, "name", ""))])
    for stmt in block.body:
        if isinstance(stmt, Attribute) and stmt.key.name == "for_each":
            yield from uses(syntax, stmt.value, scope)
        elif not (isinstance(stmt, Attribute) and stmt.key.name == "iterator"):
            yield from body_uses(syntax, [stmt], inner)
