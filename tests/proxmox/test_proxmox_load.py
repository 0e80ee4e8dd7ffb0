"""A disk of gigabytes goes up without filling this machine's memory."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from skyvypack.progress import Event, Progress
from skyvypack.registrar import Journal

pytest.importorskip("fakepve", reason="the simulated Proxmox VE is in the extra `dev`")

from adapter_proxmox import defaults
from pve import SECRET, TOKEN

from skyvypack.targets.proxmox.pve import volumes
from skyvypack.targets.proxmox.pve.api import Api

pytestmark = pytest.mark.load

GIB = 1024**3
SIZE = 4 * GIB
GROWTH = 64 * 1024**2


@pytest.fixture
def apart(tmp_path: Path) -> Iterator[dict[str, str]]:
    """A Proxmox VE in a process of its own, so that its memory is not ours."""
    script = Path(__file__).parent.parent / "simulators" / "pve.py"
    argv = [sys.executable, str(script), str(tmp_path)]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as served:
        assert served.stdout is not None
        assert served.stdin is not None
        yield json.loads(served.stdout.readline())
        served.stdin.close()


def resident() -> int:
    """Bytes of memory that this process holds now."""
    found = re.search(r"VmRSS:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found
    return int(found[1]) * 1024


class Peak:
    """The most memory this process held while the block was open."""

    def __enter__(self) -> Peak:
        self.first = self.most = resident()
        self._open = True
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._open = False
        self._thread.join()

    def _watch(self) -> None:
        while self._open:
            self.most = max(self.most, resident())
            time.sleep(0.02)


def test_memory_stays_flat(apart: Any, tmp_path: Path, monkeypatch: Any, record_property: Any) -> None:
    """4 GiB, all of a sparse disk, arrive with their checksum while this process grows by less than 64 MB."""
    monkeypatch.setenv("PROXMOX_TOKEN", SECRET)
    path = tmp_path / "disk.qcow2"
    with path.open("wb") as file:
        file.truncate(SIZE)
    settings = defaults() | {"url": apart["url"], "ca_file": apart["ca_file"], "username": TOKEN}
    seen: list[Event] = []
    api = Api(settings, Progress(seen.append))
    api.reach()
    digest = subprocess.run(["sha256sum", path], capture_output=True, text=True, check=True).stdout.split()[0]
    upload = volumes.Upload(path, "web-1.0.0.qcow2", "import", digest)
    began = time.monotonic()
    with Journal("proxmox").run(settings, "load", lambda entry: None, Progress()) as run, Peak() as peak:
        _, volume = volumes.send(api, "pve1", "local", upload, run, "upload")
        run.finish()
    seconds = time.monotonic() - began
    api.close()
    grown = peak.most - peak.first
    record_property("growth in MB", round(grown / 1e6, 1))
    record_property("MB/s", round(SIZE / seconds / 1e6))
    sys.stdout.write(f"4 GiB in {seconds:.0f} s ({SIZE / seconds / 1e6:.0f} MB/s), grew by {grown / 1e6:.1f} MB\n")
    assert volume == "local:import/web-1.0.0.qcow2"
    assert grown < GROWTH
    fractions = [event.fraction for event in seen if event.kind == "advance" and event.fraction is not None]
    assert fractions == sorted(fractions)
    assert len(fractions) >= 90
