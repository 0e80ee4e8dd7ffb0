"""Types: what a value that is written out, or a variable by its declaration, can be turned into."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from pyhcl2.nodes import (
    ArrayExpression,
    Expression,
    ForObjectExpression,
    ForTupleExpression,
    FunctionCall,
    GetAttr,
    Identifier,
    Literal,
    ObjectExpression,
    Parenthesis,
)
from pyhcl2.values import Boolean, Float, Integer, Null, String

from skyvypack.lint.module import Declared, Document, Module
from skyvypack.lint.templates import Template

# go-cty's conversion of strings, which Go's math/big reads numbers for.
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_BOOLEANS = frozenset({"true", "false", "1", "0"})
_SCALARS = frozenset({"string", "number", "bool"})
_LISTS = ("list", "set", "tuple")
_MAPS = ("map", "object")


def fits(kind: str, node: Any, document: Document, module: Module) -> bool:
    """Whether a value may be given where a kind is wanted; true when it is not known before Packer runs.

    Args:
        kind: such as ``string``, ``list(string)`` or ``map(list(number))``.
        node: the value.
        document: the file it stands in.
        module: for what its variables are declared as.
    """
    outer, inner = _parts(kind)
    match node:
        case Parenthesis():
            return fits(kind, node.expr, document, module)
        case Literal():
            return _literal(outer, node, document)
        case ArrayExpression():
            return outer in _LISTS and _all(inner, node.values, document, module) if outer != "any" else True
        case ObjectExpression():
            return outer in _MAPS and _all(inner, node.fields.values(), document, module) if outer != "any" else True
        case ForTupleExpression():
            return outer in (*_LISTS, "any")
        case ForObjectExpression():
            return outer in (*_MAPS, "any")
        case GetAttr(on=Identifier(name="var")):
            declared = module.variables.get(node.key.ident.name, [])
            return all(_becomes(variable_kind(one), kind) for one in declared)
    return True


def variable_kind(declared: Declared) -> str:
    """The kind a variable is declared as; ``any`` when it is not said."""
    written = declared.attribute("type")
    if written is not None:
        return _written(written, declared.document)
    match declared.value:
        case ArrayExpression():
            return "list(any)"
        case ObjectExpression():
            return "map(any)"
        case Literal(value=String()):
            return "string"
        case Literal(value=Boolean()):
            return "bool"
        case Literal(value=Integer() | Float()):
            return "number"
    return "any"


def _written(node: Expression, document: Document) -> str:
    """A type as a kind; in JSON it is a string."""
    match node:
        case Identifier():
            return node.name if node.name in _SCALARS else "list(any)" if node.name in _LISTS else _object(node.name)
        case FunctionCall():
            name = node.ident.name
            if name in ("tuple", "object"):
                return "list(any)" if name == "tuple" else "map(any)"
            inner = _written(node.args[0], document) if node.args else "any"
            return f"{'list' if name == 'set' else name}({inner})"
    plain = document.syntax.plain(node)
    return plain if plain in _SCALARS else "any"


def _object(name: str) -> str:
    return "map(any)" if name in _MAPS else "any"


def _parts(kind: str) -> tuple[str, str]:
    outer, _, inner = kind.partition("(")
    return outer, inner[:-1] or "any"


def _all(kind: str, nodes: Iterable[Any], document: Document, module: Module) -> bool:
    return all(fits(kind, node, document, module) for node in nodes)


def _literal(outer: str, node: Literal, document: Document) -> bool:
    if isinstance(node.value, Null) or outer == "any":
        return True
    if isinstance(node.value, String):
        return _string(outer, document.syntax.template(node))
    return outer == "string" or (outer in _SCALARS and isinstance(node.value, Boolean) == (outer == "bool"))


def _string(outer: str, template: Template | None) -> bool:
    if template is None or outer == "string":
        return outer in _SCALARS
    if template.plain is None:
        # A string that is one interpolation alone is whatever that is.
        return outer in _SCALARS or (len(template.holes) == 1 and template.text.startswith("${"))
    if outer == "bool":
        return template.plain in _BOOLEANS
    return outer == "number" and _NUMBER.fullmatch(template.plain) is not None


def _becomes(have: str, want: str) -> bool:
    had, inner = _parts(have)
    wanted, needed = _parts(want)
    if "any" in (had, wanted):
        return True
    if had in _SCALARS and wanted in _SCALARS:
        return "string" in (had, wanted) or had == wanted
    same = (had in _LISTS and wanted in _LISTS) or (had in _MAPS and wanted in _MAPS)
    return same and _becomes(inner, needed)
