"""How fast and how small: a cold, a warm and a needless bake, and the plain way to the same template, in one run.

Prints a table, or JSON with ``--json``; progress goes to standard error. Exits with 1 when a part failed or a limit
is passed. README.md says what each figure is. It needs what a bake needs, and an hour without KVM.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import plain

import skyvypack
from skyvypack.errors import SkyvypackError
from skyvypack.progress import Event
from skyvypack.spec.model import Spec

SPEC = Path(__file__).resolve().parent.parent / "examples" / "server-debian.yaml"
# The project's promises: without KVM, on two CPUs, for the default spec.
MOST = {"cold bake": 420.0, "warm bake": 150.0, "nothing changed": 2.0, "peak memory, MB": 200.0, "qcow2, MB": 800.0}
RATIO = "plain way / cold bake"
LEAST_RATIO = 3.0
# Packer's phases as `timings` calls them, in their order.
PHASES = ("boot", "configure", "seal", "compact")
FEW = """\
name: benchmark
version: 1.0.0
roles: [base, network, ssh]
packages: [{packages}]
"""
MB = 1_000_000


@dataclass(slots=True)
class Bake:
    """One run of ``skyvypack bake``, a process of its own.

    Args:
        seconds: from its start to its end.
        proof: of them, for booting clones and running the contract.
        stages: seconds of each stage.
        phases: of stage ``packer``, seconds of each part.
        peak: bytes of memory that the process itself held at most.
        size: bytes of the qcow2.
        error: why it failed; empty when it did not.
    """

    seconds: float = 0.0
    proof: float = 0.0
    stages: dict[str, float] = field(default_factory=dict)
    phases: dict[str, float] = field(default_factory=dict)
    peak: int = 0
    size: int = 0
    error: str = ""

    @property
    def unproven(self) -> float:
        """Seconds without verification."""
        return self.seconds - self.proof


def say(text: str) -> None:
    print(f"[{time.strftime('%H:%M:%S')}] {text}", file=sys.stderr, flush=True)


@contextlib.contextmanager
def running(argv: list[str], out: Path, err: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process that does not outlive the block; it is asked to stop, and waited for until it has tidied up."""
    with out.open("wb") as stdout, err.open("wb") as stderr:
        process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr)
        try:
            yield process
        finally:
            if process.poll() is None:
                process.terminate()
                process.wait()


def peak(pid: int) -> int:
    """The most memory, in bytes, that a process has held so far; its children are not counted."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return 0


def bake(spec: Path, folder: Path, *flags: str, needless: bool = False) -> Bake:
    """Run ``skyvypack bake`` with the cache and the output in a folder; `needless` when nothing has changed."""
    out, err = folder / "result.json", folder / "events.jsonl"
    argv = [sys.executable, "-m", "skyvypack", "bake", "--json", "--spec", str(spec), *flags]
    argv += ["--cache", str(folder / "cache"), "--output", str(folder / "output")]
    most = 0
    began = time.monotonic()
    with running(argv, out, err) as process:
        while process.poll() is None:
            most = max(most, peak(process.pid))
            time.sleep(0.02)
    seconds = time.monotonic() - began
    found = read_events(err.read_text(errors="replace"))
    found.seconds, found.peak = round(seconds, 2), most
    result = out.read_text(errors="replace")
    if process.returncode:
        found.error = f"exit code {process.returncode}: {result.strip() or err.read_text(errors='replace')[-2000:]}"
        return found
    told = json.loads(result)
    found.phases = {name: told["timings"][name] for name in PHASES if name in told["timings"]}
    found.size = next(file["size"] for file in told["artifact"]["files"] if file["format"] == "qcow2")
    if told["unchanged"] != needless:
        found.error = "it baked although nothing had changed" if needless else "it did not bake"
    return found


def read_events(lines: str) -> Bake:
    """Stages from the JSON lines of a bake; those of verification overlap, so only their whole is taken."""
    found = Bake()
    proving: list[float] = []
    for line in lines.splitlines():
        with contextlib.suppress(ValueError):
            event = json.loads(line)
            if event["stage"].startswith("verify"):
                proving.append(event["elapsed"])
            elif event["kind"] == "end":
                found.stages[event["stage"]] = event["seconds"]
    if proving:
        found.proof = round(proving[-1] - proving[0], 2)
    return found


def told(event: Event) -> None:
    if event.kind in ("begin", "end", "fail"):
        say(f"  {event.stage}: {event.kind}")


@dataclass(slots=True)
class Figures:
    """All that was measured; None for what was left out."""

    cold: Bake = field(default_factory=Bake)
    warm: Bake | None = None
    unchanged: Bake | None = None
    plain: plain.Plain | None = None
    plain_error: str = ""

    @property
    def ratio(self) -> float | None:
        """How much longer the plain way takes: Packer alone against our whole bake, both unproven."""
        return round(self.plain.build / self.cold.unproven, 2) if self.plain and not self.broken else None

    @property
    def broken(self) -> bool:
        """Whether the cold bake failed before it had a disk."""
        return "formats" not in self.cold.stages

    @property
    def errors(self) -> list[str]:
        bakes = {"cold bake": self.cold, "warm bake": self.warm, "nothing changed": self.unchanged}
        found = [f"{name}: {one.error}" for name, one in bakes.items() if one and one.error]
        return found + ([f"plain way: {self.plain_error}"] if self.plain_error else [])


def measure(found: Figures, file: Path, spec: Spec, folder: Path, options: argparse.Namespace) -> None:
    """Measure what the options leave; what is done stays in `found` when this is interrupted."""
    say("cold bake: empty cache")
    found.cold = bake(file, folder, *(["--no-verify"] if options.no_verify else []))
    if not options.no_warm and not found.broken:
        say("warm bake: the layer is cached")
        found.warm = bake(file, folder, "--no-verify", "--force")
        say("nothing changed")
        found.unchanged = bake(file, folder, "--no-verify", needless=True) if not found.warm.error else None
    if not options.no_plain:
        say("plain way: Packer, and cloud-init installs in the guest")
        try:
            found.plain = plain.bake(spec, folder / "plain", told)
        except SkyvypackError as error:
            found.plain_error = f"{error.message} ({error.hint})" if error.hint else error.message


def rows(found: Figures) -> Iterator[tuple[str, float | None]]:
    """Each figure with its name; seconds where nothing else is said."""
    cold, other = found.cold, found.plain
    yield "cold bake", None if found.broken else cold.unproven
    yield from parts(cold)
    if cold.proof:
        yield "verification", cold.proof
        yield "cold bake, verified", None if cold.error else cold.seconds
    if found.warm:
        yield "warm bake", None if found.warm.error else found.warm.unproven
        yield from parts(found.warm)
    if found.unchanged:
        yield "nothing changed", None if found.unchanged.error else found.unchanged.seconds
    if other:
        yield "plain way", other.build
        yield from (("    " + name, took) for name, took in other.phases.items())
        yield "  its layer, not counted", other.layer
        yield RATIO, found.ratio
        yield "plain way's qcow2, MB", other.size / MB
    yield "peak memory, MB", max(one.peak for one in (cold, found.warm, found.unchanged) if one) / MB or None
    yield "qcow2, MB", (cold.size or (found.warm.size if found.warm else 0)) / MB or None


def parts(one: Bake) -> Iterator[tuple[str, float | None]]:
    for stage, seconds in one.stages.items():
        yield f"  {stage}", seconds
        if stage == "packer":
            yield from ((f"    {phase}", took) for phase, took in one.phases.items())


def limit(name: str, value: float | None) -> tuple[str, str]:
    """A figure's limit, and whether it is kept: ``ok``, ``over`` or ``under``."""
    if value is not None and name in MOST:
        return f"≤ {MOST[name]:g}", "ok" if value <= MOST[name] else "over"
    if value is not None and name == RATIO:
        return f"≥ {LEAST_RATIO:g}", "ok" if value >= LEAST_RATIO else "under"
    return "", ""


