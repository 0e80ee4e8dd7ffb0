"""A host on which a whole bake takes seconds: Packer, QEMU, ssh and mmdebstrap are scripts, the disks are real.

`layer.sh` runs as it is, on a tree of a few files; "Packer" makes an overlay on the layer's disk, as the real one
does; scanning, formats, manifest and publication are the real ones, and so is each process' end. A closed gate holds
the bake at a moment that a test wants to strike at.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import IO

import fake_guest
import images

from skyvypack import runs

SPEC = """\
name: toy
version: {version}
roles: [toy]
roles_path: [roles]
machine: {{disk: 4}}
mirror: {{main: "{mirror}/debian", security: "{mirror}/security"}}
targets: {{qemu: {{accelerator: tcg}}}}
"""
CONTRACT = """
import pytest

@pytest.mark.requirement("TOY-1")
def test_toy(host):
    assert host.check_output("echo here") == "{answer}"
"""
RELEASE = f"Date: Sat, 09 Aug 2025 09:00:00 UTC\nSHA256:\n {'0' * 64} 1 main/binary-amd64/Packages.xz\n"

# Moments of a bake, in their order. What holds a bake there: a tool, the mirror, or the hook in the bake's own Python.
STAGES = ("inputs", "packages", "disk", "accelerator", "packer", "scan", "formats", "verify")
PUBLISHING = ("manifest", "aside", "place", "remove")

# Every tool begins so. What is started at a gate is what a killed bake may leave running.
_GATE = """#!/bin/sh
gate() {{
    [ -p {gates}/$1 ] || return 0
    sleep 300 > {gates}/$1.reached 2>&1 &
    read -r _ < {gates}/$1
    kill $!
}}
{script}
"""
_TOOLS: Mapping[str, str] = {
    "packer": """
case $1 in version) echo Packer v1.6.6; exit ;; esac
for argument; do case $argument in
    output_directory=*) output=${argument#*=} ;;
    layer=*) layer=${argument#*=} ;;
esac; done
echo '1,,ui,say,==> qemu.toy: Waiting for SSH to become available...'
gate packer
mkdir "$output"
qemu-img create -q -f qcow2 -b "$layer/disk.qcow2" -F qcow2 "$output/toy.qcow2"
""",
    "mmdebstrap": """
case $1 in --version) echo mmdebstrap 1.3.5; exit ;; esac
for last; do case $last in */tree) tree=$last ;; esac; done
mkdir -p "$tree/boot"
touch "$tree/half"
gate packages
rm "$tree/half"
cp -a {tree}/. "$tree"
""",
    "chroot": "printf 'sudo\\t1.9-1\\t100\\n'",
    "mkfs.vfat": 'gate disk\nexec /usr/sbin/mkfs.vfat "$@"',
    "dumpe2fs": 'case $1 in -h) ;; *) gate scan ;; esac\nexec /usr/sbin/dumpe2fs "$@"',
    "qemu-img": """
