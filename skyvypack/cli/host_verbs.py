"""The verbs about this machine: doctor and completion."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from skyvypack.cli import show
from skyvypack.cli.options import example, json_option

if TYPE_CHECKING:
    from skyvypack.doctor import Finding

_INSTALL = {
    "bash": "skyvypack completion bash > ~/.local/share/bash-completion/completions/skyvypack",
    "zsh": "skyvypack completion zsh > ~/.zfunc/_skyvypack    # with ~/.zfunc in fpath before compinit",
    "fish": "skyvypack completion fish > ~/.config/fish/completions/skyvypack.fish",
}


@click.command(epilog=example("skyvypack doctor --fix"))
@click.option("--fix", is_flag=True, help="Run the commands that mend what is missing (apt-get, by sudo if needed).")
@json_option
@click.pass_context
def doctor(ctx: click.Context, fix: bool, as_json: bool) -> None:
    """Show what this machine misses, and what mends it.

    Exits with 1 when something is missing that a local bake needs.
    """
    from skyvypack import doctor as surgery

    findings = surgery.examine()
    ran = surgery.fix(findings, lambda line: click.echo(line, err=True)) if fix else []
    if ran:
        findings = surgery.examine()
    missing = surgery.missing(findings)
    if as_json:
        show.document({"ok": not missing, "ran": ran, "findings": findings})
    else:
        _print_findings(findings, missing)
    ctx.exit(1 if missing else 0)


def _print_findings(findings: list[Finding], missing: list[Finding]) -> None:
    rows = [(_mark(finding), finding.name, finding.found or "-", finding.purpose) for finding in findings]
    show.table(rows, ("", "what", "found", "what for"))
    bad = [finding for finding in findings if not finding.ok and (finding.fix or finding.package)]
    if bad:
        click.echo("\nTo mend:")
    for finding in bad:
        click.echo(f"  {finding.fix or f'install what Debian calls {finding.package}'}    # {finding.name}")
    if missing:
        click.echo(f"\n{len(missing)} missing that a bake needs. Mend all of it: python -m skyvypack doctor --fix")
    else:
        click.echo("\nReady to bake.")


def _mark(finding: Finding) -> str:
    if finding.ok:
        return "ok"
    return "MISSING" if finding.severity == "needed" else "note"


@click.command(epilog=example("\n".join(_INSTALL.values())))
@click.argument("shell", type=click.Choice(list(_INSTALL)))
def completion(shell: str) -> None:
    """Print the completion script of a shell.

    It completes the command `skyvypack`, not `python -m skyvypack`.
    """
    from click.shell_completion import ShellComplete, get_completion_class

    from skyvypack.cli.app import cli

    kind = get_completion_class(shell)
    assert kind is not None, "click.Choice lets through only shells that click knows"
    # Not kind.source(): for bash that starts bash, to look at its version.
    click.echo(ShellComplete.source(kind(cli, {}, "skyvypack", "_SKYVYPACK_COMPLETE")))
    click.echo(f"# To install: {_INSTALL[shell]}")
