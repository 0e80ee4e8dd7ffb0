"""The verbs with effects: bake, verify and the cache between bakes."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from skyvypack.cli import show
from skyvypack.cli.options import (
    cache_option,
    example,
    json_option,
    spec_option,
    target_option,
    via_option,
    wish_options,
)
from skyvypack.errors import ContractFailed

if TYPE_CHECKING:
    from skyvypack.bake import BakeResult
    from skyvypack.machine import Firmware
    from skyvypack.registrar import Wishes
    from skyvypack.spec.model import Spec
    from skyvypack.verify import Report


@click.command(
    epilog=example(
        "skyvypack bake\nskyvypack bake --spec web.yaml --format vmdk --format ova\n"
        "skyvypack bake --target proxmox --channel stable --keep 3"
    )
)
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
@click.option("--format", "formats", metavar="NAME", multiple=True, help="qcow2, raw, vmdk, ova, vhdx or vdi; repeat.")
@click.option("--no-register", is_flag=True, help="Only bake; the target's platform is not touched.")
@via_option
@wish_options
@json_option
@click.pass_context
def bake(
    ctx: click.Context, /, spec_file: Path, target: str, as_json: bool, no_register: bool, no_verify: bool, **given: Any
) -> None:
    """Bake a template, prove it on booted clones, and register it.

    It appears in the output folder only when everything is proven. Where the target is a platform, it is then
    registered there, proven there and, with --channel, pointed to. Progress goes to standard error: live on a
    terminal, as lines elsewhere, as JSON lines with --json.
    """
    from skyvypack import registrar
    from skyvypack.spec import load

    spec = registrar.routed(load(spec_file), target, given.pop("via"))
    channel, keep, manifest, patience = map(given.pop, ("channel", "keep", "manifest_url", "patience"))
    wishes = registrar.Wishes(channel, keep, not no_verify, manifest, patience)
    if no_register or target not in registrar.names():
        if wishes.channel or wishes.keep is not None:
            raise click.UsageError("--channel and --keep are for templates that are registered")
        _bake_only(spec, target, as_json, verify=not no_verify, **given)
    else:
        _bake_and_register(ctx, spec, target, as_json, wishes, given)


def _bake_only(spec: Spec, target: str, as_json: bool, *, formats: tuple[str, ...], **given: Any) -> None:
    from skyvypack.bake import bake as bake_template
    from skyvypack.cli.display import reporter

    with reporter(as_json) as report:
        result = bake_template(spec, target, formats=formats or None, report=report, **given)
    if as_json:
        show.document(_facts(result))
    else:
        _print_result(result)


def _bake_and_register(
    ctx: click.Context, spec: Spec, target: str, as_json: bool, wishes: Wishes, given: dict[str, Any]
) -> None:
    from skyvypack.cli.display import reporter
    from skyvypack.cli.registrar_verbs import print_registration, registration_facts
    from skyvypack.registrar.deliver import BakeWishes, deliver

    with reporter(as_json) as report:
        done = deliver(spec, target, wishes=wishes, baking=BakeWishes(**given), report=report)
    if as_json:
        baked = {"bake": _facts(done.bake) if done.bake else None}
        show.document(baked | {"registration": registration_facts(done.registration)})
    else:
        if done.bake:
            _print_result(done.bake)
            click.echo()
        print_registration(done.registration)
    ctx.exit(0 if done.registration.complete else 1)


def _facts(result: BakeResult) -> dict[str, Any]:
    artifact = result.artifact
    told = {name: getattr(artifact, name) for name in ("folder", "name", "version", "target", "files")}
    return {
        "unchanged": result.unchanged,
        "artifact": told | {"manifest": artifact.folder / "manifest.json"},
        "report": result.report.as_dict() if result.report else None,
        "timings": result.timings,
    }


def _print_result(result: BakeResult) -> None:
    artifact = result.artifact
    if result.unchanged:
        click.echo(f"Nothing changed since this was baked, {artifact.manifest['created']}; --force bakes it anew.\n")
    rows = [(str(file.path), show.size(file.size), f"sha256:{file.sha256}") for file in artifact.files]
    show.table(rows, ("template", "size", "digest"))
    if result.report:
        print_report(result.report)
    elif result.unchanged:
        click.echo(f"\nproven then: {len(artifact.manifest['checks'])} checks; prove it again: skyvypack verify")
    else:
        click.echo("\nNOT proven: --no-verify was given. Prove it: skyvypack verify")
    if result.timings:
        click.echo()
        show.table([(stage, show.clock(seconds)) for stage, seconds in result.timings.items()], ("stage", "time"))


def print_report(report: Report) -> None:
    """Print what was proven: each requirement with the number of its checks and what came of it."""
    counts = Counter(name for check in report.checks for name in check.requirements)
    rows = [(one.id, str(counts[one.id]), one.state, one.reason) for one in report.requirements]
    click.echo()
    show.table(rows, ("requirement", "checks", "result", "why not"))
    passed = sum(check.outcome == "passed" for check in report.checks)
    verdict = "proven" if report.passed else "NOT proven"
    where = f"clones {', '.join(report.clones)} ({report.accelerator})"
    click.echo(f"\n{report.template} is {verdict}: {passed} of {len(report.checks)} checks passed on {where}")


@click.command(epilog=example("skyvypack verify\nskyvypack verify output/skyvyos-1.0.0-qemu --firmware uefi"))
@click.argument("template", type=click.Path(path_type=Path), required=False)
@spec_option
@click.option(
    "--firmware",
    type=click.Choice(["bios", "uefi"]),
    multiple=True,
    default=("bios", "uefi"),
    show_default=True,
    help="What clones boot with.",
)
@click.option(
    "--report",
    "folder",
    type=click.Path(path_type=Path),
    default="reports",
    show_default=True,
    help="Folder for JUnit XML and the clones' consoles.",
)
@cache_option
@json_option
@click.pass_context
def verify(
    ctx: click.Context,
    template: Path | None,
    spec_file: Path,
    firmware: tuple[Firmware, ...],
    folder: Path,
    cache: Path | None,
    as_json: bool,
) -> None:
    """Prove a finished template again, on booted clones.

    Runs the contract of every role in the spec. TEMPLATE is what `bake` made, or a qcow2 file; without it, what
    `bake` makes of the spec. Exits with 3 when a clone breaks the contract.
    """
    from skyvypack.cli.display import reporter
    from skyvypack.progress import Progress
    from skyvypack.spec import load
    from skyvypack.targets import equipped
    from skyvypack.verify import verify as verify_disk

    spec = load(spec_file)
    disk, target = _disk(template or Path("output") / f"{spec.name}-{spec.version}-qemu")
    spec = equipped(spec, target)
    with reporter(as_json) as report:
        found = verify_disk(spec, disk, report_folder=folder, firmware=firmware, cache=cache, progress=Progress(report))
    if as_json:
        show.document(found.as_dict())
        ctx.exit(0 if found.passed else ContractFailed.exit_code)
    print_report(found)
    found.require()


def _disk(template: Path) -> tuple[Path, str]:
    """The disk of a template, and what it was baked for."""
    from skyvypack.artifact import load

    if not template.is_dir():
        return template, "qemu"
    artifact = load(template)
    return artifact.file("qcow2").path, artifact.target
