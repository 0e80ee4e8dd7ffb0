"""Rules about values: secrets in clear, downloads unchecked, keys typed too early."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

from pyhcl2.nodes import ArrayExpression, Attribute, Block, GetAttr, Identifier, Literal, ObjectExpression, Stmt
from pyhcl2.values import Boolean

from skyvypack.lint import catalog
from skyvypack.lint.findings import Finding, Span
from skyvypack.lint.module import Declared, Document, Module
from skyvypack.lint.setting import Setting
from skyvypack.lint.walk import uses

SECRET_NAME = re.compile(
    r"(?:^|_)(?:password|passwd|passphrase|secret|secret_key|secret_access_key|access_token|auth_token|api_key|api_token"
    r"|token|private_key|credentials?)$",
    re.IGNORECASE,
)
# Forms that are secrets whatever they are called: each provider's own documentation says how its keys begin.
SECRET_TEXT = re.compile(
    r"-----BEGIN (?:[A-Z]+ )*PRIVATE KEY-----"
    r"|\b(?:AKIA|ASIA)[0-9A-Z]{16}\b"
    r"|\bgh[pousr]_[A-Za-z0-9]{36,}\b"
    r"|\bgithub_pat_[A-Za-z0-9_]{60,}\b"
    r"|\bglpat-[A-Za-z0-9_-]{20,}"
    r"|\bxox[abprs]-[A-Za-z0-9-]{10,}"
    r"|\bhvs\.[A-Za-z0-9_-]{20,}"
)
# Go's templates, as in {{ build `Password` }}, are filled in when Packer runs.
_FILLED_IN = re.compile(r"\s*(?:\{\{.*\}\}\s*)?", re.DOTALL)
_KEYS = re.compile(r"<(?:esc|enter|return|f\d+)>", re.IGNORECASE)
_WAIT = re.compile(r"<wait", re.IGNORECASE)
_PACED = frozenset({"boot_keygroup_interval"})
_CHECKSUMS = frozenset({"iso_checksum"})
_NONE = "none"


def check(setting: Setting) -> Iterator[Finding]:
    """Every rule about values."""
    module = setting.module
    for document in (*module.linted(), *module.linted("values")):
        yield from _secret_texts(document)
        yield from _body(document, module, document.syntax.body)
    yield from _variables(module)
    yield from _not_sensitive(module)
    for document, block in module.blocks("source"):
        yield from _boot(document, block)


def _body(document: Document, module: Module, stmts: Iterable[Stmt]) -> Iterator[Finding]:
    for stmt in stmts:
        if isinstance(stmt, Attribute):
            yield from _value(document, stmt.key.name, stmt.value)
            yield from _checksum(document, module, stmt)
        elif isinstance(stmt, Block) and stmt.type.name != "variable":
            yield from _body(document, module, stmt.body)


def _value(document: Document, name: str, value: Any) -> Iterator[Finding]:
    """A secret by its name; objects are looked into, as the values that locals and tags have."""
    if isinstance(value, ObjectExpression):
        for key, inner in value.fields.items():
            word = key.name if isinstance(key, Identifier) else document.syntax.plain(key)
            yield from _value(document, word or "", inner)
    elif SECRET_NAME.search(name) and _stands_in_clear(document, value):
        yield document.finding(catalog.SECRET, value.span, f"the value of {name} stands in clear")


def _stands_in_clear(document: Document, value: Any) -> bool:
    plain = document.syntax.plain(value)
    return plain is not None and not _FILLED_IN.fullmatch(plain) and not SECRET_TEXT.search(plain)


def _secret_texts(document: Document) -> Iterator[Finding]:
    """A secret by its looks, in any string."""
    for start, template in sorted(document.syntax.templates.items()):
        if match := SECRET_TEXT.search(template.text):
            shown = match.group()[:4]
            message = f"a key or token stands in clear, beginning {shown}…"
            yield document.finding(catalog.SECRET, Span(start, template.end), message)


def _variables(module: Module) -> Iterator[Finding]:
    for name, declarations in module.variables.items():
        for one in declarations:
            if not one.document.reported:
                continue
            if (SECRET_NAME.search(name) or is_sensitive(one)) and _stands_in_clear(one.document, one.value):
                assert one.value
                message = f"the default of variable {name} stands in clear"
                yield one.document.finding(catalog.SECRET, one.value.span, message)


def is_sensitive(declared: Declared) -> bool:
    """Whether a variable or local says that it is sensitive."""
    value = declared.attribute("sensitive")
    return isinstance(value, Literal) and isinstance(value.value, Boolean) and value.value.raw() is True


def _not_sensitive(module: Module) -> Iterator[Finding]:
    """Variables that are called a secret, or that fill an argument that is one."""
    feeds = {name for document in module.linted() for name in _feeding(document, document.syntax.body)}
    for name, declarations in module.variables.items():
        for one in declarations:
            called = SECRET_NAME.search(name) is not None or name in feeds
            said = one.attribute("sensitive") is not None
            if one.document.reported and one.block and called and not said:
                message = f"variable {name} holds a secret and is not sensitive"
                yield one.document.finding(catalog.NOT_SENSITIVE, one.span, message, "add sensitive = true")


def _feeding(document: Document, stmts: Iterable[Stmt]) -> Iterator[str]:
    for stmt in stmts:
        if isinstance(stmt, Block) and stmt.type.name != "variable":
            yield from _feeding(document, stmt.body)
        elif isinstance(stmt, Attribute) and SECRET_NAME.search(stmt.key.name):
            for use in uses(document.syntax, stmt.value):
                if use.parts[0] == "var" and len(use.parts) == 2 and isinstance(stmt.value, GetAttr):
                    yield use.parts[1]


def _checksum(document: Document, module: Module, stmt: Attribute) -> Iterator[Finding]:
    if stmt.key.name not in _CHECKSUMS:
        return
    plain = document.syntax.plain(stmt.value)
    if plain is not None and plain.lower() == _NONE:
        message = f'{stmt.key.name} = "none" checks nothing'
        yield document.finding(catalog.CHECKSUM_NONE, stmt.value.span, message)
    match stmt.value:
        case GetAttr(on=Identifier(name="var")):
            name = stmt.value.key.ident.name
            for one in module.variables.get(name, []):
                if (one.document.syntax.plain(one.value) or "").lower() == _NONE:
                    message = f"variable {name} is none by default, so {stmt.key.name} checks nothing"
                    yield document.finding(catalog.CHECKSUM_NONE, stmt.value.span, message)


def _boot(document: Document, block: Block) -> Iterator[Finding]:
    command = block.attributes.get("boot_command")
    if command is None or _PACED & block.attributes.keys():
        return
    texts = list(_typed(document, command))
    typed = "".join(text for text, _ in texts if text)
    if any(text is None for text, _ in texts) or _WAIT.search(typed):
        return
    at = 0
    for text, span in texts:
        at += len(text or "")
        keys = _KEYS.search(text or "")
        rest = (text or "")[keys.end() :] + typed[at:] if keys else ""
        if keys and rest.strip():
            message = f"keys are typed on after {keys.group()} without a <wait>"
            yield document.finding(catalog.BOOT_WAIT, span, message, f"write {keys.group()}<wait>")
            return


def _typed(document: Document, command: Any) -> Iterator[tuple[str | None, Any]]:
    """The texts of a boot command with their places; nothing for what is worked out later."""
    if not isinstance(command, ArrayExpression):
        yield None, command.span
        return
    for node in command.values:
        template = document.syntax.template(node)
        if template is None:
            yield None, node.span
        else:
            # What is interpolated may bring a wait along; only text that is written out is judged.
            yield (template.text if not template.holes else None), node.span
