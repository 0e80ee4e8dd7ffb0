"""The verb that makes a spec of a Packer template."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from skyvypack.cli import show
from skyvypack.cli.options import SPEC_FILE, example, json_option
from skyvypack.errors import InputError

if TYPE_CHECKING:
    from skyvypack.importer import Imported, Leftover

# In the order they are told.
_TITLES = {
    "secret": "secrets, never copied",
    "needed": "still to be said",
    "lost": "not carried over",
    "changed": "carried over, but not as it stood",
}


@click.command(
    "import",
    epilog=example(
        "skyvypack import web.pkr.hcl\nskyvypack import --source qemu.debian --output web.yaml templates/\n"
        "skyvypack import old-template.json values.pkrvars.hcl"
    ),
)
@click.argument("paths", type=click.Path(path_type=Path), nargs=-1, required=True)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    default=SPEC_FILE,
    show_default=True,
    help="Spec to write; never one that exists.",
)
@click.option("--source", default="", metavar="BUILDER.NAME", help="Of several sources, the one to make a spec of.")
@json_option
def import_(paths: tuple[Path, ...], output: Path, source: str, as_json: bool) -> None:
    """Make a spec of a Packer template, ours or anyone's.

    PATHS are a template's files or its folder: HCL, Packer's JSON, the old JSON with `builders`, and files of values.
    Packer is not needed. What did not come along is listed; secrets never do: the report says by which variable of the
    environment to feed them.
    """
    from skyvypack import template_files
    from skyvypack.importer import import_template

    if output.exists() or output.is_symlink():
        raise InputError(f"{output} exists already", "name another file: skyvypack import --output other.yaml …")
    made = import_template(template_files.collect(paths), source)
    try:
        with output.open("x", encoding="utf-8") as handle:
            handle.write(made.text)
    except FileExistsError as error:
        raise InputError(
            f"{output} exists already", "name another file: skyvypack import --output other.yaml …"
        ) from error
    except OSError as error:
        raise InputError(f"cannot write {output}: {error.strerror}", "name a file where you may write") from error
    if as_json:
        show.document(_described(output, made))
    else:
        _tell(output, made)


def _described(output: Path, made: Imported) -> dict[str, object]:
    return {
        "file": str(output),
        "source": made.source,
        "target": made.target,
        "carried": dict(made.carried),
        "leftovers": [asdict(one) for one in made.leftovers],
        "refusal": made.refusal,
    }


def _tell(output: Path, made: Imported) -> None:
    count = len(made.carried)
    click.echo(f"{output} written: source {made.source}, target {made.target}, {count} values carried over")
    for kind, title in _TITLES.items():
        _list(title, [one for one in made.leftovers if one.kind == kind])
    own = [
        f"{one.what.removeprefix('argument ')} ({one.file}:{one.line})" for one in made.leftovers if one.kind == "own"
    ]
    if own:
        click.echo(f"\nthe bundle has its own: {', '.join(own)}")
    if made.refusal:
        click.echo(f"\nno bundle can be made of it yet: {made.refusal}")
    click.echo(f"\nEdit it, then: skyvypack validate --spec {output}")


def _list(title: str, found: Sequence[Leftover]) -> None:
    if found:
        click.echo(f"\n{click.style(title, bold=True)}:")
        for line in _lines(found):
            click.echo(f"  {line}")


def _lines(found: Iterable[Leftover]) -> Iterable[str]:
    for one in found:
        where = f"{one.file}:{one.line}: " if one.line else ""
        fed = f"; feed it by {one.environment} in the environment" if one.environment else ""
        yield f"{where}{one.what} {one.reason}{fed}"
