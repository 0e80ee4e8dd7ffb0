"""How fast an OVA gets into vCenter, beside `govc import.ova`, against the same vcsim in one run.

Ours is measured twice: as a process of its own, as govc is, and as a call in a process that has registered before, as a
script that deploys several templates makes it. A small disk shows what is done beside sending bytes, a large one how
fast bytes go. Prints a table, or JSON with ``--json``; exits with 1 when the call is slower with the largest disk.
README.md says how to read it.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from simulators import disks, vcsim  # noqa: E402
from simulators.certificates import Authority  # noqa: E402

from skyvypack import artifact, disk, ova  # noqa: E402
from skyvypack.spec import loads  # noqa: E402

# Within this of each other, two medians are the same on a machine that is shared.
NOISE = 1.05
GOVC, PROCESS, CALL, STEP = "govc import.ova", "our process", "our call", "  its import"
# Registers each artifact that it is told of; says what the call took, and what of it the import and the marks.
OURS = """
import sys, time
from pathlib import Path
from skyvypack import registrar, spec
for line in sys.stdin:
    file, folder = line.split()
    began = time.monotonic()
    wishes = registrar.Wishes(verify=False)
    done = registrar.register(spec.load(file), "vsphere", Path(folder), wishes=wishes)
    print(time.monotonic() - began, done.timings["register"], flush=True)
"""
SPEC = """name: web
version: 1.0.{number}
roles: [base]
targets:
  vsphere:
    {{server: "{host}", username: {user}, ca_file: "{authority}", cluster: DC0_C0, datastore: LocalDS_0,
     network: VM Network}}
"""


@dataclass
class Shop:
    """A disk in as many artifacts as are asked for, each of a version of its own.

    Args:
        folder: for all of them.
        server: that the specs name.
        ova: the disk.
        digest: of the OVA.
    """

    folder: Path
    server: vcsim.Server
    ova: Path
    digest: str
    numbers: Iterator[int] = field(default_factory=count)

    def artifact(self) -> tuple[Path, Path]:
        """A spec file and the folder of its artifact."""
        number = next(self.numbers)
        file = self.folder / f"{number}.yaml"
        server = self.server
        file.write_text(SPEC.format(number=number, host=server.host, user=server.user, authority=server.authority))
        spec = loads(file.read_text())
        home = self.folder / f"artifact-{number}"
        home.mkdir()
        packed = home / f"web-{spec.version}.ova"
        packed.hardlink_to(self.ova)
        described = artifact.DiskFile(packed, "ova", packed.stat().st_size, self.digest)
        nothing: dict[str, dict[str, str]] = {"inputs": {}, "tools": {}, "accelerator": {}}
        artifact.write_manifest(home, [described], spec, "vsphere", packages=(), timings={}, checks=[], **nothing)
        return file, home


def shop(folder: Path, server: vcsim.Server, size: int) -> Shop:
    """A shop for a disk of random bytes.

    Args:
        folder: an empty one.
        server: that the specs name.
        size: of the disk, in bytes.
    """
    source, packed = folder / "disk.vmdk", folder / "disk.ova"
    source.write_bytes(disks.vmdk(os.urandom(size), capacity=2 * size))
    ova.write(source, packed, loads("name: web\nversion: 1.0.0\nroles: [base]\n"))
    source.unlink()
    return Shop(folder, server, packed, disk.sha256(packed))


@contextmanager
def ours(environment: dict[str, str]) -> Iterator[subprocess.Popen[str]]:
    """A process that registers what it is told."""
    argv, pipe = [sys.executable, "-c", OURS], subprocess.PIPE
    with subprocess.Popen(argv, env=os.environ | environment, stdin=pipe, stdout=pipe, text=True) as process:
        yield process


def told(process: subprocess.Popen[str], made: tuple[Path, Path]) -> tuple[float, float]:
    """Seconds of one registration, and of its import."""
    assert process.stdin is not None
    assert process.stdout is not None
    print(*made, file=process.stdin, flush=True)
    whole, step = map(float, process.stdout.readline().split())
    return whole, step


def measure(size: int, runs: int) -> dict[str, list[float]]:
    """Seconds of each import, in turns, by who made it."""
    found: dict[str, list[float]] = {GOVC: [], PROCESS: [], CALL: [], STEP: []}
    with TemporaryDirectory() as name, vcsim.running(Authority(Path(name)), "-ds=1") as server:
        environment = {"VSPHERE_PASSWORD": server.password, "SKYVYPACK_STATE": str(Path(name) / "state")}
        made = shop(Path(name), server, size)
        with ours(environment) as warm:
            told(warm, made.artifact())
            for number in range(runs):
                whole, step = told(warm, made.artifact())
                found[CALL].append(whole)
                found[STEP].append(step)
                # Ours is held to the OVA's digest; govc's -m does not know SHA-256 of a vcsim.
                govc = [vcsim.program("govc"), "import.ova", "-ds=LocalDS_0", "-pool=DC0_C0/Resources"]
                argv = [*govc, f"-name=govc-{number}", made.ova]
                began = time.monotonic()
                subprocess.run(argv, env=os.environ | server.environment, check=True, stdout=subprocess.DEVNULL)
                found[GOVC].append(time.monotonic() - began)
                one = made.artifact()
                began = time.monotonic()
                with ours(environment) as cold:
                    told(cold, one)
                found[PROCESS].append(time.monotonic() - began)
    return found


def main() -> int:
    """Measure and print; returns an exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[64, 1024], help="MiB of each disk")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    found = {size: measure(size << 20, given.runs) for size in sorted(given.sizes)}
    ratios = {size: {who: ratio(seconds, who) for who in seconds} for size, seconds in found.items()}
    ok = ratios[max(ratios)][CALL] <= NOISE
    if given.json:
        print(json.dumps({"seconds": found, "ratios": ratios, "ok": ok}, indent=2))
        return 0 if ok else 1
    for size, runs in found.items():
        for who, seconds in runs.items():
            median = statistics.median(seconds)
            speed = f"median {median:6.2f} s  least {min(seconds):6.2f} s  {size / median:6.0f} MiB/s"
            print(f"{size:5} MiB  {who:15}  {speed}  {ratios[size][who]:.2f} times govc's")
    if len(found) > 1:
        print(f"without what is done beside it, a further byte takes {further(found):.2f} times as long")
    print(f"load {os.getloadavg()[0]:.1f} at the end; {os.cpu_count()} cores")
    print("ok" if ok else "slower than govc")
    return 0 if ok else 1


def ratio(seconds: dict[str, list[float]], who: str) -> float:
    """How many times as long as govc it takes, by the medians."""
    return statistics.median(seconds[who]) / statistics.median(seconds[GOVC])


def further(found: dict[int, dict[str, list[float]]]) -> float:
    """The ratio of what the largest disk takes more than the smallest, by the least of each: what others do adds."""
    small, large = found[min(found)], found[max(found)]
    more = {who: min(large[who]) - min(small[who]) for who in large}
    return more[CALL] / more[GOVC]


if __name__ == "__main__":
    sys.exit(main())
