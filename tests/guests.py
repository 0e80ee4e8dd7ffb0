"""Bundles whose guest boots for real: a rendered one, with user-data and a kernel line of the test's own."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from skyvypack import packer, runs, seed
from skyvypack.accelerator import choose
from skyvypack.render import render
from skyvypack.spec import loads
from skyvypack.write import write

# cloud-init's default locale needs a program that the layer does not have; bakes have none either.
NOTHING = "#cloud-config\nlocale: false\n"
# Runs packer.build as the program does: SIGTERM becomes an error, so that everything begun is undone.
_CHILD = """
import json, signal, sys
from pathlib import Path
from skyvypack import packer, runs
from skyvypack.errors import Interrupted

def stop(*_):
    raise Interrupted("asked to stop")

signal.signal(signal.SIGTERM, stop)
settings = json.loads(sys.argv[1])
with runs.run_folder(Path(settings["cache"])) as run:
    Path(settings["mark"]).write_text(run.name)
    packer.build(Path(settings["folder"]), variables=settings["variables"], console=Path(settings["console"]),
                 scratch=run, scale=settings["scale"])
"""


def layer() -> Path:
    """The layer that boot tests start from; skips the test when there is none."""
    folder = os.environ.get("SKYVYPACK_TEST_LAYER")
    if not folder:
        pytest.skip("SKYVYPACK_TEST_LAYER names no folder of disk.qcow2, vmlinuz and initrd.img")
    return Path(folder)


@dataclass(frozen=True)
class Guest:
    """What `packer.build` needs, all below one folder."""

    folder: Path
    variables: dict[str, str]
    console: Path
    scale: float

    @property
    def output(self) -> Path:
        return Path(self.variables["output_directory"])

    def build(self, run: Path) -> None:
        packer.build(self.folder, variables=self.variables, console=self.console, scratch=run, scale=self.scale)


def make(where: Path, user_data: str = NOTHING, changes: Sequence[tuple[str, str]] = ()) -> Guest:
    """Write a bundle that boots the test's layer.

    Args:
        where: an empty folder.
        user_data: takes the rendered one's place.
        changes: pattern and replacement in the HCL text; each must match.
    """
    source = layer()
    bundle = render(loads("name: guest\nversion: 1.0.0\nroles: [base]\n"), "qemu", packer.installed())
    folder = write(bundle, where / "bundle")
    _, public = seed.keypair(folder / "build")
    access = (folder / "vendor-data.in").read_text().replace("@PUBLIC_KEY@", public)
    (folder / "build" / "vendor-data").write_text(access)
    (folder / "user-data").write_text(user_data)
    document = folder / "skyvyos.pkr.hcl"
    text = document.read_text()
    for pattern, replacement in changes:
        text, count = re.subn(pattern, replacement, text)
        assert count, f"{pattern} is not in the bundle"
    document.write_text(text)
    # Beside the tests' folders: one probe for all of them.
    accelerator = choose(source / "vmlinuz", cache=where.parent)
    variables = {
        "layer": str(source),
        "seed": str(folder / "build"),
        "output_directory": str(where / "output"),
        "accelerator": accelerator.name,
        "console": str(where / "console.log"),
        "compress": "false",
    }
    return Guest(folder, variables, where / "console.log", accelerator.scale)


def interrupt(guest: Guest, where: Path, number: signal.Signals, seen: str) -> tuple[subprocess.Popen[bytes], str]:
    """Build in a process of its own and send it a signal once the console shows a word; returns it and its run's id."""
    mark = where / "mark"
    settings = {
        "cache": str(where / "cache"),
        "mark": str(mark),
        "folder": str(guest.folder),
        "variables": guest.variables,
        "console": str(guest.console),
        "scale": guest.scale,
    }
    child = subprocess.Popen([sys.executable, "-c", _CHILD, json.dumps(settings)], stderr=subprocess.DEVNULL)
    wait_for(lambda: guest.console.is_file() and seen in guest.console.read_text(errors="replace"), 60)
    assert runs._marked(mark.read_text())
    child.send_signal(number)
    child.wait(30)
    return child, mark.read_text()


def wait_for(fact: Callable[[], bool], seconds: float) -> None:
    """Wait for something that comes true by itself."""
    deadline = time.monotonic() + seconds
    while not fact():
        assert time.monotonic() < deadline, f"not true after {seconds} s"
        time.sleep(0.2)
