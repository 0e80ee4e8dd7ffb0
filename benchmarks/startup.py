"""CPU seconds of the quick verbs, in processes of their own; the limits are the project's promises.

Each figure is the smallest of several runs: what the verb itself costs, not what the machine does beside it.
"""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

RUNS = 7
SPEC = Path(__file__).resolve().parent.parent / "examples" / "quickstart.yaml"


def cpu(argv: list[str]) -> float:
    """CPU seconds (user and system) of one run of ``python -m skyvypack``."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-m", "skyvypack", *argv], check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (after.ru_utime + after.ru_stime) - (before.ru_utime + before.ru_stime)


def main() -> None:
    """Print each verb's figure beside its limit."""
    with TemporaryDirectory() as folder:
        bundles = (str(Path(folder) / str(number)) for number in range(RUNS))
        help_runs = [cpu(["--help"]) for _ in range(RUNS)]
        # With its version given, Packer's own start is not counted.
        render = ["render", "--spec", str(SPEC), "--packer", "1.6.6", "--output"]
        render_runs = [cpu([*render, bundle]) for bundle in bundles]
    print(f"--help  {min(help_runs) * 1000:4.0f} ms of CPU (limit 150)")
    print(f"render  {min(render_runs) * 1000:4.0f} ms of CPU, start included (limit 300)")


if __name__ == "__main__":
    main()
