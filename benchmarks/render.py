"""How fast documents are rendered: all builders, many specs, the emitter beside python-hcl2's, and memory.

Prints a table, or JSON with ``--json``; exits with 1 when a limit is not kept. README.md says how to read it. Needs
what tests need: python-hcl2, and the cases of tests/target_cases.py.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ALL_BUILDERS = """
import sys, time
sys.path.insert(0, sys.argv[1])
began = time.process_time()
from target_cases import CASES, PLAIN
from skyvypack.render import render
made = {render(PLAIN).builder} | {render(case.spec, case.target).builder for case in CASES.values() if case.old}
print(len(made), time.process_time() - began)
"""


@dataclass(frozen=True, slots=True)
class Figure:
    """One measurement, and what it must keep: at most `limit`, or at least it when `least` is set."""

    what: str
    value: float
    unit: str
    limit: float
    least: bool = False

    @property
    def kept(self) -> bool:
        return self.value >= self.limit if self.least else self.value <= self.limit


def cpu(deed: Callable[[], object]) -> float:
    """CPU seconds of this process."""
    began = time.process_time()
    deed()
    return time.process_time() - began


def builders() -> Figure:
    """All builders in one fresh process, imports included."""
    argv = [sys.executable, "-c", ALL_BUILDERS, str(ROOT / "tests")]
    subprocess.run(argv, check=True, capture_output=True, cwd=ROOT)  # compiles to byte code what was changed
    said = subprocess.run(argv, check=True, capture_output=True, text=True, cwd=ROOT).stdout.split()
    if said[0] != "11":
        raise SystemExit(f"{said[0]} builders were rendered, not 11")
    return Figure("all 11 builders, a fresh process", round(float(said[1]), 3), "s CPU", 0.5)


def rate(count: int) -> Figure:
    """Different specs, rendered, after a first one."""
    import skyvypack

    spec = skyvypack.loads("name: web\nversion: '1.0'\nroles: [base, ssh]\n")
    specs = [replace(spec, name=f"web-{number}") for number in range(count)]
    skyvypack.render(spec, "qemu", "1.6.6")
    seconds = cpu(lambda: [skyvypack.render(one, "qemu", "1.6.6") for one in specs])
    return Figure(f"{count} specs rendered", round(count / seconds), "per s CPU", 200, least=True)


def emitter() -> Figure:
    """Our emitter and python-hcl2's, of the same document."""
    import hcl2
    from target_cases import CASES

    from skyvypack import targets
    from skyvypack.dialect import named

    case = CASES["proxmox-iso"]
    document = targets.source(case.target).document(case.spec, named("1.6.6"))
    content = hcl2.loads(document.render())
    hcl2.dumps(content)
    theirs = cpu(lambda: [hcl2.dumps(content) for _ in range(20)]) / 20
    ours = cpu(lambda: [document.render() for _ in range(200)]) / 200
    return Figure("python-hcl2's dumps / our emitter", round(theirs / ours, 1), "times", 5, least=True)


def memory(count: int) -> Figure:
    """How much the process grows between the first tenth of many renders and the last."""
    from target_cases import PLAIN

    from skyvypack.render import render

    def some(first: int, last: int) -> int:
        for number in range(first, last):
            render(replace(PLAIN, name=f"web-{number}"))
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    early = some(0, count // 10)
    return Figure(f"growth over {count} renders", round((some(count // 10, count) - early) / 1024, 1), "MiB", 8)


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--specs", type=int, default=1000, help="how many specs to render")
    parser.add_argument("--renders", type=int, default=10000, help="how many renders to look at memory for")
    given = parser.parse_args()
    sys.path.insert(0, str(ROOT / "tests"))
    figures = [builders(), rate(given.specs), emitter(), memory(given.renders)]
    if given.json:
        print(json.dumps([asdict(figure) | {"kept": figure.kept} for figure in figures]))
    else:
        for figure in figures:
            limit = f"{'at least' if figure.least else 'at most'} {figure.limit:g}"
            print(
                f"{figure.what:36} {figure.value:>9g} {figure.unit:10} {limit:13} {'ok' if figure.kept else 'not kept'}"
            )
    return 0 if all(figure.kept for figure in figures) else 1


if __name__ == "__main__":
    sys.exit(main())
