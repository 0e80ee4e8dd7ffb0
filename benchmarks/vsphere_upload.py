"""How fast an OVA gets into vCenter, beside `govc import.ova`, against the same vcsim in one run.

Each row says what it verifies, as that is most of the difference. Ours is measured as a process of its own, as govc is;
as a call in a process that has registered before, as a script that deploys several templates makes it; and as the call
that follows a bake in the same process, as `bake --target vsphere` makes it. A small disk shows what is done beside
sending bytes, a large one how fast bytes go. Prints a table, or JSON with ``--json``; exits with 1 when ours is slower
with the largest disk than what does the same with govc. README.md says how to read it.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import os
import resource
import statistics
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, field
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from simulators import disks, vcsim  # noqa: E402
from simulators.certificates import Authority  # noqa: E402

from skyvypack import artifact, disk, ova  # noqa: E402
from skyvypack.spec import loads  # noqa: E402

# Within this of each other, two medians are the same on a machine that is shared.
NOISE = 1.05
GOVC, SERVER, DIGEST = "govc import.ova", "govc import.ova -m", "digest, then govc"
PROCESS, CALL, STEP, BAKED = "register, a process", "register, a call", "  its import", "call after a bake"
VERIFIES = {
    GOVC: "nothing",
    SERVER: "vcsim's SHA-1 of it",
    DIGEST: "its SHA-256",
    PROCESS: "its SHA-256",
    CALL: "its SHA-256",
    STEP: "its SHA-256",
    BAKED: "the bake has",
}
# What each of ours may not be slower than: who verifies as much.
PAIRS = {CALL: DIGEST, BAKED: GOVC}
# Registers each artifact that it is told of; says what the call took, and what of it the import and the marks.
OURS = """
import sys, time
from pathlib import Path
from skyvypack import disk, registrar, spec
for line in sys.stdin:
    file, folder, baked = line.split()
    if baked == "baked":
        read = spec.load(file)
        disk.sha256(next(Path(folder).glob("*.ova")))  # as the bake did for its manifest
    print("ready", flush=True)
    sys.stdin.readline()
    began = time.monotonic()
    if baked != "baked":
        read = spec.load(file)
    done = registrar.register(read, "vsphere", Path(folder), wishes=registrar.Wishes(verify=False))
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


def with_sha1(source: Path, destination: Path) -> Path:
    """An OVA whose manifest has SHA-1, the one digest that vcsim tells of what it got.

    Args:
        source: the OVA to take.
        destination: to make.
    """
    with tarfile.open(source) as old, tarfile.open(destination, "x", format=tarfile.USTAR_FORMAT) as new:
        members = old.getmembers()
        files = [member for member in members if not member.name.endswith(".mf")]
        lines = (
            f"SHA1({file.name})= {hashlib.file_digest(_member(old, file), 'sha1').hexdigest()}\n" for file in files
        )
        manifest = "".join(lines).encode()
        for member in members:
            if member in files:
                new.addfile(member, _member(old, member))
            else:
                member.size = len(manifest)
                new.addfile(member, io.BytesIO(manifest))
    return destination


def _member(archive: tarfile.TarFile, member: tarfile.TarInfo) -> IO[bytes]:
    found = archive.extractfile(member)
    assert found is not None
    return found


@dataclass(frozen=True)
class Turn:
    """What one import took.

    Args:
        seconds: from its beginning to its end.
        client: seconds of CPU of whoever sent.
        server: those of vcsim.
    """

    seconds: float
    client: float
    server: float


def cpu(pid: int) -> float:
    """Seconds of CPU that a running process has used."""
    times = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]
    return sum(map(int, times)) / os.sysconf("SC_CLK_TCK")


