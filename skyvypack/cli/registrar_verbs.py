"""The verbs of registered templates: register, describe, retire, reap."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from skyvypack.cli import show
from skyvypack.cli.options import Command, example, json_option, spec_option, via_option, wish_options

if TYPE_CHECKING:
    from skyvypack.registrar import Plan, Reaped, Registration, Retirement


def _target(command: Command) -> Command:
    return click.option("-t", "--target", required=True, help="Where the template lives; see `targets`.")(command)


@click.command(
    epilog=example(
        "skyvypack register --target proxmox --dry-run\nskyvypack register --target proxmox --channel stable --keep 3"
    )
)
@click.argument("artifact", type=click.Path(path_type=Path), required=False)
@spec_option
@_target
@via_option
@wish_options
@click.option("--no-verify", is_flag=True, help="Boot no clone on the platform: the template is not proven there.")
@click.option("--dry-run", is_flag=True, help="Print what would be done and what stands in the way; change nothing.")
@json_option
@click.pass_context
def register(
    ctx: click.Context,
    artifact: Path | None,
    spec_file: Path,
    target: str,
    via: str,
    channel: str,
    keep: int | None,
    manifest_url: str,
    patience: float,
    no_verify: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Register a baked template with a platform, and prove it there.

    ARTIFACT is the folder that `bake` made; without it, what `bake` makes of the spec. Done again, it goes on where it
    stopped. Credentials come from the environment. What is baked on the platform itself is registered by `bake`;
    --dry-run tells what stands in its way.
    """
    from skyvypack import registrar
    from skyvypack.cli.display import reporter
    from skyvypack.registrar.deliver import is_remote, plan_delivery, source_of
    from skyvypack.spec import load

    spec = registrar.routed(load(spec_file), target, via)
    wishes = registrar.Wishes(channel, keep, verify=not no_verify, manifest=manifest_url, patience=patience)
    folder = artifact or Path("output") / f"{spec.name}-{spec.version}-{target}"
    if dry_run:
        with reporter(as_json) as report:
            if artifact is None and is_remote(spec):
                plan = plan_delivery(spec, target, wishes=wishes, report=report)
            else:
                plan = registrar.plan(spec, target, source_of(spec, target, folder), wishes=wishes, report=report)
        show.document(plan) if as_json else _print_plan(plan)
        ctx.exit(1 if plan.obstacles else 0)
    source = source_of(spec, target, folder)
    with reporter(as_json) as report:
        # Beside the artifact, not in it: what is in it is what its bake made.
        logs = folder.with_name(f"{folder.name}.logs")
        done = registrar.register(spec, target, source, wishes=wishes, logs=logs, report=report)
    show.document(registration_facts(done)) if as_json else print_registration(done)
    ctx.exit(0 if done.complete else 1)


def _print_plan(plan: Plan) -> None:
    if plan.obstacles:
        click.echo("Obstacles; nothing could be done now:\n")
        show.table([(one.check, one.message, one.hint) for one in plan.obstacles], ("what", "obstacle", "mend it"))
        return
    click.echo(f"As {plan.where}:\n")
    show.table([(str(number), step.kind, step.text) for number, step in enumerate(plan.steps, 1)], ("", "what", "how"))
    if not plan.steps:
        click.echo("nothing: it is registered, and all that was asked for is done")


def registration_facts(done: Registration) -> dict[str, object]:
    """A registration, ready for JSON."""
    names = ("template", "unchanged", "jobs", "channel", "retirement", "left", "timings", "complete")
    return {name: getattr(done, name) for name in names} | {"report": done.report.as_dict() if done.report else None}


