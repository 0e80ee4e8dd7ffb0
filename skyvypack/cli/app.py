"""The `skyvypack` command: its verbs in the order a user meets them.

The library is imported inside each verb, so that ``--help`` and shell completion stay quick.
"""

from __future__ import annotations

import click

from skyvypack import __version__
from skyvypack.cli.bake_verbs import bake, verify
from skyvypack.cli.cache_verbs import cache
from skyvypack.cli.host_verbs import completion, doctor
from skyvypack.cli.import_verb import import_
from skyvypack.cli.iso_verb import iso
from skyvypack.cli.lint_verb import lint
from skyvypack.cli.list_verbs import roles, schema, targets
from skyvypack.cli.options import Verbs, example
from skyvypack.cli.registrar_verbs import describe, reap, register, retire
from skyvypack.cli.spec_verbs import init, render, user_data, validate


@click.group(
    cls=Verbs,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120},
    epilog=example("skyvypack init\nskyvypack bake\nskyvypack verify"),
)
@click.option("--debug", is_flag=True, help="Show what is run, and tracebacks of unexpected errors.")
@click.version_option(__version__, prog_name="skyvypack")
def cli(debug: bool) -> None:
    """Bake golden VM templates of SkyvyOS Server from one YAML spec, and prove them.

    Exit codes: 0 done, 1 failed, 2 the input is wrong, 3 the contract failed, 130 interrupted.
    """
    if debug:
        import logging

        logging.basicConfig(level=logging.DEBUG, format="%(relativeCreated)7d ms  %(name)s: %(message)s")


_SPEC = (init, import_, validate, render, lint, bake, verify)
_REGISTRAR = (register, describe, retire, reap)
_REST = (iso, user_data, roles, targets, doctor, cache, schema, completion)

for verb in (*_SPEC, *_REGISTRAR, *_REST):
    cli.add_command(verb)
