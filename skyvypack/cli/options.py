"""Options that several verbs share, and the group that tells every error in one place."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click

from skyvypack.cli.outcome import guard

Command = Callable[..., Any]

SPEC_FILE = "skyvypack.yaml"


class Verbs(click.Group):
    """The verbs in the order of use, and one way out for every error."""

    def list_commands(self, _ctx: click.Context) -> list[str]:
        """In the order they were added: the order in which a user meets them."""
        return list(self.commands)

    def main(self, args: Sequence[str] | None = None, *others: Any, **extra: Any) -> Any:
        """Run a command line and exit with its code; arguments as for `click.Command.main`."""
        given = list(sys.argv[1:] if args is None else args)
        extra["standalone_mode"] = False
        begin = super().main
        code = guard(lambda: begin(given, *others, **extra), as_json="--json" in given, debug=given[:1] == ["--debug"])
        sys.exit(code)


def example(text: str) -> str:
    """The epilog of a verb: the example its help shows, kept line by line."""
    return "\b\nExample:\n" + "\n".join(f"  {line}" for line in text.splitlines())


def spec_option(command: Command) -> Command:
    """``--spec``: the file to read."""
    return click.option(
        "-s",
        "--spec",
        "spec_file",
        type=click.Path(path_type=Path),
        default=SPEC_FILE,
        show_default=True,
        help="The spec to read.",
    )(command)


def target_option(command: Command) -> Command:
    """``--target``: where the template will live."""
    return click.option(
        "-t", "--target", default="qemu", show_default=True, help="Where the template will live; see `targets`."
    )(command)


def json_option(command: Command) -> Command:
    """``--json``: one JSON document on standard output, errors too."""
    return click.option("--json", "as_json", is_flag=True, help="Print one JSON document, for errors too.")(command)


def cache_option(command: Command) -> Command:
    """``--cache``: the folder of what can be made again."""
    return click.option(
        "--cache",
        type=click.Path(path_type=Path, file_okay=False),
        help="Folder of layers, downloads and running bakes.  [default: $SKYVYPACK_CACHE, else ~/.cache/skyvypack]",
    )(command)


def installed_packer() -> str:
    """The version of the Packer on PATH, or ``latest`` without one."""
    from skyvypack import command, packer

    return packer.installed() if command.which("packer") else "latest"


def via_option(command: Command) -> Command:
    """``--via``: how the disk gets to the platform."""
    return click.option(
        "--via", default="", metavar="WAY", help="How the disk gets to the platform, where there is a choice: s3."
    )(command)


def wish_options(command: Command) -> Command:
    """``--channel``, ``--keep``, ``--manifest-url``, ``--patience``: how a registration is done."""
    for option in (
        click.option("--channel", default="", metavar="NAME", help="Move this channel to it once it is verified."),
        click.option("--keep", type=int, metavar="N", help="Then retire all but the newest N that nothing uses."),
        click.option("--manifest-url", default="", metavar="URL", help="Where the manifest is published."),
        click.option(
            "--patience",
            type=float,
            default=1.0,
            metavar="FACTOR",
            help="Wait so much longer for the clone on the platform, as where its guests are emulated.",
        ),
    ):
        command = option(command)
    return command
