"""Writes docs/reference/, and README's table of requirements, from schemas, roles, targets and the command line.

``python docs/generate_reference.py``, or ``nox -s docs``; tests/test_docs.py says when it has to be run again.
"""

from __future__ import annotations

import ast
import json
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click

from skyvypack import assets, targets
from skyvypack.cli.app import cli
from skyvypack.cli.list_verbs import setting_rows
from skyvypack.lint import RULES as LINT_RULES
from skyvypack.profiles import profiles
from skyvypack.roles import Definition, catalog
from skyvypack.spec import Machine, json_schema
from skyvypack.spec.fields import RULES
from skyvypack.verify.requirements import rows

FOLDER = Path(__file__).resolve().parent / "reference"
README = FOLDER.parent.parent / "README.md"
# Defaults that the model holds, not the rules.
_DEFAULTS = {"machine": {key: {"default": value} for key, value in asdict(Machine()).items()}}
# What `verify` does with every clone, whatever its roles.
_EVERY_CLONE = (
    ("Boots by BIOS from virtio-blk and by UEFI from NVMe, and once more after a restart", ("BAS-6",)),
    ("The disk is enlarged before the restart", ("BAS-4",)),
    ("Its identity is its own, survives a restart and differs from the other clone's in every part", ("BAS-7",)),
    ("cloud-init applied the first-boot user-data", ("NET-1",)),
)
MARK = "<!-- Made by docs/generate_reference.py: do not edit. -->"
TABLE_END = "<!-- End of what is made. -->"


def pages() -> dict[str, str]:
    """Text of each page by its file name."""
    return {
        "spec.md": _page("The spec", _spec()),
        "roles.md": _page("Roles", _roles()),
        "requirements.md": _page("Requirements", _requirements()),
        "targets.md": _page("Targets", _targets()),
        "lint.md": _page("The rules of lint", _lint()),
        "cli.md": _page("The command line", _cli()),
        "skyvypack.schema.json": json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n",
    }


def _page(title: str, lines: Iterator[str]) -> str:
    return "\n".join([f"# {title}", "", MARK, "", *lines]).rstrip() + "\n"


def _table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(headers)} |"
    yield "|" + "---|" * len(headers)
    for row in rows:
        yield f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |"
    yield ""


