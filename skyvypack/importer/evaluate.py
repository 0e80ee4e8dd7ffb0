"""What an expression of a template is worth, where that can be said without Packer."""

from __future__ import annotations

import operator
import re
import textwrap
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

from pyhcl2.nodes import (
    ArrayExpression,
    Attribute,
    BinaryExpression,
    Expression,
    FunctionCall,
    GetAttr,
    GetIndex,
    Identifier,
    Literal,
    ObjectExpression,
    Parenthesis,
    UnaryExpression,
)

from skyvypack.importer.legacy import LegacyDocument
from skyvypack.lint.check_values import SECRET_NAME, SECRET_TEXT, is_sensitive
from skyvypack.lint.module import Declared, Document, Module
from skyvypack.lint.templates import Hole, Template

# A spec names paths from where it lies, as a template does from its own folder.
_FOLDERS = {("path", "root"): ".", ("path", "cwd"): "."}
_OPERATOR = re.compile(r"(?:\s|#[^\n]*\n|//[^\n]*\n|/\*.*?\*/)*(==|!=|&&|\|\||\?|:|\+)", re.DOTALL)
_STRENGTH: Mapping[str, int] = {"||": 1, "&&": 2, "==": 3, "!=": 3, "+": 4}
_MEANING: Mapping[str, Callable[[Any, Any], Any]] = {
    "||": lambda left, right: left or right,
    "&&": lambda left, right: left and right,
    "==": operator.eq,
    "!=": operator.ne,
    "+": operator.add,
}
# The old templates' way to name variables: {{user `name`}} and, in a variable's default, {{env `NAME`}}.
_OLD = re.compile(r"\{\{-?\s*(user|env)\s+[`\"]([^`\"]*)[`\"]\s*-?\}\}")
_DEPTH = 50


@dataclass(frozen=True, slots=True)
class Unknown:
    """A value that cannot be said here.

    Args:
        why: what the expression does, in words that follow a subject; holds no value.
        environment: the variable of the environment that alone decides it, if one does.
        secret: whether it is one.
    """

    why: str
    environment: str = ""
    secret: bool = False


