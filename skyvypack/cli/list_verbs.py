"""The verbs that list what there is: roles, targets, schema."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from skyvypack.cli import show
from skyvypack.cli.options import example, json_option
from skyvypack.errors import InputError

if TYPE_CHECKING:
    from skyvypack.roles import Definition


@click.command(
    epilog=example("skyvypack roles\nskyvypack roles ssh\nskyvypack roles --sizes output/skyvyos-server-1.0.0-qemu")
)
@click.argument("name", required=False)
@click.option(
    "--roles-path",
    "paths",
    type=click.Path(path_type=Path),
    multiple=True,
    help="A folder of your own roles, as in the spec's `roles_path`; may be given several times.",
)
@click.option(
    "--sizes",
    "template",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="A finished template: what each of its roles brought, in packages and MiB.",
)
@json_option
def roles(name: str | None, paths: tuple[Path, ...], template: Path | None, as_json: bool) -> None:
    """List the roles, or show one in detail.

    With --sizes, the roles of a finished template instead, and what each brought that was not there already.
    """
    from skyvypack.roles import catalog

    if template:
        _print_sizes(template, as_json=as_json)
        return

    known = catalog(paths)
    chosen = [_known(name, known, "role", "skyvypack roles")] if name else list(known)
    if as_json:
        show.document({role: _role_facts(known[role]) for role in chosen})
    elif name:
        _print_role(known[name])
    else:
        rows = [(role, known[role].summary, ", ".join(known[role].settings) or "-") for role in chosen]
        show.table(rows, ("role", "summary", "settings"))


def _print_sizes(template: Path, *, as_json: bool) -> None:
    from skyvypack import artifact

    manifest = artifact.load(template).manifest
    if "sizes" not in manifest:
        raise InputError(f"{template} was baked by a skyvypack that did not count", "bake it again")
    sizes: Mapping[str, Mapping[str, int]] = manifest["sizes"]
    total = {key: sum(size[key] for size in sizes.values()) for key in ("packages", "kib")}
    if as_json:
        show.document({"sizes": sizes, "total": total})
        return
    rows = [
        (name, str(size["packages"]), f"{size['kib'] / 1024:.1f}") for name, size in (*sizes.items(), ("total", total))
    ]
    show.table(rows, ("role", "packages", "MiB"))


def _known(name: str, names: Iterable[str], what: str, verb: str) -> str:
    """The name itself, if there is such a thing."""
    names = list(names)
    if name in names:
        return name
    near = difflib.get_close_matches(name, names, 1)
    hint = f"did you mean {near[0]}?" if near else f"see what there is: {verb}"
    raise InputError(f"there is no {what} {name}", hint)


def _role_facts(role: Definition) -> dict[str, Any]:
    told = ("packages", "settings", "ports", "services", "commands")
    facts = {"summary": role.summary, "folder": role.folder, "requires": role.requires, "origins": role.origins}
    return facts | {key: role.content[key] for key in told} | {"files": list(role.templates())}


def _print_role(role: Definition) -> None:
    click.echo(f"{role.name}: {role.summary}")
    click.echo(f"requires: {', '.join(role.requires) or 'nothing'}")
    if role.origins:
        click.echo(f"origins: {', '.join(role.origins)} (the first unless the spec says otherwise)")
    _section("settings", setting_rows(role.settings), ("setting", "value", "default", "meaning"))
    packages = [(name, _reason(value)) for name, value in role.content["packages"].items()]
    _section("packages", packages, ("package", "why"))
    services = role.content["services"].items()
    units = [(unit, kind, _reason(why)) for kind, group in services for unit, why in group.items()]
    _section("units", units, ("unit", "do", "why"))
    _section("files", [(path,) for path in role.templates()], ("file",))


def _section(title: str, rows: Sequence[tuple[str, ...]], headers: tuple[str, ...]) -> None:
    if rows:
        click.echo(f"\n{title}")
        show.table(rows, headers)


def _reason(told: Any) -> str:
    """Why a package or unit is there: written alone, or beside the releases it is for."""
    return str(told["reason"]) if isinstance(told, Mapping) else str(told)


def setting_rows(rules: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, ...]]:
    """Each setting as name, what it may be, its default and its meaning."""
    return [(name, _value(rule), _default(rule), str(rule.get("doc", ""))) for name, rule in rules.items()]


def _value(rule: Mapping[str, Any]) -> str:
    if "allowed" in rule:
        return " | ".join(str(value) for value in rule["allowed"])
    kinds = rule.get("type", "any")
    text = kinds if isinstance(kinds, str) else " or ".join(kinds)
    if "min" in rule or "max" in rule:
        text += f" {rule.get('min', '')}…{rule.get('max', '')}"
    return f"{text} {rule.get('unit', '')}".rstrip()


def _default(rule: Mapping[str, Any]) -> str:
    if "default" not in rule:
        return "-"
    value = rule["default"]
    return str(value).lower() if isinstance(value, bool) else str(value) if value not in ("", [], {}, None) else "-"


@click.command(epilog=example("skyvypack targets\nskyvypack targets qemu"))
@click.argument("name", required=False)
@json_option
def targets(name: str | None, as_json: bool) -> None:
    """List the targets: where templates can live.

    With NAME only that one.
    """
    from skyvypack import targets as places

    chosen = [_known(name, places.names(), "target", "skyvypack targets")] if name else places.names()
    facts = {
        target: {"builders": places.source(target).BUILDERS, "settings": places.settings_rules(target)}
        for target in chosen
    }
    if as_json:
        show.document(facts)
        return
    for number, (target, fact) in enumerate(facts.items()):
        click.echo(f"{chr(10) if number else ''}{target}: Packer's builders {', '.join(fact['builders'])}")
        show.table(setting_rows(fact["settings"]), ("setting", "value", "default", "meaning"))


@click.command(epilog=example("skyvypack schema > skyvypack.schema.json"))
def schema() -> None:
    """Print the JSON Schema of a spec, for editors."""
    from skyvypack.spec import json_schema

    show.document(json_schema())