def _settings(rules: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    yield from _table(("setting", "value", "default", "meaning"), setting_rows(rules))


def _spec() -> Iterator[str]:
    yield "Unknown keys are errors. Editors check a spec as you write it by `skyvypack.schema.json`, beside this page."
    yield ""
    rows = [
        (f"`{row[0]}`" + (" (must be given)" if RULES[row[0]].get("required") else ""), *row[1:])
        for row in setting_rows(RULES)
    ]
    yield from _table(("field", "value", "default", "meaning"), rows)
    for name, rule in RULES.items():
        fields = rule.get("schema", {})
        fields = fields.get("schema", {}) if rule["type"] == "list" else fields
        if fields:
            yield f"## {name}"
            yield ""
            yield from _settings({key: _DEFAULTS.get(name, {}).get(key, {}) | rule for key, rule in fields.items()})


def _roles() -> Iterator[str]:
    yield "`skyvypack roles NAME` shows one with its packages, units and files."
    yield ""
    yield "`profile: NAME` in a spec chooses a set of them, to which `roles` adds:"
    yield ""
    rows = [(f"`{one.name}`", one.summary, ", ".join(one.roles)) for one in profiles().values()]
    yield from _table(("profile", "for", "roles"), rows)
    for role in catalog().values():
        yield from _role(role)


def _role(role: Definition) -> Iterator[str]:
    yield f"## {role.name}"
    yield ""
    yield f"{role.summary}."
    if role.requires:
        yield f"Requires {', '.join(f'`{name}`' for name in role.requires)}."
    if role.origins:
        yield f"Origins: {', '.join(f'`{name}`' for name in role.origins)}; the first is the default."
    yield ""
    if role.settings:
        yield from _settings(role.settings)


def _requirements() -> Iterator[str]:
    yield "What a template must be, and the check that shows it on a booted clone: `skyvypack verify` runs them all."
    yield "A check is a test of a role's contract, `cloud-init/<role>/test_contract.py`; those of `clone` every clone"
    yield "goes through (`skyvypack/verify/clones.py`)."
    yield ""
    checks = checks_by_requirement()
    table = []
    for name, row in rows().items():
        told = [f"`{check.role}`: {check.words}" for check in checks.get(name, ())]
        table.append((f"**{name}**", row.fact, "<br>".join(told) or row.elsewhere))
    yield from _table(("id", "fact", "check"), table)


def readme(text: str) -> str:
    """README with its table of requirements as it should be.

    Args:
        text: of README, with the table between two comments.
    """
    checks = checks_by_requirement()
    table = []
    for name, row in rows().items():
        by_role: dict[str, list[str]] = {}
        for check in checks.get(name, ()):
            by_role.setdefault(check.role, []).append(check.test)
        told = [f"**{role}** {', '.join(tests)}" for role, tests in by_role.items()]
        table.append((name, row.fact, "; ".join(told) or row.elsewhere))
    before, _, rest = text.partition(f"{MARK}\n")
    _, end, after = rest.partition(TABLE_END)
    return "\n".join([before + MARK, "", *_table(("id", "fact", "checks"), table), end + after])


@dataclass(frozen=True, slots=True)
class Shown:
    """A check that shows a requirement.

    Args:
        role: whose contract has it; ``clone`` for what every clone goes through.
        test: the function's name, as Markdown; for the clone what is done with it.
        words: what it shows.
    """

    role: str
    test: str
    words: str


def checks_by_requirement() -> dict[str, list[Shown]]:
    """The checks of each requirement's id."""
    found: dict[str, list[Shown]] = {}
    for path in sorted(assets.roles().glob("*/test_contract.py")):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                words = " ".join((ast.get_docstring(node) or "").split())
                for name in _marked(node.decorator_list):
                    found.setdefault(name, []).append(Shown(path.parent.name, f"`{node.name}`", words))
    for words, names in _EVERY_CLONE:
        for name in names:
            found.setdefault(name, []).append(Shown("clone", words, words))
    return found


def _marked(decorators: Sequence[ast.expr]) -> Iterator[str]:
    for mark in decorators:
        if isinstance(mark, ast.Call) and ast.unparse(mark.func) == "pytest.mark.requirement":
            yield from (ast.literal_eval(word) for word in mark.args)


def _targets() -> Iterator[str]:
    for name in targets.names():
        yield f"## {name}"
        yield ""
        builders = ", ".join(f"`{builder}`" for builder in targets.source(name).BUILDERS)
        yield f"Packer's builders: {builders}."
        yield ""
        yield from _settings(targets.settings_rules(name))


def _lint() -> Iterator[str]:
    yield "`error`: Packer refuses the file. `warning`: it should be mended. `note`: to know of. How to use them:"
    yield "[lint Packer HCL](../how-to/lint.md)."
    yield ""
    rows = [(f"[`{rule.id}`](#{rule.id})", rule.severity, rule.summary) for rule in LINT_RULES.values()]
    yield from _table(("rule", "severity", "finds"), rows)
    for rule in LINT_RULES.values():
        yield f"## {rule.id}"
        yield ""
        yield f"{rule.summary} ({rule.severity}). {rule.doc}"
        yield ""
        if rule.bad:
            yield f"Found in:\n\n```hcl\n{rule.bad}```\n\nNot in:\n\n```hcl\n{rule.good}```"
            yield ""


def _cli() -> Iterator[str]:
    yield "Exit codes: 0 done, 1 failed, 2 the input is wrong, 3 the contract failed, 130 interrupted."
    yield ""
    yield from _verbs(cli, "skyvypack")


def _verbs(group: click.Group, path: str) -> Iterator[str]:
    for name, command in group.commands.items():
        whole = f"{path} {name}"
        yield f"## {whole}"
        yield ""
        yield textwrap.dedent(f"```\n{_help(command, whole)}\n```")
        yield ""
        if isinstance(command, click.Group):
            yield from _verbs(command, whole)


def _help(command: click.Command, path: str) -> str:
    context = click.Context(command, info_name=path, terminal_width=100, help_option_names=["-h", "--help"])
    return command.get_help(context)


def main() -> None:
    """Write every page, and the table of README."""
    FOLDER.mkdir(exist_ok=True)
    for name, text in pages().items():
        (FOLDER / name).write_text(text, encoding="utf-8")
    README.write_text(readme(README.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