def missed(found: Figures) -> list[str]:
    """Figures that do not keep their limits."""
    return [name for name, value in rows(found) if limit(name, value)[1] not in ("", "ok")]


def table(found: Figures, *, limits: bool) -> None:
    for name, value in rows(found):
        bound, verdict = limit(name, value) if limits else ("", "")
        shown = "–" if value is None else f"{value:.2f}" if value < 10 else f"{value:.0f}"
        print(f"{name:26} {shown:>9}  {bound:6} {verdict}".rstrip())


def document(found: Figures, conditions: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "conditions": dict(conditions),
        "figures": {name.strip(): value for name, value in rows(found) if not name.startswith(" ")},
        "stages": {"cold": found.cold.stages, "warm": found.warm.stages if found.warm else None},
        "phases": {
            "cold": found.cold.phases,
            "warm": found.warm.phases if found.warm else None,
            "plain": dict(found.plain.phases, layer=found.plain.layer) if found.plain else None,
        },
        "errors": found.errors,
    }


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--spec", type=Path, default=SPEC, help="what to bake (default: examples/server-debian.yaml)")
    what.add_argument("--packages", metavar="A,B", help="bake a small spec with these packages, to try the benchmark")
    parser.add_argument("--no-verify", action="store_true", help="leave out verification")
    parser.add_argument("--no-warm", action="store_true", help="leave out the warm and the needless bake")
    parser.add_argument("--no-plain", action="store_true", help="leave out the plain way")
    parser.add_argument("--json", action="store_true", help="print JSON")
    return parser.parse_args()


def main() -> int:
    options = arguments()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with TemporaryDirectory(prefix="skyvypack-benchmark-") as name:
        folder = Path(name)
        file = options.spec.resolve()
        if options.packages:
            file = folder / "few.yaml"
            file.write_text(FEW.format(packages=options.packages.replace(",", ", ")))
        try:
            spec = skyvypack.load(file)
        except SkyvypackError as problem:
            print(problem, file=sys.stderr)
            return int(problem.exit_code)
        if spec.base.kind != "bootstrap":
            print(f"{file} has base {spec.base.kind}: there is no layer to compare with", file=sys.stderr)
            return 2
        before = os.getloadavg()[0]
        found, interrupted = Figures(), False
        try:
            measure(found, file, spec, folder, options)
        except KeyboardInterrupt:
            interrupted = True
            say("interrupted: what follows was measured before")
    conditions = {"spec": str(file.name), "cpus": os.cpu_count(), "load before": round(before, 1)}
    over = missed(found) if file == SPEC else []
    if options.json:
        print(json.dumps(document(found, conditions) | {"missed": over}, indent=2))
    else:
        table(found, limits=file == SPEC)
        print("seconds, of " + ", ".join(f"{key} {value}" for key, value in conditions.items()))
    for error in found.errors:
        print(error, file=sys.stderr)
    return 130 if interrupted else int(bool(found.errors or over))


if __name__ == "__main__":
    sys.exit(main())
