"""How fast a disk gets into an EBS snapshot: our upload and the plain serial loop, in one run against moto.

Prints a table, or JSON with ``--json``: MB/s, CPU seconds per GB and the share of that CPU which is spent in our own
modules (the rest is botocore, urllib3, hashing and the kernel), without latency and with that of a real line. Exits
with 1 when ours is not faster where there is latency. moto runs in a process of its own and needs CPU too, so without
latency it is what is measured.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import cProfile
import hashlib
import json
import os
import pstats
import resource
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import skyvypack
from skyvypack.progress import Progress
from skyvypack.targets.aws.ec2.blocks import BLOCK, RawDisk
from skyvypack.targets.aws.ec2.ledger import Ledger
from skyvypack.targets.aws.ec2.region import Region, connect
from skyvypack.targets.aws.ec2.upload import upload

ROOT = Path(__file__).resolve().parent.parent
SERVER = ROOT / "tests" / "simulators" / "moto_aws.py"
OURS = str(Path(skyvypack.__file__).parent)


@dataclass(frozen=True, slots=True)
class Figure:
    """One upload; MB are of data, without zeroes."""

    what: str
    latency_ms: int
    seconds: float
    mb_per_s: float
    cpu_s_per_gb: float


@contextlib.contextmanager
def served(latency: float) -> Iterator[Region]:
    argv = [sys.executable, str(SERVER), str(latency)]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdin is not None
        assert server.stdout is not None
        url = server.stdout.readline().strip()
        settings = {"profile": "", "role_arn": "", "region": "eu-central-1", "endpoint": url}
        yield connect(settings, Progress())
        server.stdin.close()


def write_disk(path: Path, megabytes: int) -> int:
    """A disk five times as large as its data, which comes in stretches of 8 MiB; returns the bytes of data."""
    noise = bytearray(os.urandom(BLOCK))
    blocks = megabytes * 1_000_000 // BLOCK
    with path.open("wb") as handle:
        handle.truncate(blocks * BLOCK * 5)
        for number in range(blocks):
            noise[:8] = (number + 1).to_bytes(8, "big")
            handle.seek((number // 16 * 80 + number % 16) * BLOCK)
            handle.write(noise)
    return blocks * BLOCK


def ours(region: Region, snapshot: str, path: Path) -> None:
    with RawDisk(path) as disk, Ledger(path.with_name(snapshot)) as ledger:
        upload(region, snapshot, disk, ledger, Progress())


def plain(region: Region, snapshot: str, path: Path) -> None:
    """What one writes first: read block after block, leave out what is empty, send the others."""
    ebs = region.client("ebs")
    with path.open("rb") as handle:
        for index in range(path.stat().st_size // BLOCK):
            data = handle.read(BLOCK)
            if any(data):
                checksum = base64.b64encode(hashlib.sha256(data).digest()).decode()
                ebs.put_snapshot_block(
                    SnapshotId=snapshot,
                    BlockIndex=index,
                    BlockData=data,
                    DataLength=BLOCK,
                    Checksum=checksum,
                    ChecksumAlgorithm="SHA256",
                )


def measure(what: str, way: Callable[[Region, str, Path], None], path: Path, size: int, latency: float) -> Figure:
    with served(latency) as region:
        snapshot = region.call("ebs", "start_snapshot", VolumeSize=10)["SnapshotId"]
        before, began = resource.getrusage(resource.RUSAGE_SELF), time.monotonic()
        way(region, snapshot, path)
        seconds, after = time.monotonic() - began, resource.getrusage(resource.RUSAGE_SELF)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    megabytes = size / 1e6
    return Figure(
        what, round(latency * 1000), round(seconds, 2), round(megabytes / seconds, 1), round(cpu / megabytes * 1000, 2)
    )


def own_share(path: Path) -> float:
    """Of the CPU time of all threads, the part that passes in our own modules' own lines, in per cent."""
    profiles: list[cProfile.Profile] = []
    run = threading.Thread.run

    def profiled(thread: threading.Thread) -> None:
        profile = cProfile.Profile(time.thread_time)
        profiles.append(profile)
        profile.runcall(run, thread)

    threading.Thread.run = profiled  # type: ignore[method-assign]
    try:
        with served(0.0) as region:
            snapshot = region.call("ebs", "start_snapshot", VolumeSize=10)["SnapshotId"]
            main = cProfile.Profile(time.thread_time)
            main.runcall(ours, region, snapshot, path)
    finally:
        threading.Thread.run = run  # type: ignore[method-assign]
    times: dict[bool, float] = {True: 0.0, False: 0.0}
    for profile in [main, *profiles]:
        stats: Any = pstats.Stats(profile)
        for (file, _line, _name), (_calls, _all, own, _total, _callers) in stats.stats.items():
            times[file.startswith(OURS)] += own
    return 100 * times[True] / (times[True] + times[False])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=int, default=256, help="of data (default: 256)")
    parser.add_argument("--latency", type=float, default=0.1, help="of a real request, in seconds (default: 0.1)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args()
    os.environ |= {"AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x", "AWS_EC2_METADATA_DISABLED": "true"}
    with TemporaryDirectory() as scratch:
        path = Path(scratch) / "disk.raw"
        size = write_disk(path, options.megabytes)
        figures = [
            measure(what, way, path, size, latency)
            for latency in (0.0, options.latency)
            for what, way in (("ours", ours), ("plain loop", plain))
        ]
        share = own_share(path)
    ratio = figures[2].mb_per_s / figures[3].mb_per_s
    if options.json:
        rows = [asdict(figure) for figure in figures]
        print(json.dumps({"figures": rows, "ratio": round(ratio, 2), "own_share_percent": round(share, 1)}, indent=2))
    else:
        print(f"{'way':12} {'latency':>8} {'seconds':>8} {'MB/s':>7} {'CPU s/GB':>9}")
        for one in figures:
            print(f"{one.what:12} {one.latency_ms:5} ms {one.seconds:8.2f} {one.mb_per_s:7.1f} {one.cpu_s_per_gb:9.2f}")
        print(f"ours / plain loop at {options.latency * 1000:.0f} ms: {ratio:.1f} times as fast")
        print(f"of our CPU time, {share:.1f} % is spent in our own code")
    return int(ratio <= 1)


if __name__ == "__main__":
    sys.exit(main())
