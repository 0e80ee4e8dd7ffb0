"""How fast an OVA gets into vCenter, beside `govc import.ova`, against the same vcsim in one run.

Each import is a process of its own, from its start to its end; a small disk shows what starting costs, a large one how
fast bytes go. Prints a table, or JSON with ``--json``; exits with 1 when ours is slower with the largest disk.
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
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from simulators import disks, vcsim  # noqa: E402
from simulators.certificates import Authority  # noqa: E402

from skyvypack import artifact, disk, ova  # noqa: E402
from skyvypack.spec import loads  # noqa: E402
from skyvypack.spec.model import Spec  # noqa: E402

# Within this of each other, two medians are the same on a machine that is shared.
NOISE = 1.05
OURS = """
import sys
from pathlib import Path
from skyvypack import registrar, spec
registrar.register(spec.load(sys.argv[1]), "vsphere", Path(sys.argv[2]), wishes=registrar.Wishes(verify=False))
"""
SPEC = """name: web
version: 1.0.{number}
roles: [base]
targets:
  vsphere:
    {{server: "{host}", username: {user}, ca_file: "{authority}", cluster: DC0_C0, datastore: LocalDS_0,
     network: VM Network}}
"""


def prepare(folder: Path, number: int, server: vcsim.Server, source: Path) -> tuple[Path, Path, Spec]:
    """A spec file and an artifact of the disk; each import has a version of its own."""
    file = folder / f"{number}.yaml"
    file.write_text(SPEC.format(number=number, host=server.host, user=server.user, authority=server.authority))
    spec = loads(file.read_text())
    home = folder / f"artifact-{number}"
    home.mkdir()
    packed = home / f"web-{spec.version}.ova"
    ova.write(source, packed, spec)
    described = artifact.DiskFile(packed, "ova", packed.stat().st_size, disk.sha256(packed))
    nothing: dict[str, dict[str, str]] = {"inputs": {}, "tools": {}, "accelerator": {}}
    artifact.write_manifest(home, [described], spec, "vsphere", packages=(), timings={}, checks=[], **nothing)
    return file, home, spec


def timed(argv: list[str | Path], environment: dict[str, str]) -> float:
    """Seconds of one process."""
    began = time.monotonic()
    subprocess.run(argv, env=os.environ | environment, check=True, stdout=subprocess.DEVNULL)
    return time.monotonic() - began


def measure(size: int, runs: int) -> dict[str, list[float]]:
    """Seconds of each import, in turns, by who made it."""
    found: dict[str, list[float]] = {"skyvypack register": [], "govc import.ova": []}
    with TemporaryDirectory() as name:
        folder = Path(name)
        source = folder / "disk.vmdk"
        source.write_bytes(disks.vmdk(os.urandom(size), capacity=2 * size))
        with vcsim.running(Authority(folder), "-ds=1") as server:
            ours = {"VSPHERE_PASSWORD": server.password, "SKYVYPACK_STATE": str(folder / "state")}
            for number in range(runs):
                file, home, spec = prepare(folder, number, server, source)
                found["skyvypack register"].append(timed([sys.executable, "-c", OURS, file, home], ours))
                packed = home / f"web-{spec.version}.ova"
                # Ours is held to the OVA's digest; govc's -m does not know SHA-256 of a vcsim.
                govc = [vcsim.program("govc"), "import.ova", "-ds=LocalDS_0", "-pool=DC0_C0/Resources"]
                found["govc import.ova"].append(timed([*govc, f"-name=govc-{number}", packed], server.environment))
                packed.unlink()
    return found


def main() -> int:
    """Measure and print; returns an exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[64, 2048], help="MiB of each disk")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    found = {size: measure(size << 20, given.runs) for size in sorted(given.sizes)}
    ratios = {size: ratio(seconds) for size, seconds in found.items()}
    ok = ratios[max(ratios)] <= NOISE
    if given.json:
        print(json.dumps({"seconds": found, "ratios": ratios, "ok": ok}, indent=2))
    else:
        for size, runs in found.items():
            for who, seconds in runs.items():
                median = statistics.median(seconds)
                told = f"median {median:6.2f} s  least {min(seconds):6.2f} s  {size / median:6.0f} MiB/s"
                print(f"{size:5} MiB  {who:18}  {told}")
            print(f"{size:5} MiB  ours takes {ratios[size]:.2f} times as long as govc")
        if len(found) > 1:
            print(f"without what starting costs, a further byte takes {further(found):.2f} times as long")
        print("ok" if ok else "slower than govc")
    return 0 if ok else 1


def ratio(seconds: dict[str, list[float]]) -> float:
    """How many times as long as govc ours takes, by the medians."""
    medians = {who: statistics.median(runs) for who, runs in seconds.items()}
    return medians["skyvypack register"] / medians["govc import.ova"]


def further(found: dict[int, dict[str, list[float]]]) -> float:
    """The ratio of what the largest disk takes more than the smallest, by the least of each: what others do adds."""
    small, large = found[min(found)], found[max(found)]
    more = {who: min(large[who]) - min(small[who]) for who in large}
    return more["skyvypack register"] / more["govc import.ova"]


if __name__ == "__main__":
    sys.exit(main())
