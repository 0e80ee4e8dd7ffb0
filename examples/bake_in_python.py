"""Bake a template from Python: ``python examples/bake_in_python.py examples/quickstart.yaml``."""

import sys

import skyvypack
from skyvypack.errors import SkyvypackError
from skyvypack.progress import Event


def show(event: Event) -> None:
    """Tell of stages only; a program's own lines come as events of kind ``line``."""
    if event.kind in ("begin", "end", "fail"):
        print(f"{event.kind:5} {event.stage}: {event.text}")


def main(file: str) -> int:
    """Bake the spec in a file; returns an exit code."""
    try:
        spec = skyvypack.load(file)
        result = skyvypack.bake(spec, report=show)
    except SkyvypackError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    print("nothing had changed" if result.unchanged else f"baked in {result.timings['total']:.0f} s")
    print(result.artifact.folder)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