class Bench:
    """Imports, by each who is compared.

    Args:
        made: where artifacts come from.
        sha1: the same disk in an OVA whose manifest has SHA-1.
        environment: of our processes.
    """

    def __init__(self, made: Shop, sha1: Path, environment: dict[str, str]) -> None:
        self._made = made
        self._sha1 = sha1
        # Compiled modules are kept, as an installed package's are, whatever this process was told.
        kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
        self._environment = kept | {"PYTHONPYCACHEPREFIX": str(made.folder / "compiled")} | environment
        self._names = count()
        self.found: dict[str, list[Turn]] = {who: [] for who in VERIFIES}

    @contextmanager
    def ours(self) -> Iterator[subprocess.Popen[str]]:
        """A process that registers what it is told."""
        argv, pipe = [sys.executable, "-c", OURS], subprocess.PIPE
        with subprocess.Popen(argv, env=self._environment, stdin=pipe, stdout=pipe, text=True) as process:
            yield process

    @contextmanager
    def turn(self, who: str, pid: int = 0) -> Iterator[None]:
        """Measures the block.

        Args:
            who: it is a turn of.
            pid: of the process that works, when it neither begins nor ends here.
        """

        def used() -> float:
            mine = sum(sum(resource.getrusage(one)[:2]) for one in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
            return mine + (cpu(pid) if pid else 0.0)

        client, server, began = used(), cpu(self._made.server.pid), time.monotonic()
        yield
        seconds = time.monotonic() - began
        self.found[who].append(Turn(seconds, used() - client, cpu(self._made.server.pid) - server))

    def govc(self, *options: str, file: Path = Path()) -> None:
        """Import as govc does."""
        argv = [vcsim.program("govc"), "import.ova", "-ds=LocalDS_0", "-pool=DC0_C0/Resources", *options]
        environment = os.environ | self._made.server.environment
        whole = [*argv, f"-name=govc-{next(self._names)}", file]
        subprocess.run(whole, env=environment, check=True, stdout=subprocess.DEVNULL)

    def call(self, process: subprocess.Popen[str], who: str = "") -> None:
        """One registration by a process that runs.

        Args:
            process: that makes the call.
            who: it is a turn of; empty for a call that is not counted.
        """
        assert process.stdin is not None
        assert process.stdout is not None
        print(*self._made.artifact(), "baked" if who == BAKED else "found", file=process.stdin, flush=True)
        assert process.stdout.readline() == "ready\n"
        with self.turn(who, process.pid) if who else nullcontext():
            print(file=process.stdin, flush=True)
            _, step = map(float, process.stdout.readline().split())
        if who == CALL:
            self.found[STEP].append(Turn(step, 0.0, 0.0))

    def round(self, warm: subprocess.Popen[str]) -> None:
        """One turn of each."""
        self.call(warm, CALL)
        with self.turn(GOVC):
            self.govc(file=self._made.ova)
        self.call(warm, BAKED)
        with self.turn(SERVER):
            self.govc("-m", file=self._sha1)
        with self.turn(DIGEST):
            assert disk.sha256(self._made.ova) == self._made.digest
            self.govc(file=self._made.ova)
        with self.turn(PROCESS), self.ours() as cold:
            self.call(cold)


def measure(size: int, runs: int) -> dict[str, list[Turn]]:
    """What each import took, in turns, by who made it."""
    with TemporaryDirectory() as name, vcsim.running(Authority(Path(name)), "-ds=1") as server:
        made = shop(Path(name), server, size)
        sha1 = with_sha1(made.ova, Path(name) / "sha1.ova")
        environment = {"VSPHERE_PASSWORD": server.password, "SKYVYPACK_STATE": str(Path(name) / "state")}
        bench = Bench(made, sha1, environment)
        with bench.ours() as warm:
            bench.call(warm)
            for _ in range(runs):
                bench.round(warm)
        return bench.found


def main() -> int:
    """Measure and print; returns an exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[64, 1024], help="MiB of each disk")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    found = {size: measure(size << 20, given.runs) for size in sorted(given.sizes)}
    slower = [who for who, other in PAIRS.items() if ratio(found[max(found)], who, other) > NOISE]
    if given.json:
        told = {
            size: {who: [asdict(turn) for turn in turns] for who, turns in of.items()} for size, of in found.items()
        }
        print(json.dumps({"turns": told, "verifies": VERIFIES, "ok": not slower}, indent=2))
        return 1 if slower else 0
    for size, turns in found.items():
        table(size, turns)
    print(f"load {os.getloadavg()[0]:.1f} at the end; {os.cpu_count()} cores")
    print(f"slower than what verifies as much with govc: {', '.join(slower)}" if slower else "ok")
    return 1 if slower else 0


def table(size: int, found: dict[str, list[Turn]]) -> None:
    """Print what was found with one disk.

    Args:
        size: of the disk, in MiB.
        found: turns, by whose they are.
    """
    print(f"{size} MiB{'verifies':>23}{'median':>18}{'least':>9}{'CPU':>8}{'vcsim':>8}   times govc's")
    for who, turns in found.items():
        least = min(turn.seconds for turn in turns)
        used = "".join(f"{median(turns, key):6.2f} s" if who != STEP else " " * 8 for key in ("client", "server"))
        own = f"  {ratio(found, who, PAIRS[who]):.2f} of {PAIRS[who]}" if PAIRS.get(who, GOVC) != GOVC else ""
        line = f"{who:21}{VERIFIES[who]:21}{median(turns):6.2f} s{least:7.2f} s{used}{ratio(found, who, GOVC):8.2f}"
        print(line + own)


def median(turns: list[Turn], key: str = "seconds") -> float:
    """The median of one figure."""
    return statistics.median(getattr(turn, key) for turn in turns)


def ratio(found: dict[str, list[Turn]], who: str, other: str) -> float:
    """How many times as long as another it takes, by the medians."""
    return median(found[who]) / median(found[other])


if __name__ == "__main__":
    sys.exit(main())
