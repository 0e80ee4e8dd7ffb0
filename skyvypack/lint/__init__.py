"""Lints Packer HCL, ours or anyone's: text in, findings out.

::

    for finding in lint({"web.pkr.hcl": text}, dialect=dialect.named("1.6.6")):
        print(finding)

Nothing here reads a file, starts Packer or needs a plugin: what builders take is in `builders/`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping

from skyvypack.dialect import LATEST, Dialect
from skyvypack.lint import catalog, check_builders, check_language, check_names, check_values
from skyvypack.lint.catalog import RULES
from skyvypack.lint.findings import SEVERITIES, Edit, Finding, Rule, Severity, Span
from skyvypack.lint.module import TEMPLATE_ENDINGS, VALUES_ENDINGS, Module, module
from skyvypack.lint.setting import Setting
from skyvypack.lint.versions import Version

__all__ = [
    "RULES",
    "SEVERITIES",
    "TEMPLATE_ENDINGS",
    "VALUES_ENDINGS",
    "Edit",
    "Finding",
    "Rule",
    "Severity",
    "lint",
]

_CHECKS: tuple[Callable[[Setting], Iterator[Finding]], ...] = (
    check_language.check,
    check_builders.check,
    check_names.check,
    check_values.check,
)


def lint(
    files: Mapping[str, str],
    *,
    dialect: Dialect = LATEST,
    plugins: Mapping[str, Version] | None = None,
    context: Mapping[str, str] | None = None,
    select: Collection[str] = (),
    ignore: Collection[str] = (),
) -> list[Finding]:
    """Judge the files that Packer reads together.

    Args:
        files: text by name; the name's ending says what it is: ``.pkr.hcl``, ``.pkr.json``, ``.pkrvars.hcl``,
            ``.pkrvars.json``, and anything else is taken for ``.pkr.hcl``.
        dialect: the Packer version to judge by.
        plugins: versions of plugins, by address or its last word, in place of what ``required_plugins`` says.
        context: further files of the folder, which say what exists and are not judged themselves.
        select: ids of the rules to use; all when empty.
        ignore: ids of rules to leave out.

    Returns:
        What was found, in the order of files and lines.
    """
    setting = Setting(dialect, module(files, context), plugins or {})
    broken = any(document.malformed for document in setting.module.documents)
    found = [*_syntax(setting.module)]
    for check in _CHECKS:
        # What a file that cannot be read declares is unknown, so nothing can be said to be missing or unused.
        found += [one for one in check(setting) if not broken or one.rule not in _WHOLE]
    wanted = set(select or RULES) - set(ignore)
    kept = [one for one in {*found, *_unknown_ignores(setting.module)} if one.rule in wanted]
    order = {file: number for number, file in enumerate(files)}
    kept.sort(key=lambda one: (order[one.file], one))
    return [one for one in kept if not _silenced(setting.module, one)]


# Rules that look at the module as a whole.
_WHOLE = frozenset(
    rule.id
    for rule in (
        catalog.UNDEFINED,
        catalog.CIRCULAR,
        catalog.UNUSED_VARIABLE,
        catalog.UNUSED_LOCAL,
        catalog.UNUSED_SOURCE,
        catalog.UNDECLARED_VALUE,
    )
)


def _syntax(module: Module) -> Iterator[Finding]:
    for document in module.documents:
        if document.malformed and document.reported:
            at = document.malformed.position
            yield document.finding(catalog.SYNTAX, Span(at, at + 1), document.malformed.message)


def _unknown_ignores(module: Module) -> Iterator[Finding]:
    for document in module.documents:
        for _, rules, position in document.ignores() if document.reported else ():
            for rule in sorted(rules - RULES.keys()):
                near = catalog.nearest(rule)
                hint = f"did you mean {near}?" if near else ""
                yield document.finding(
                    catalog.BAD_IGNORE, Span(position, position + 1), f"there is no rule {rule}", hint
                )


def _silenced(module: Module, finding: Finding) -> bool:
    if finding.rule == catalog.BAD_IGNORE.id:
        return False
    document = next(one for one in module.documents if one.file == finding.file)
    return any(
        (line is None or line == finding.line) and (not rules or finding.rule in rules)
        for line, rules, _ in document.ignores()
    )
