"""CPU time of `skyvypack lint` on 500 files, and of one large file, beside the project's limits.

Prints a table, or JSON with ``--json``; exits with 1 when a limit is passed. README.md says how to read it.
"""

from __future__ import annotations

import argparse
import json
import re
import resource
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).resolve().parent.parent
GOLDENS = ROOT / "tests" / "goldens"
FILES = 500
LARGE = 100
SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Figure:
    """CPU seconds, user and system, of one run; a limit of 0 is no limit."""

    what: str
    files: int
    lines: int
    seconds: float
    limit: float


def cpu(argv: Sequence[str]) -> float:
    """CPU seconds of one process; it may find something, but not fail otherwise."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    code = subprocess.run(argv, stdout=subprocess.DEVNULL).returncode
    if code > 1:
        raise SystemExit(f"{' '.join(argv)} ended with {code}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def texts() -> list[str]:
    """What `render` writes for each builder and setting, in today's dialect."""
    return [path.read_text(encoding="utf-8") for path in sorted(GOLDENS.glob("*-latest/*.pkr.hcl"))]


def many(folder: Path) -> int:
    """Write 500 files, each in a folder of its own; returns their lines."""
    written = 0
    for number in range(FILES):
        text = texts()[number % len(texts())]
        file = folder / f"{number}" / "template.pkr.hcl"
        file.parent.mkdir(parents=True)
        file.write_text(text, encoding="utf-8")
        written += text.count("\n")
    return written


def large(file: Path) -> int:
    """Write one file of a hundred templates with names of their own; returns its lines."""
    parts = []
    for number in range(LARGE):
        text = re.sub(r"\b(var|local)\.(\w)", rf"\1.t{number}_\2", texts()[number % len(texts())])
        text = re.sub(r'^variable "', f'variable "t{number}_', text, flags=re.MULTILINE)
        parts.append(re.sub(r'(^source "[\w-]+" ")', rf"\1t{number}_", text, flags=re.MULTILINE))
    file.parent.mkdir()
    file.write_text("\n".join(parts), encoding="utf-8")
    return "\n".join(parts).count("\n")


def figures() -> list[Figure]:
    """Measure, in fresh processes; the parser is in the cache after the first."""
    lint = [sys.executable, "-m", "skyvypack", "lint", "--packer", "latest", "--json"]
    with TemporaryDirectory(prefix="skyvypack-benchmark-") as name:
        folder = Path(name)
        lines = many(folder / "many"), large(folder / "large" / "template.pkr.hcl")
        one = folder / "many" / "0"
        cpu([*lint, str(one)])
        return [
            Figure("one file", 1, texts()[0].count("\n"), round(cpu([*lint, str(one)]), 2), 0),
            Figure("500 files", FILES, lines[0], round(cpu([*lint, str(folder / "many")]), 2), SECONDS),
            Figure("one large file", 1, lines[1], round(cpu([*lint, str(folder / "large")]), 2), 0),
        ]


def main() -> int:
    """Print the figures; 1 when a limit is passed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="print JSON")
    as_json = parser.parse_args().json
    found = figures()
    over = [one for one in found if one.limit and one.seconds > one.limit]
    if as_json:
        print(json.dumps([asdict(one) for one in found], indent=2))
    else:
        print(f"{'what':<16}{'files':>7}{'lines':>8}{'CPU s':>8}{'limit':>8}")
        for one in found:
            limit = f"≤ {one.limit:.0f}" if one.limit else ""
            print(f"{one.what:<16}{one.files:>7}{one.lines:>8}{one.seconds:>8.2f}{limit:>8}")
    return 1 if over else 0


if __name__ == "__main__":
    sys.exit(main())
