"""Rules about Packer's own language: its blocks, its functions, and the version that each came with."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from pyhcl2.nodes import Attribute, Block, Stmt

from skyvypack.dialect import FEATURES
from skyvypack.lint import catalog, versions
from skyvypack.lint.findings import Finding
from skyvypack.lint.module import Document, label_text
from skyvypack.lint.setting import Setting
from skyvypack.lint.versions import Version
from skyvypack.lint.walk import Use, uses


@dataclass(frozen=True, slots=True)
class Form:
    """What a block of the language looks like.

    Args:
        labels: how many it has.
        arguments: those it takes; nothing when it takes any.
        blocks: those it takes; nothing when it takes any.
        feature: the name in `dialect.FEATURES` that says when it came; empty when 1.6.6 has it.
    """

    labels: int = 0
    arguments: frozenset[str] | None = None
    blocks: Mapping[str, Form] | None = None
    feature: str = ""


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_ANY = Form(labels=1)
# hcl2template/parser.go and types.build.go of Packer; each was tried against 1.6.6.
_BUILD = Form(
    0,
    _words("name description sources"),
    {
        "source": _ANY,
        "provisioner": _ANY,
        "error-cleanup-provisioner": Form(1, feature="error-cleanup-provisioner"),
        "post-processor": _ANY,
        "post-processors": Form(0, _words(""), {"post-processor": _ANY, "dynamic": _ANY}),
        "hcp_packer_registry": Form(0, feature="hcp_packer_registry"),
        "dynamic": _ANY,
        "from": _ANY,
    },
)
_TOP: Mapping[str, Form] = {
    "packer": Form(0, _words("required_version"), {"required_plugins": Form(0, None, {}, "required_plugins")}),
    "variable": Form(
        1,
        _words("type default description sensitive"),
        {"validation": Form(0, _words("condition error_message"), {})},
    ),
    "variables": Form(0, None, {}),
    "locals": Form(0, None, {}),
    "local": Form(1, _words("expression sensitive"), {}, "local"),
    "source": Form(2),
    "data": Form(2, feature="data"),
    "build": _BUILD,
    "hcp_packer_registry": Form(0, feature="hcp_packer_registry"),
    "communicator": Form(2),
}

# hcl2template/functions.go of Packer 1.16.0; those below NEWER were tried against 1.6.6, which has them all.
_FUNCTIONS = _words(
    """
    abs abspath aws_secretsmanager basename base64decode base64encode bcrypt can ceil chomp chunklist cidrhost
    cidrnetmask cidrsubnet cidrsubnets coalesce coalescelist compact concat consul_key contains convert csvdecode
    dirname distinct element file fileexists fileset flatten floor format formatdate formatlist indent index join
    jsondecode jsonencode keys length log lookup lower max md5 merge min parseint pathexpand pow range regex_replace
    replace reverse rsadecrypt setintersection setproduct setunion sha1 sha256 sha512 signum slice sort split strrev
    substr timeadd timestamp title trim trimprefix trimspace trimsuffix try upper urlencode uuidv4 uuidv5 values vault
    yamldecode yamlencode zipmap
    """
)
# From Packer's changelog. Of those it does not mention, the first version after 1.6.6 is taken.
_NEWER: Mapping[str, Version] = {
    "regex": FEATURES["regex"],
    "regexall": FEATURES["regex"],
    "templatefile": FEATURES["templatefile"],
    "legacy_isotime": (1, 7, 1),
    "legacy_strftime": (1, 7, 0),
    "filebase64": (1, 7, 0),
    "textencodebase64": (1, 11, 0),
    "textdecodebase64": (1, 11, 0),
    "alltrue": (1, 12, 0),
    "anytrue": (1, 12, 0),
    "strcontains": (1, 12, 0),
    "base64gzip": (1, 12, 0),
    "aws_secretsmanager_raw": (1, 12, 0),
    "sum": (1, 13, 0),
    "startswith": (1, 13, 0),
    "endswith": (1, 13, 0),
    "rfc3339_parse": (1, 16, 0),
    "unix_timestamp_parse": (1, 16, 0),
}
# Where the `env` argument of a provisioner came with FEATURES["shell-env"].
_SHELLS = frozenset({"shell"})


@dataclass(slots=True)
class _Checker:
    setting: Setting
    document: Document
    found: list[Finding] = field(default_factory=list)

    def body(self, stmts: Sequence[Stmt], form: Form, within: str) -> None:
        """What stands in a block of the language, or at the top."""
        for stmt in stmts:
            if isinstance(stmt, Attribute):
                self.argument(stmt, form, within)
            elif isinstance(stmt, Block):
                self.block(stmt, form, within)

    def argument(self, stmt: Attribute, form: Form, within: str) -> None:
        name = stmt.key.name
        if form.arguments is not None and name not in form.arguments:
            message = f"{within} has no argument {name}"
            self.tell(stmt, message, _near(name, form.arguments | {*(form.blocks or ())}))

    def block(self, block: Block, form: Form, within: str) -> None:
        name = block.type.name
        if form.blocks is None:
            return
        inner = form.blocks.get(name)
        if inner is None:
            self.tell(block, f"{within} has no block {name}", _near(name, form.blocks))
            return
        if inner.feature and not self.setting.dialect.has(inner.feature):
            first = versions.text(FEATURES[inner.feature])
            message = f"Packer {self.setting.dialect.name} has no {name}"
            hint = f"Packer {first} and newer have it"
            self.found.append(self.document.finding(catalog.NEWER_LANGUAGE, block.key_span, message, hint))
        elif len(block.labels) != inner.labels:
            expected = ("no label", "one label", "two labels")[inner.labels]
            self.found.append(self.document.finding(catalog.UNKNOWN_BLOCK, block.key_span, f"{name} takes {expected}"))
        else:
            self.shell_env(block)
            self.body(block.body, inner, name)

    def shell_env(self, block: Block) -> None:
        if block.type.name != "provisioner" or self.setting.dialect.has("shell-env"):
            return
        if label_text(self.document, block.labels[0]) not in _SHELLS:
            return
        for stmt in block.body:
            if isinstance(stmt, Attribute) and stmt.key.name == "env":
                message = f"the shell provisioner of Packer {self.setting.dialect.name} has no env"
                hint = f"Packer {versions.text(FEATURES['shell-env'])} has it; environment_vars works in all"
                self.found.append(self.document.finding(catalog.NEWER_LANGUAGE, stmt.key.span, message, hint))

    def tell(self, stmt: Attribute | Block, message: str, hint: str) -> None:
        span = stmt.key.span if isinstance(stmt, Attribute) else stmt.key_span
        self.found.append(self.document.finding(catalog.UNKNOWN_BLOCK, span, message, hint))


def check(setting: Setting) -> Iterator[Finding]:
    """Every rule about the language."""
    for document in setting.module.linted():
        checker = _Checker(setting, document)
        checker.body(document.syntax.body, Form(0, _words(""), _TOP), "Packer")
        yield from checker.found
        yield from _repeated(document, document.syntax.body)
    for document in setting.module.linted("values"):
        yield from _repeated(document, document.syntax.body)
    yield from _functions(setting)
    yield from _version(setting)


def _near(name: str, names: Mapping[str, Form] | frozenset[str]) -> str:
    near = difflib.get_close_matches(name, names, 1)
    return f"did you mean {near[0]}?" if near else ""


def _repeated(document: Document, stmts: Sequence[Stmt]) -> Iterator[Finding]:
    """HCL itself refuses an argument that is set twice."""
    seen: dict[str, Attribute] = {}
    for stmt in stmts:
        if isinstance(stmt, Block):
            yield from _repeated(document, stmt.body)
        elif isinstance(stmt, Attribute):
            first = seen.setdefault(stmt.key.name, stmt)
            if first is not stmt:
                line = document.place(first.span.start)[0]
                message = f"{stmt.key.name} is set already, on line {line}"
                yield document.finding(catalog.REPEATED, stmt.key.span, message)


def _functions(setting: Setting) -> Iterator[Finding]:
    defaults = {
        (id(declared.document), use.start)
        for declarations in setting.module.variables.values()
        for declared in declarations
        if declared.value is not None
        for use in uses(declared.document.syntax, declared.value)
    }
    for place in setting.module.uses:
        if place.document.reported and place.use.call:
            in_default = (id(place.document), place.use.start) in defaults
            yield from _function(setting, place.document, place.use, in_default)


def _function(setting: Setting, document: Document, use: Use, in_default: bool) -> Iterator[Finding]:
    name = use.parts[0]
    if name in _FUNCTIONS or (name == "env" and in_default):
        return
    first = _NEWER.get(name)
    if first is None:
        near = difflib.get_close_matches(name, [*_FUNCTIONS, *_NEWER], 1)
        hint = (
            "it works only in the default of a variable"
            if name == "env"
            else f"did you mean {near[0]}?"
            if near
            else ""
        )
        yield document.finding(catalog.UNKNOWN_FUNCTION, use, f"there is no function {name}", hint)
    elif setting.dialect.version < first:
        message = f"Packer {setting.dialect.name} has no function {name}"
        hint = f"Packer {versions.text(first)} and newer have it"
        yield document.finding(catalog.NEWER_LANGUAGE, use, message, hint)


def _version(setting: Setting) -> Iterator[Finding]:
    for document, block in setting.module.blocks("packer"):
        wanted = block.attributes.get("required_version")
        plain = document.syntax.plain(wanted) or ""
        limits = versions.constraint(plain)
        if limits and wanted is not None and not limits.admits(setting.dialect.version):
            message = f"Packer {setting.dialect.name} is not {plain}"
            yield document.finding(catalog.PACKER_VERSION, wanted.span, message)