@dataclass(slots=True)
class Evaluator:
    """Evaluates the expressions of a module: plain values, templates, references, conditionals.

    Args:
        module: whose variables and locals count; files of values give variables other values than their defaults.
    """

    module: Module
    _open: list[str] = field(default_factory=list)
    _given: dict[str, tuple[Document, Expression]] = field(init=False)

    def __post_init__(self) -> None:
        self._given = {
            stmt.key.name: (document, stmt.value)
            for document in self.module.linted("values")
            for stmt in document.syntax.body
            if isinstance(stmt, Attribute)
        }

    def value(self, document: Document, node: Any) -> Any:
        """The value of an expression: text, number, bool, list, dict, None, or `Unknown`.

        Args:
            document: the file it stands in.
            node: the expression.
        """
        if len(self._open) > _DEPTH:
            return Unknown("refers too deeply to other values")
        try:
            return self._value(document, node)
        except (TypeError, ArithmeticError):
            return Unknown("puts together what does not fit")

    def _value(self, document: Document, node: Any) -> Any:
        match node:
            case Literal():
                return self._literal(document, node)
            case ArrayExpression():
                return _whole([self.value(document, item) for item in node.values])
            case ObjectExpression():
                return self._object(document, node)
            case Parenthesis():
                return self.value(document, node.expr)
            case GetAttr() | GetIndex():
                return self._path(document, node)
            case FunctionCall():
                return self._call(document, node)
            case UnaryExpression():
                return self._unary(document, node)
            case BinaryExpression():
                return self._binary(document, node)
        return Unknown("is an expression that only Packer works out")

    def _literal(self, document: Document, node: Literal) -> Any:
        template = document.syntax.template(node)
        text = self._text(document, template) if template else node.value.raw()
        if isinstance(text, str) and isinstance(document, LegacyDocument):
            text = self._old(text)
        if isinstance(text, str) and SECRET_TEXT.search(text):
            return Unknown("looks like a key or a token", secret=True)
        return text

    def _old(self, text: str) -> Any:
        """The text of an old template with its variables' values."""
        values = [
            self.variable(name) if kind == "user" else Unknown(f"comes from {name} in the environment", name)
            for kind, name in _OLD.findall(text)
        ]
        whole = _OLD.fullmatch(text)
        if unknown := next((one for one in values if isinstance(one, Unknown)), None):
            return unknown if whole else replace(unknown, environment="")
        if whole:
            return values[0]
        following = iter(values)
        return _OLD.sub(lambda _: _shown(next(following)), text)

    def _text(self, document: Document, template: Template) -> Any:
        if template.plain is not None:
            return self._outdented(document, template, template.plain)
        parts = list(self._parts(document, template))
        if unknown := next((part for part in parts if isinstance(part, Unknown)), None):
            return unknown if len(parts) == 1 else replace(unknown, environment="")
        if len(parts) == 1:
            return parts[0]
        return self._outdented(document, template, "".join(map(_shown, parts)))

    @staticmethod
    def _outdented(document: Document, template: Template, text: str) -> str:
        indented = document.text.startswith("<<-", template.start) and not document.is_json
        return textwrap.dedent(text) if indented else text

    def _parts(self, document: Document, template: Template) -> Iterator[Any]:
        """The texts of a template and the values between them; an `Unknown` for what is more than a value."""
        text = template.holes[0].text
        at = text.find(template.text, template.start - template.holes[0].shift)
        end = at + len(template.text)
        for hole in template.holes:
            opening = hole.start - 2
            if (
                hole.kind != "value"
                or not text.startswith("${", opening)
                or text[_after(hole) : _after(hole) + 1] != "}"
            ):
                yield Unknown("is a template with directives")
                return
            if opening > at:
                yield _plain(text[at:opening], template.escapes)
            yield self.value(document, document.syntax.expression(hole))
            at = _after(hole) + 1
        if end > at:
            yield _plain(text[at:end], template.escapes)

    def _object(self, document: Document, node: ObjectExpression) -> Any:
        made: dict[str, Any] = {}
        for key, inner in node.fields.items():
            name = key.name if isinstance(key, Identifier) else self.value(document, key)
            value = self.value(document, inner)
            if isinstance(name, Unknown):
                return name
            if SECRET_NAME.search(str(name)) and value not in ("", None):
                return Unknown(f"holds a secret, {name}", secret=True)
            made[str(name)] = value
        unknown = _whole(list(made.values()))
        return unknown if isinstance(unknown, Unknown) else made

    def _path(self, document: Document, node: GetAttr | GetIndex) -> Any:
        parts: list[Any] = []
        on: Any = node
        while isinstance(on, GetAttr | GetIndex):
            parts.insert(0, on.key.ident.name if isinstance(on, GetAttr) else self.value(document, on.key.expr))
            on = on.on
        name = parts[0]
        if not isinstance(on, Identifier) or not isinstance(name, str):
            return Unknown("is an expression that only Packer works out")
        if (on.name, name) in _FOLDERS:
            return _FOLDERS[on.name, name]
        if on.name not in ("var", "local"):
            return Unknown(f"uses {on.name}.{name}, which only Packer knows")
        value = self.variable(name) if on.name == "var" else self._local(name)
        for step in parts[1:]:
            if isinstance(value, Unknown) or isinstance(step, Unknown):
                return value if isinstance(value, Unknown) else step
            try:
                value = value[step]
            except (LookupError, TypeError):
                return Unknown(f"uses a part of {on.name}.{name} that it does not have")
        return value

    def variable(self, name: str) -> Any:
        """The value of a variable: given by a file of values, or its default.

        Args:
            name: of the variable.
        """
        declared = self.module.variables.get(name, [])
        if not declared:
            return Unknown(f"uses var.{name}, which is not declared")
        document, node = self._given.get(name, (declared[0].document, declared[0].value))
        found = self._within(f"var.{name}", document, node) if node is not None else None
        if self.is_secret(name, declared[0]):
            environment = found.environment if isinstance(found, Unknown) else ""
            return Unknown(f"uses var.{name}, which is a secret", environment, secret=True)
        if found is None:
            return Unknown(f"uses var.{name}, which has no default")
        return _beneath(f"var.{name}", found)

    @staticmethod
    def is_secret(name: str, declared: Declared) -> bool:
        """Whether a variable is a secret: it says so, or is called like one.

        Args:
            name: of the variable.
            declared: where it stands.
        """
        listed = declared.document.sensitive if isinstance(declared.document, LegacyDocument) else ()
        return name in listed or is_sensitive(declared) or SECRET_NAME.search(name) is not None

    def _local(self, name: str) -> Any:
        declared = self.module.locals.get(name, [])
        if not declared or declared[0].value is None:
            return Unknown(f"uses local.{name}, which is not declared")
        secret = is_sensitive(declared[0]) or SECRET_NAME.search(name)
        found = self._within(f"local.{name}", declared[0].document, declared[0].value)
        return (
            Unknown(f"uses local.{name}, which is a secret", secret=True)
            if secret
            else _beneath(f"local.{name}", found)
        )

    def _within(self, name: str, document: Document, node: Any) -> Any:
        if name in self._open:
            return Unknown(f"uses {name}, which refers to itself")
        self._open.append(name)
        try:
            return self.value(document, node)
        finally:
            self._open.pop()

    def _call(self, document: Document, node: FunctionCall) -> Any:
        name = node.ident.name
        given = self.value(document, node.args[0]) if len(node.args) == 1 else None
        if name == "env" and isinstance(given, str):
            return Unknown(f"comes from {given} in the environment", given)
        return Unknown(f"calls {name}()")

    def _unary(self, document: Document, node: UnaryExpression) -> Any:
        value = self.value(document, node.expr)
        if isinstance(value, Unknown):
            return value
        # The mask has a minus for either.
        return not value if document.text.startswith("!", node.span.start) else -value

    def _binary(self, document: Document, node: BinaryExpression) -> Any:
        """In the order of the text: the mask does not tell what binds how."""
        operands = list(_operands(node))
        signs = []
        for left, right in pairwise(operands):
            sign = _OPERATOR.match(document.text, left.span.end)
            if not sign or sign.end() > right.span.start:
                return Unknown("is an expression that only Packer works out")
            signs.append(sign[1])
        return _Conditional(self, document, operands, signs).value()