def print_registration(done: Registration) -> None:
    """Print what came of a registration."""
    from skyvypack.cli.bake_verbs import print_report

    template = done.template
    state = "was registered already" if done.unchanged else "is registered"
    proof = "verified there" if template.verified else "NOT verified there"
    click.echo(f"{template.title} {state} with {template.target} as {template.id}, {proof}")
    if done.channel:
        click.echo(f"channel {done.channel} points to it")
    for name, value in template.facts.items():
        click.echo(f"  {name}: {value}")
    for job in done.jobs:
        click.echo(f"  {job.name}: {job.stands or f'FAILED: {job.error}'}")
    if done.retirement:
        _print_retirement(done.retirement)
    for entry in done.left:
        click.echo(f"LEFT BEHIND: {entry}; remove it: skyvypack reap --target {template.target}")
    if done.report:
        print_report(done.report)
    click.echo()
    show.table([(stage, show.clock(seconds)) for stage, seconds in done.timings.items()], ("stage", "time"))


def _print_retirement(retirement: Retirement, word: str = "retired") -> None:
    for template in retirement.retired:
        click.echo(f"{word}: {template.title} ({template.id})")
    for refusal in retirement.refused:
        one = refusal.template
        click.echo(f"not retired: {one.title} ({one.id}): {'; '.join(refusal.reasons)}")


@click.command(epilog=example("skyvypack describe --target proxmox"))
@spec_option
@_target
@json_option
def describe(spec_file: Path, target: str, as_json: bool) -> None:
    """Show the registered templates of a spec, newest first."""
    from skyvypack import registrar
    from skyvypack.cli.display import reporter
    from skyvypack.spec import load

    spec = load(spec_file)
    with reporter(as_json) as report:
        templates = registrar.describe(spec, target, report=report)
    if as_json:
        show.document({"templates": templates})
        return
    rows = [
        (one.id, one.version, ", ".join(one.channels), "yes" if one.verified else "no", one.created, one.digest)
        for one in templates
    ]
    if not rows:
        click.echo(f"no template {spec.name} is registered with {target}")
        return
    show.table(rows, ("id", "version", "channels", "verified", "created", "digest"))


@click.command(epilog=example("skyvypack retire --target proxmox --keep 3"))
@spec_option
@_target
@click.option("--keep", type=int, required=True, metavar="N", help="How many of the newest stay.")
@click.option("--dry-run", is_flag=True, help="Only show which would go, and which not and why.")
@json_option
@click.pass_context
def retire(ctx: click.Context, spec_file: Path, target: str, keep: int, dry_run: bool, as_json: bool) -> None:
    """Remove older registered templates that nothing uses.

    Those in a channel stay, too. Exits with 1 when one could not be removed, or is in use.
    """
    from skyvypack import registrar
    from skyvypack.cli.display import reporter
    from skyvypack.spec import load

    spec = load(spec_file)
    with reporter(as_json) as report:
        done = registrar.retire(spec, target, keep=keep, dry_run=dry_run, report=report)
    if as_json:
        show.document(done)
    else:
        _print_retirement(done, "would be retired" if dry_run else "retired")
        if not done.retired and not done.refused:
            click.echo("nothing to retire")
    ctx.exit(1 if done.refused else 0)


@click.command(epilog=example("skyvypack reap --target proxmox"))
@_target
@click.option("--dry-run", is_flag=True, help="Only show what is left.")
@json_option
@click.pass_context
def reap(ctx: click.Context, target: str, dry_run: bool, as_json: bool) -> None:
    """Remove what killed runs left on a platform.

    Each run writes down what it makes before it makes it; what a run that is no more has neither finished nor undone is
    removed, and nothing else. Exits with 1 when something could not be removed.
    """
    from skyvypack import registrar
    from skyvypack.cli.display import reporter

    with reporter(as_json) as report:
        found = registrar.reap(target, dry_run=dry_run, report=report)
    if as_json:
        show.document({"found": found})
    else:
        _print_reaped(found, "would be removed" if dry_run else "removed")
    ctx.exit(1 if any(one.error for one in found) else 0)


def _print_reaped(found: tuple[Reaped, ...], done: str) -> None:
    rows = [(one.about, one.began, str(one.entry), f"NOT removed: {one.error}" if one.error else done) for one in found]
    if rows:
        show.table(rows, ("run", "began", "left", "what came of it"))
    else:
        click.echo("no killed run left anything")
