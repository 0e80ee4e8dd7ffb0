"""A disk of ordinary size through the upload: memory stays small, zeroes stay at home, every byte arrives."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest
from aws.conftest import HOME
from simulators import moto_aws

from skyvypack.progress import Progress
from skyvypack.targets.aws.ec2 import region as calls
from skyvypack.targets.aws.ec2 import snapshots
from skyvypack.targets.aws.ec2.blocks import BLOCK
from skyvypack.targets.aws.ec2.region import Region
from skyvypack.targets.aws.ec2.upload import Uploaded

GIB = 1 << 30
DATA = 3 * GIB // 2
RUN = 48 * BLOCK
MEMORY = 256 << 20

UPLOAD = """
import json, resource, sys
from pathlib import Path
from skyvypack.progress import Progress
from skyvypack.targets.aws.ec2 import region, upload
url, snapshot, path, ledger = sys.argv[1:]
place = region.connect(dict(profile="", role_arn="", region={home!r}, endpoint=url), Progress())
place.client("ebs")
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
with upload.RawDisk(Path(path)) as disk, upload.Ledger(Path(ledger)) as ledger:
    sent = upload.upload(place, snapshot, disk, ledger, Progress())
grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
print(json.dumps(dict(blocks=sent.blocks, zero=sent.zero, checksum=sent.checksum, grown=grown * 1024)))
"""


@pytest.fixture
def region() -> Iterator[Region]:
    """moto in a process of its own, so that what it keeps is not our memory."""
    argv = [sys.executable, str(Path(moto_aws.__file__))]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdin is not None
        assert server.stdout is not None
        url = server.stdout.readline().strip()
        yield calls.connect({"profile": "", "role_arn": "", "region": HOME, "endpoint": url}, Progress())
        server.stdin.close()


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """10 GiB, of which every 7th stretch of 24 MiB is data; each block differs from every other, and 64 are zeroes."""
    path = tmp_path / "disk.raw"
    noise = bytearray(os.urandom(BLOCK))
    with path.open("wb") as handle:
        handle.truncate(10 * GIB)
        for number in range(DATA // BLOCK):
            noise[:8] = number.to_bytes(8, "big", signed=False)[::-1]
            noise[8] = 1
            handle.seek((number // 48 * 6) * RUN + number % 48 * BLOCK)
            handle.write(noise)
        for number in range(64):
            handle.seek(10 * GIB - (number + 1) * BLOCK)
            handle.write(bytes(BLOCK))
    yield path
    path.unlink()


@pytest.mark.load
def test_ten_gibibytes_in_little_memory(region: Region, disk: Path, tmp_path: Path) -> None:
    """10 GiB with 1.5 GiB of data: under 256 MB of memory more, no block of zeroes sent, and every byte arrives."""
    snapshot = region.call("ebs", "start_snapshot", VolumeSize=10)["SnapshotId"]
    script = textwrap.dedent(UPLOAD).format(home=HOME)
    argv = [sys.executable, "-c", script, region.endpoint, snapshot, str(disk), str(tmp_path / "ledger")]
    done = json.loads(subprocess.run(argv, check=True, capture_output=True, text=True).stdout)
    assert (done["blocks"], done["zero"]) == (DATA // BLOCK, 64)
    assert done["grown"] < MEMORY, f"grew by {done['grown'] / 1e6:.0f} MB"
    snapshots.complete(region, snapshot, Uploaded(done["blocks"], done["blocks"], 0, done["checksum"]))
    seen = 0
    with disk.open("rb") as handle:
        for block in region.pages("ebs", "list_snapshot_blocks", "Blocks", SnapshotId=snapshot, MaxResults=10_000):
            index, token = block["BlockIndex"], block["BlockToken"]
            got = region.call("ebs", "get_snapshot_block", SnapshotId=snapshot, BlockIndex=index, BlockToken=token)
            handle.seek(index * BLOCK)
            data = got["BlockData"].read()
            assert data == handle.read(BLOCK), f"block {index} differs"
            assert any(data[:16])
            seen += 1
    assert seen == DATA // BLOCK