@dataclass(slots=True)
class _Conditional:
    """Operands and the operators between them, read from left to right."""

    evaluator: Evaluator
    document: Document
    operands: list[Any]
    signs: list[str]
    at: int = 0

    def value(self) -> Any:
        condition = self._joined(0)
        if self._sign() != "?":
            return condition
        self.at += 1
        first = self.value()
        if self._sign() != ":":
            return Unknown("is an expression that only Packer works out")
        self.at += 1
        second = self.value()
        if isinstance(condition, Unknown):
            return replace(condition, environment="")
        return first if condition else second

    def _sign(self) -> str:
        return self.signs[self.at] if self.at < len(self.signs) else ""

    def _joined(self, weakest: int) -> Any:
        left = self.evaluator.value(self.document, self.operands[self.at])
        while (strength := _STRENGTH.get(self._sign(), -1)) >= weakest and self._sign():
            meaning = _MEANING[self._sign()]
            self.at += 1
            right = self._joined(strength + 1)
            unknown = next((one for one in (left, right) if isinstance(one, Unknown)), None)
            left = replace(unknown, environment="") if unknown else meaning(left, right)
        return left


def _operands(node: Any) -> Iterator[Any]:
    if isinstance(node, BinaryExpression):
        yield from _operands(node.left)
        yield from _operands(node.right)
    else:
        yield node


def _after(hole: Hole) -> int:
    return hole.start + len(hole.mask)


def _plain(text: str, escapes: bool) -> str:
    return Template(0, 0, text, escapes).plain or ""


def _shown(value: Any) -> str:
    """A value as a part of a text, as HCL writes it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str | int | float):
        return str(value)
    raise TypeError


def _whole(values: list[Any]) -> Any:
    """The values, or the first that is unknown."""
    return next((replace(value, environment="") for value in values if isinstance(value, Unknown)), values)


def _beneath(name: str, found: Any) -> Any:
    if not isinstance(found, Unknown) or found.why.startswith(f"uses {name},"):
        return found
    return replace(found, why=f"uses {name}, which {found.why}")