for last; do :; done
case "$1 $last" in "convert "*.partial/*) echo half > "$last"; gate formats; rm -f "$last" ;; esac
exec {qemu_img} "$@"
""",
    "qemu-system-x86_64": """
case $1 in --version)
    # The first time it is asked before any stage.
    [ ! -e {gates}/asked ] || gate accelerator
    touch {gates}/asked
    echo QEMU emulator version 7.2.22
    exit ;;
esac
exec {python} {qemu} "$@"
""",
    "xorriso": 'while [ "$1" != -output ]; do shift; done; echo iso > "$2"',
    "ssh": fake_guest.SSH.replace(
        "*) exit 7",
        """*result.json*) gate verify; echo '{"v1": {"datasource": "DataSourceNoCloud", "errors": []}}' ;;
*machine-id*) printf 'machine-id\\t%s\\n/etc/ssh/ssh_host_ed25519_key.pub\\t%s\\n' "$PWD" "$PWD" ;;
*"sudo sh") exec sh ;;
*) exit 7""",
    ),
}
# Imported by every Python of the bake, before anything else. Keeps the bake's own peak of memory, too: the resource
# module's would begin with that of the process that started it.
_HOOK = """
import atexit, os, pathlib, sys

GATES = pathlib.Path({gates!r})

def moment(source, target):
    source, target = os.path.basename(os.fspath(source)), os.path.basename(os.fspath(target))
    if source == ".manifest.json":
        return "manifest"
    if target.endswith("-qemu.old"):
        return "aside"
    if source.endswith(".partial"):
        return "place"

def hook(event, args):
    if event == "os.rename":
        hold(moment(*args[:2]))
    elif event == "shutil.rmtree" and os.fspath(args[0]).endswith("-qemu.old"):
        hold("remove")

def hold(name):
    if name and (GATES / name).exists():
        (GATES / (name + ".reached")).touch()
        (GATES / name).read_text()

def memory():
    peak = pathlib.Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]
    (GATES / "memory").write_text(peak)

if "bake" in sys.orig_argv:
    sys.addaudithook(hook)
    atexit.register(memory)
"""


class Host:
    """One fake host.

    Args:
        folder: an empty folder for everything.
        mirror: what packages would come from; its gate is this host's from now on.
        copied: a host whose cache and output are taken over.
    """

    def __init__(self, folder: Path, mirror: Mirror, copied: Host | None = None) -> None:
        self.folder = folder
        self.mirror = mirror
        self.tools, self.gates = folder / "tools", folder / "gates"
        self.cache, self.output = folder / "cache", folder / "output"
        self.final = self.output / "toy-1.0.0-qemu"
        self.tree = folder / "tree"
        self.path = os.environ["PATH"]
        for made in (self.tools, self.gates, folder / "roles" / "toy", self.tree / "boot"):
            made.mkdir(parents=True)
        if copied:
            shutil.copytree(copied.cache, self.cache)
            shutil.copytree(copied.output, self.output)
        mirror.gate = self.gates / "inputs"
        self.write_spec()
        self.write_contract("here")
        (folder / "roles" / "toy" / "role.yaml").write_text("summary: a toy\n")
        images.plant(self.tree, images.CLEAN)
        for name in ("vmlinuz-6", "initrd.img-6"):
            (self.tree / "boot" / name).write_text(name)
        (folder / "sitecustomize.py").write_text(_HOOK.format(gates=str(self.gates)))
        # QEMU's answers in the fake monitor, as test_clones.py has them.
        qemu = f"CONSOLE = ''\nTABLE = {fake_guest.TABLE!r}\nENDS = {fake_guest.ENDS!r}\n{fake_guest.QEMU}"
        (folder / "qemu.py").write_text(qemu)
        for name, script in _TOOLS.items():
            self.tool(name, self._filled(script))

    def _filled(self, script: str) -> str:
        places = {
            "gates": self.gates,
            "tree": self.tree,
            "qemu": self.folder / "qemu.py",
            "python": sys.executable,
            "qemu_img": shutil.which("qemu-img") or "qemu-img",
        }
        for name, place in places.items():
            script = script.replace(f"{{{name}}}", str(place))
        return script

    def tool(self, name: str, script: str) -> None:
        """Put a shell script first on the bake's PATH."""
        tool = self.tools / name
        tool.write_text(_GATE.format(gates=self.gates, script=script))
        tool.chmod(0o755)

    def hide(self, name: str) -> None:
        """Take a program away: the PATH becomes a folder of all others that are in it."""
        (self.tools / name).unlink(missing_ok=True)
        others = self.folder / "others"
        others.mkdir()
        for folder in self.path.split(os.pathsep):
            for tool in Path(folder).glob("*"):
                if tool.name != name and not (others / tool.name).is_symlink():
                    (others / tool.name).symlink_to(tool)
        self.path = str(others)

    def write_spec(self, version: str = "1.0.0", more: str = "") -> None:
        """Write the spec; `more` is further lines of it."""
        (self.folder / "skyvypack.yaml").write_text(SPEC.format(version=version, mirror=self.mirror.url) + more)

    def write_contract(self, answer: str) -> None:
        """Write the contract; only the answer `here` holds."""
        (self.folder / "roles" / "toy" / "test_contract.py").write_text(CONTRACT.format(answer=answer))

    def start(self, *options: str, log: IO[bytes] | None = None) -> subprocess.Popen[bytes]:
        """Start ``python -m skyvypack bake`` with these options."""
        argv = [sys.executable, "-m", "skyvypack", "bake", "--cache", str(self.cache), "-o", str(self.output), *options]
        home = str(self.folder)
        env = {"PATH": f"{self.tools}:{self.path}", "HOME": home, "PYTHONPATH": home, "no_proxy": "127.0.0.1"}
        return subprocess.Popen(argv, cwd=self.folder, env=env, stdout=log, stderr=log)

    def bake(self, *options: str) -> tuple[int, str]:
        """Bake to the end; returns the exit code and all that was printed."""
        with (self.folder / "log").open("w+b") as log:
            process = self.start(*options, log=log)
            try:
                code = process.wait(120)
            finally:
                process.kill()
            log.seek(0)
            return code, log.read().decode()

    def close(self, gate: str) -> None:
        """Let the next bake stand still at this moment."""
        for stale in (f"{gate}.reached", "asked"):
            (self.gates / stale).unlink(missing_ok=True)
        os.mkfifo(self.gates / gate)

    def wait_for(self, gate: str) -> None:
        """Wait until a bake stands at the gate."""
        until((self.gates / f"{gate}.reached").exists)

    def open(self, gate: str) -> None:
        """Let bakes pass again; one that stands at the gate goes on."""
        fifo = os.open(self.gates / gate, os.O_RDWR | os.O_NONBLOCK)
        (self.gates / gate).unlink()
        os.write(fifo, b"\n" * 8)
        os.close(fifo)

    def marks(self) -> list[str]:
        """The ids of the runs that have a folder."""
        return [path.name for path in (self.cache / "runs").glob("*")]

    def memory(self) -> int:
        """The last bake's peak of memory in KiB, its own process alone."""
        return int((self.gates / "memory").read_text())


class Mirror:
    """A mirror of Debian on loopback with release files that are always the same; it has a gate, too."""

    def __init__(self) -> None:
        self.gate = Path("/nonexistent")
        mirror = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                if mirror.gate.exists():
                    mirror.gate.with_suffix(".reached").touch()
                    until(lambda: not mirror.gate.exists())
                self.send_response(200)
                self.send_header("Content-Length", str(len(RELEASE)))
                self.end_headers()
                self.wfile.write(RELEASE.encode())

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def stop(self) -> None:
        """Answer nobody any more."""
        self._server.shutdown()
        self._server.server_close()


def until(fact: Callable[[], bool], seconds: float = 60) -> None:
    """Wait for something that comes true by itself."""
    deadline = time.monotonic() + seconds
    while not fact():
        assert time.monotonic() < deadline, f"not true after {seconds} s"
        time.sleep(0.02)


def contents(folder: Path) -> dict[str, tuple[int, str]]:
    """Every file of a folder by its path: when it was written, in nanoseconds, and its digest."""
    return {
        str(path.relative_to(folder)): (path.stat().st_mtime_ns, hashlib.sha256(path.read_bytes()).hexdigest())
        for path in folder.rglob("*")
        if path.is_file()
    }


def living(marks: list[str]) -> list[int]:
    """The processes of these runs."""
    return [process for mark in marks for process in runs._marked(mark)]
