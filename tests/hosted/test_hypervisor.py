"""The guests that simulated platforms host."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from simulators import hypervisor
from simulators.hypervisor import Guest, Hardware

from skyvypack import disk

# Boot sector that finds the second sector empty: mark it and reset (port 0xCF9); marked: switch off by ACPI (0x604).
_RESETS_ONCE = bytes.fromhex(
    "31c0 8ed8 8ec0 bb007e b80102 b90200 b600 cd13 803e007e00 7516"
    "c606007e01 b80103 b90200 cd13 baf90c b006 ee f4 ebfd"
    "ba0406 b80020 ef f4 ebfd"
)
_HANGS = bytes.fromhex("f4 ebfd")
pytestmark = pytest.mark.tool


def booted(sector: bytes, folder: Path) -> Guest:
    """A guest that runs what is in the boot sector of its disk."""
    raw = folder / "disk.raw"
    raw.write_bytes(sector.ljust(510, b"\0") + b"\x55\xaa" + bytes((1 << 20) - 512))
    disk.convert(raw, folder / "disk.qcow2", "qcow2")
    return Guest(folder / "disk.qcow2", None, Hardware("52:54:00:00:00:77"), folder / "guest")


def test_a_reset_is_no_power_off(network: Path, tmp_path: Path) -> None:
    """A guest that resets itself runs on, with its disk; one that switches itself off has ended."""
    guest = booted(_RESETS_ONCE, tmp_path)
    deadline = time.monotonic() + 120
    while guest.runs and time.monotonic() < deadline:
        time.sleep(0.1)
    ended = not guest.runs
    guest.stop()
    assert ended
    assert guest.resets == 1


def test_a_panic_is_noticed(network: Path, tmp_path: Path) -> None:
    """Whoever waits for what a guest shall do is told when it cannot do it any more, until it is stopped."""
    guest = booted(_HANGS, tmp_path)
    hypervisor.check()
    with (tmp_path / "guest/console.log").open("a") as console:
        console.write("[    6.595715] Kernel panic - not syncing: Fatal exception in interrupt\n")
    with pytest.raises(RuntimeError, match="panicked"):
        hypervisor.check()
    assert guest.runs
    guest.stop()
    assert not guest.runs
    hypervisor.check()
