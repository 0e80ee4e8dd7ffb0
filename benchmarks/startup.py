"""CPU time of the quick verbs, each in a fresh process, beside the project's limits.

Prints a table, or JSON with ``--json``; exits with 1 when a limit is passed. README.md says how to read it.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).resolve().parent.parent
SPEC = ROOT / "examples" / "quickstart.yaml"
IN_PROCESS = """
import sys, time
import skyvypack.render, skyvypack.spec
began = time.process_time()
skyvypack.render(skyvypack.load(sys.argv[1]), "qemu", "1.6.6")
print(time.process_time() - began)
"""


@dataclass(frozen=True, slots=True)
class Figure:
    """CPU milliseconds, user and system, of several runs; a limit of 0 is no limit."""

    what: str
    limit: int
    median: float
    least: float

    @property
    def verdict(self) -> str:
        if not self.limit:
            return ""
        return "ok" if self.median <= self.limit else "over"


def cpu(argv: list[str], env: dict[str, str]) -> float:
    """CPU seconds of one process and of all it started."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(argv, check=True, stdout=subprocess.DEVNULL, env=env)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def measure(what: str, limit: int, once: Callable[[], float], runs: int) -> Figure:
    """One run to warm up, which also compiles to byte code what was changed; then `runs` that count."""
    once()
    seconds = [once() for _ in range(runs)]
    return Figure(what, limit, round(statistics.median(seconds) * 1000, 1), round(min(seconds) * 1000, 1))


def figures(spec: Path, runs: int, scratch: Path) -> list[Figure]:
    # Byte code in a folder of our own: as after an installation, whatever this machine's settings are.
    env = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    env["PYTHONPYCACHEPREFIX"] = str(scratch / "bytecode")
    bundles = (str(scratch / f"bundle-{number}") for number in count())
    verb = [sys.executable, "-m", "skyvypack"]
    # The version is given: Packer's own start is not ours.
    render = [*verb, "render", "--spec", str(spec), "--packer", "1.6.6", "--output"]
    in_process = [sys.executable, "-c", IN_PROCESS, str(spec)]

    def printed() -> float:
        return float(subprocess.run(in_process, check=True, capture_output=True, env=env, text=True).stdout)

    return [
        measure("python -c pass", 0, lambda: cpu([sys.executable, "-c", "pass"], env), runs),
        measure("skyvypack --help", 150, lambda: cpu([*verb, "--help"], env), runs),
        measure("skyvypack render", 300, lambda: cpu([*render, next(bundles)], env), runs),
        measure("load and render, modules imported", 300, printed, runs),
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--spec", type=Path, default=SPEC, help="what is rendered, for the target qemu")
    parser.add_argument("--runs", type=int, default=11, help="runs of each that count (default: 11)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args()
    if not options.spec.is_file():
        parser.error(f"there is no spec {options.spec}")
    if options.runs < 1:
        parser.error("--runs is at least 1")
    with TemporaryDirectory() as scratch:
        found = figures(options.spec, options.runs, Path(scratch))
    load = round(os.getloadavg()[0], 1)
    if options.json:
        rows = [asdict(figure) | {"verdict": figure.verdict} for figure in found]
        print(json.dumps({"unit": "ms of CPU", "runs": options.runs, "load": load, "figures": rows}, indent=2))
    else:
        print(f"{'ms of CPU, user and system':36} {'median':>7} {'least':>7} {'limit':>6}")
        for figure in found:
            limit = str(figure.limit or "")
            print(f"{figure.what:36} {figure.median:7.0f} {figure.least:7.0f} {limit:>6}  {figure.verdict}".rstrip())
        print(f"{options.runs} runs each; load of this machine now: {load} on {os.cpu_count()} CPUs")
    return int(any(figure.verdict == "over" for figure in found))


if __name__ == "__main__":
    sys.exit(main())
