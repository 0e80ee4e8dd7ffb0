"""Rules about names: what is referred to exists, what is declared is used, and only once."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from pyhcl2.nodes import ArrayExpression, Attribute, Block, Identifier

from skyvypack.lint import catalog
from skyvypack.lint.findings import Finding
from skyvypack.lint.kinds import fits, variable_kind
from skyvypack.lint.module import Declared, Document, Module, Names, Place, label_text
from skyvypack.lint.setting import Setting
from skyvypack.lint.walk import Use, uses

# hcl2template/types.packer_config.go of Packer.
_ROOTS = frozenset({"var", "local", "data", "source", "build", "path", "packer"})
_MEANT = {"variable": "var", "variables": "var", "vars": "var", "locals": "local", "sources": "source"}
_PATHS = frozenset({"root", "cwd"})


def check(setting: Setting) -> Iterator[Finding]:
    """Every rule about names."""
    module = setting.module
    for place in module.uses:
        if place.document.reported and not place.use.call and not place.use.guarded:
            yield from _reference(setting, place)
    yield from _defaults(module)
    yield from _default_types(module)
    yield from _cycles(module)
    yield from _build_sources(module)
    yield from _duplicates(setting)
    yield from _unused(module)
    yield from _values(module)


def _reference(setting: Setting, place: Place) -> Iterator[Finding]:
    module, use, document = setting.module, place.use, place.document
    root, *rest = use.parts
    if root == "var" and rest:
        yield from _exists(document, use, "variable", rest[0], module.variables)
    elif root == "local" and rest:
        yield from _exists(document, use, "local", rest[0], module.locals)
    elif root == "data" and len(rest) > 1 and setting.dialect.has("data"):
        yield from _exists(document, use, "data source", ".".join(rest[:2]), module.data)
    elif root == "path" and rest and rest[0] not in _PATHS:
        yield _undefined(document, use, f"path has no {rest[0]}", "there are path.root and path.cwd")
    elif root == "source" and len(rest) > 1:
        written = ".".join(use.parts)
        yield _undefined(document, use, f"{written} is a source, not a value", f'name it in quotes: "{written}"')
    elif root not in _ROOTS:
        yield _undefined(document, use, *_unknown_root(use))


def _unknown_root(use: Use) -> tuple[str, str]:
    root, *rest = use.parts
    if root in _MEANT:
        return f"there is no {root}", f"did you mean {'.'.join([_MEANT[root], *rest])}?"
    if rest:
        return f"there is no {'.'.join(use.parts)}", f"what can be referred to begins with {', '.join(sorted(_ROOTS))}"
    return f"{root} is no reference", "put a text in quotes"


def _exists(document: Document, use: Use, kind: str, name: str, names: Names) -> Iterator[Finding]:
    if name not in names:
        near = difflib.get_close_matches(name, names, 1)
        yield _undefined(document, use, f"there is no {kind} {name}", f"did you mean {near[0]}?" if near else "")


def _undefined(document: Document, use: Any, message: str, hint: str) -> Finding:
    return document.finding(catalog.UNDEFINED, use, message, hint)


def _defaults(module: Module) -> Iterator[Finding]:
    """Packer works out a variable's default before it knows anything else."""
    for declarations in module.variables.values():
        for declared in declarations:
            if declared.document.reported and declared.value is not None:
                for use in uses(declared.document.syntax, declared.value):
                    if not use.call and use.parts[0] in _ROOTS:
                        message = f"the default of a variable cannot refer to {'.'.join(use.parts)}"
                        yield _undefined(declared.document, use, message, "make it a local")


def _cycles(module: Module) -> Iterator[Finding]:
    """Locals that need themselves: each round is told once, where its first local stands."""
    needs = {name: _needed(declarations) for name, declarations in module.locals.items()}
    told: set[str] = set()
    for name, declarations in module.locals.items():
        way = _way_back(name, needs)
        if way and not told.intersection(way) and declarations[-1].document.reported:
            told.update(way)
            message = f"local.{' needs local.'.join([*way, name])}"
            yield declarations[-1].document.finding(catalog.CIRCULAR, declarations[-1].span, message)


def _needed(declarations: list[Declared]) -> list[str]:
    last = declarations[-1]
    found = uses(last.document.syntax, last.value) if last.value is not None else ()
    return [use.parts[1] for use in found if use.parts[0] == "local" and len(use.parts) > 1 and not use.call]


def _way_back(name: str, needs: Mapping[str, list[str]]) -> list[str]:
    """The locals from one to itself, in the order in which they need each other; none when it is in no round."""
    ways = [[name]]
    seen: set[str] = set()
    while ways:
        way = ways.pop()
        for other in needs.get(way[-1], ()):
            if other == name:
                return way
            if other not in seen:
                seen.add(other)
                ways.append([*way, other])
    return []


def _build_sources(module: Module) -> Iterator[Finding]:
    for document, name, span in _used_sources(module):
        if document.reported and name not in module.sources:
            near = difflib.get_close_matches(name, module.sources, 1)
            hint = f"did you mean source.{near[0]}?" if near else ""
            yield _undefined(document, span, f"there is no source {name}", hint)


