"""The verbs with effects: bake, verify and the cache between bakes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from skyvypack.cli import show
from skyvypack.cli.options import cache_option, example, json_option, spec_option, target_option

if TYPE_CHECKING:
    from skyvypack.artifact import Artifact
    from skyvypack.bake import BakeResult
    from skyvypack.verify import Report


@click.command(epilog=example("skyvypack bake\nskyvypack bake --spec web.yaml --format vmdk --format ova"))
@spec_option
@target_option
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    default="output",
    show_default=True,
    help="The template becomes OUTPUT/<name>-<version>-<target>/.",
)
@cache_option
@click.option("--force", is_flag=True, help="Bake although nothing changed; replace what is there.")
@click.option("--offline", is_flag=True, help="Use the cached layer without asking the mirror for news.")
@click.option("--no-verify", is_flag=True, help="Boot no clones: the template is not proven.")
@click.option("--format", "formats", metavar="FORMAT", multiple=True, help="qcow2, raw, vmdk, ova, vhdx or vdi; repeat.")
@json_option
def bake(
    spec_file: Path,
    target: str,
    output: Path,
    cache: Path | None,
    force: bool,
    offline: bool,
    no_verify: bool,
    formats: tuple[str, ...],
    as_json: bool,
) -> None:
    """Bake a template and prove it on booted clones.

    It appears in the output folder only when everything is proven. Progress goes to standard error: live on a
    terminal, as lines elsewhere, as JSON lines with --json.
    """
    from skyvypack.bake import bake as bake_template
    from skyvypack.cli.display import reporter
    from skyvypack.spec import load

    spec = load(spec_file)
    with reporter(as_json) as report:
        result = bake_template(
            spec,
            target,
            output=output,
            cache=cache,
            force=force,
            offline=offline,
            verify=not no_verify,
            formats=formats or None,
            report=report,
        )
    if as_json:
        show.document(result)
    else:
        _print_result(result)
