"""The command line: click, and the only place that prints and exits."""

from __future__ import annotations

import atexit
import gc

# Collections between a few hundred new objects cost a short verb a tenth of its time and free nothing.
_OBJECTS_BETWEEN_COLLECTIONS = 50_000


def main() -> None:
    """Run the command line given to this process and exit with its code."""
    gc.set_threshold(_OBJECTS_BETWEEN_COLLECTIONS)
    # What lives to the end goes with the process: Python's last search through all of it takes tens of milliseconds.
    atexit.register(gc.freeze)
    from skyvypack.cli.app import cli

    cli()