def _used_sources(module: Module) -> Iterator[tuple[Document, str, Any]]:
    """The sources that builds name in full, each as type.name."""
    for document, build in module.blocks("build", reported=False):
        listed = build.attributes.get("sources")
        for node in listed.values if isinstance(listed, ArrayExpression) else ():
            if (plain := document.syntax.plain(node)) is not None:
                yield document, _source_name(plain), node.span
        for block in build.blocks:
            if block.type.name == "source" and block.labels:
                yield document, _source_name(label_text(document, block.labels[0])), block.labels[0].span


def _source_name(written: str) -> str:
    """Packer drops the first of three words, whatever it is."""
    words = written.split(".")
    return ".".join(words[1:3]) if len(words) > 2 else written


def _duplicates(setting: Setting) -> Iterator[Finding]:
    module = setting.module
    kinds = [("variable", module.variables), ("data source", module.data), ("source", module.sources)]
    # Before there were `local` blocks, the last of two locals won.
    if setting.dialect.has("local"):
        kinds.append(("local", module.locals))
    shared: dict[str, list[tuple[str, Declared, Declared]]] = {}
    for kind, names in kinds:
        for name, declarations in names.items():
            for number, later in enumerate(declarations):
                if number and later.document.reported:
                    same = [one for one in declarations[:number] if one.document is later.document]
                    if same:
                        message = f"{kind} {name} is declared already, at {_place(same[0])}"
                        yield later.document.finding(catalog.DUPLICATE, later.span, message)
                    else:
                        shared.setdefault(later.document.file, []).append((f"{kind} {name}", declarations[0], later))
    for several in shared.values():
        yield _shared(several)


def _shared(several: list[tuple[str, Declared, Declared]]) -> Finding:
    """One finding for a file, at the first name: where files are templates of their own, they share most of them."""
    name, first, later = min(several, key=lambda one: one[2].span.start)
    more = f", as are {len(several) - 1} more names" if len(several) > 1 else ""
    message = f"{name} is declared already, at {_place(first)}{more}"
    hint = "if each file is a template of its own, lint them one by one"
    return later.document.finding(catalog.DECLARED_TWICE, later.span, message, hint)


def _place(declared: Declared) -> str:
    return f"{declared.document.file}:{declared.document.place(declared.span.start)[0]}"


def _unused(module: Module) -> Iterator[Finding]:
    for root, names, rule in (
        ("var", module.variables, catalog.UNUSED_VARIABLE),
        ("local", module.locals, catalog.UNUSED_LOCAL),
    ):
        used = _used(module, root)
        for name, declarations in names.items():
            for declared in declarations if name not in used and None not in used else ():
                if declared.document.reported:
                    kind = "variable" if root == "var" else "local"
                    yield declared.document.finding(rule, declared.span, f"{kind} {name} is never used")
    builds = list(module.blocks("build", reported=False))
    named = {name for _, name, _ in _used_sources(module)}
    worked_out = any(not _listed(build) for _, build in builds)
    for name, declarations in module.sources.items() if builds and not worked_out else ():
        for declared in declarations:
            if declared.document.reported and name not in named:
                message = f"no build uses source {name}"
                yield declared.document.finding(catalog.UNUSED_SOURCE, declared.span, message)


def _listed(build: Block) -> bool:
    return isinstance(build.attributes.get("sources"), ArrayExpression | None) and not any(
        block.type.name == "dynamic" for block in build.blocks
    )


def _used(module: Module, root: str) -> Collection[str | None]:
    """The names of a kind that are used; nothing among them when all may be, as in ``var[each.key]``."""
    found: set[str | None] = set()
    for place in module.uses:
        parts = place.use.parts
        if not place.use.call and parts[0] == root and (len(parts) == 1 or parts[1] != place.variable):
            found.add(parts[1] if len(parts) > 1 else None)
    return found


def _values(module: Module) -> Iterator[Finding]:
    """Variable files: what they set is declared, and of the declared type."""
    for document in module.linted("values"):
        for stmt in document.syntax.body:
            if not isinstance(stmt, Attribute):
                message = "only variables are set in a variable file"
                yield document.finding(catalog.UNKNOWN_BLOCK, stmt.span, message)
                continue
            name = stmt.key.name
            declared = module.variables.get(name, [])
            if not declared and any(one.kind == "template" for one in module.documents):
                near = difflib.get_close_matches(name, module.variables, 1)
                hint = f"did you mean {near[0]}?" if near else ""
                message = f"no variable {name} is declared here"
                yield document.finding(catalog.UNDECLARED_VALUE, stmt.key.span, message, hint)
            for one in declared[:1]:
                kind = variable_kind(one) if one.attribute("type") is not None else "any"
                if not fits(kind, stmt.value, document, module):
                    message = f"variable {name} is a {kind}"
                    yield document.finding(catalog.WRONG_TYPE, stmt.value.span, message)


def _default_types(module: Module) -> Iterator[Finding]:
    """A variable's default is of its type."""
    for declarations in module.variables.values():
        for one in declarations:
            written = one.attribute("type")
            if not one.document.reported or written is None or one.value is None or isinstance(one.value, Identifier):
                continue
            kind = variable_kind(one)
            if not fits(kind, one.value, one.document, module):
                message = f"the default is not the variable's type, {kind}"
                yield one.document.finding(catalog.WRONG_TYPE, one.value.span, message)
