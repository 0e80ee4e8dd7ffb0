"""The verb that judges Packer HCL, ours or anyone's."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from skyvypack.cli import show
from skyvypack.cli.options import example, installed_packer, json_option
from skyvypack.errors import InputError

if TYPE_CHECKING:
    from skyvypack.lint import Finding
    from skyvypack.lint.versions import Version

_COLOURS = {"error": "red", "warning": "yellow", "note": "cyan"}
_FAILED = 1


@click.command(
    epilog=example(
        "skyvypack lint\nskyvypack lint --packer latest templates/ web.pkr.hcl\n"
        "skyvypack lint --plugin qemu=1.0.7 --ignore unused-variable,secret-in-clear .\n"
        "skyvypack lint --sarif . > lint.sarif"
    )
)
@click.argument("paths", type=click.Path(path_type=Path), nargs=-1)
@click.option(
    "--packer",
    "version",
    metavar="VERSION",
    help="Packer to judge by: such as 1.6.6, or latest.  [default: the installed one, else latest]",
)
@click.option(
    "--plugin",
    "plugins",
    metavar="NAME=VERSION",
    multiple=True,
    help="Plugin version to judge by, in place of what required_plugins admits; may be given several times.",
)
@click.option("--select", multiple=True, metavar="RULES", help="Use only these rules, given by id with commas between.")
@click.option("--ignore", multiple=True, metavar="RULES", help="Leave these rules out.")
@click.option(
    "--fail-on",
    type=click.Choice(["error", "warning", "note", "never"]),
    default="warning",
    show_default=True,
    help="The least severity that makes the exit code 1.",
)
@click.option("--fix", "mend", is_flag=True, help="Rename what has a newer name, where nothing else changes with it.")
@click.option("--sarif", is_flag=True, help="Print SARIF 2.1.0.")
@json_option
def lint(
    paths: tuple[Path, ...],
    version: str | None,
    plugins: tuple[str, ...],
    select: tuple[str, ...],
    ignore: tuple[str, ...],
    fail_on: str,
    mend: bool,
    sarif: bool,
    as_json: bool,
) -> int:
    """Judge Packer HCL: ours or anyone's, without Packer or a plugin.

    PATHS are files and folders, by default the folder you are in. The files of a folder are one module, as for Packer.
    A comment `# skyvypack:ignore RULE` silences a rule on its line, or on the next when it stands alone.

    Exit codes: 0 nothing found, 1 something found, 2 wrong use or an unreadable file.
    """
    from skyvypack import dialect, lint_files, lint_grammar, runs
    from skyvypack.lint import lint as judge
    from skyvypack.lint.sarif import document

    if sarif and as_json:
        raise click.UsageError("--json and --sarif exclude each other")
    chosen = dialect.named(version or installed_packer())
    given = _plugins(plugins)
    wanted, unwanted = _rules("--select", select), _rules("--ignore", ignore)

    def judged(folder: lint_files.Folder) -> list[Finding]:
        return judge(
            folder.files, dialect=chosen, plugins=given, context=folder.context, select=wanted, ignore=unwanted
        )

    lint_grammar.prepare(runs.cache_folder())
    found: list[Finding] = []
    files = mended = 0
    for folder in lint_files.collect(paths or (Path(),)):
        findings = judged(folder)
        if mend and (changed := _mend(folder.files, findings)):
            mended += changed
            findings = judged(folder)
        found += findings
        files += len(folder.files)
    if sarif:
        show.document(document(found))
    elif as_json:
        show.document(
            {
                "packer": chosen.name,
                "files": files,
                "fixed": mended,
                "counts": _counts(found),
                "findings": [dict(one.described()) for one in found],
            }
        )
    else:
        _tell(found, files, mended, chosen.name)
    return _FAILED if _fails(found, fail_on) else 0


def _plugins(given: Sequence[str]) -> dict[str, Version]:
    from skyvypack.lint import versions

    chosen = {}
    for one in given:
        name, _, text = one.partition("=")
        version = versions.parse(text)
        if not name or not version:
            raise InputError(f"--plugin {one}: no plugin and version", "as in --plugin qemu=1.0.7")
        chosen[name] = version
    return chosen


def _rules(option: str, given: Sequence[str]) -> frozenset[str]:
    from skyvypack.lint import RULES, catalog

    ids = frozenset(word.strip() for one in given for word in one.split(",") if word.strip())
    for unknown in sorted(ids - RULES.keys()):
        near = catalog.nearest(unknown)
        hint = f"did you mean {near}?" if near else f"there are {', '.join(RULES)}"
        raise InputError(f"{option} {unknown}: no such rule", hint)
    return ids


def _mend(files: dict[str, str], findings: Sequence[Finding]) -> int:
    """Write what can be mended, and put the new texts in place of the old; returns how many places changed."""
    from skyvypack import lint_files
    from skyvypack.lint.fix import fix

    count = 0
    for file, text in files.items():
        after = fix(file, text, findings)
        if after != text:
            lint_files.replace(Path(file), text, after)
            files[file] = after
            count += sum(bool(one.edits) for one in findings if one.file == file)
    return count


def _counts(found: Sequence[Finding]) -> dict[str, int]:
    counted = Counter(one.severity for one in found)
    return {severity: counted[severity] for severity in ("error", "warning", "note")}


def _fails(found: Sequence[Finding], fail_on: str) -> bool:
    from skyvypack.lint import SEVERITIES

    if fail_on == "never":
        return False
    rank = {str(severity): number for number, severity in enumerate(SEVERITIES)}
    return any(rank[one.severity] <= rank[fail_on] for one in found)


def _tell(found: Sequence[Finding], files: int, mended: int, packer: str) -> None:
    for one in found:
        severity = click.style(one.severity, fg=_COLOURS[one.severity], bold=True)
        click.echo(f"{one.file}:{one.line}:{one.column}: {severity}: {one.message} [{one.rule}]")
        if one.hint:
            click.echo(f"    {one.hint}")
    counts = ", ".join(f"{number} {name}{'s' * (number != 1)}" for name, number in _counts(found).items() if number)
    text = f"{files} file{'s' * (files != 1)} judged by Packer {packer}: {counts or 'nothing found'}"
    if mended:
        text += f"; {mended} mended"
    elif fixable := sum(bool(one.edits) for one in found):
        text += f"; --fix mends {fixable}"
    click.echo(text)
