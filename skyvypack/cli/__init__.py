"""The command line: click, and the only place that prints and exits."""

from __future__ import annotations


def main() -> None:
    """Run the command line given to this process and exit with its code."""
    from skyvypack.cli.app import cli

    cli()
