"""vcsim, govmomi's vCenter simulator, over verified TLS on loopback; and govc, its command line.

Both are built from `govmomi/`, whose go.mod pins their version, into a cache outside the repository. Where Go is older
than that version wants, as Debian 12's is, vcsim is built from Debian's package golang-github-vmware-govmomi-dev, and
there is no govc; SKYVYPACK_GOVMOMI names a Go path to take govmomi from in any case.

What vcsim does not do as a vCenter does: it throws uploaded disks away, an aborted lease leaves the machine behind, and
everybody has every privilege; `simulators.vcenter` stands in front of it where that matters.
"""

from __future__ import annotations

import fcntl
import functools
import hashlib
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from simulators.certificates import Authority

USER = "user"
PASSWORD = "vcsim-secret"
_SOURCE = Path(__file__).parent / "govmomi"
_DEBIAN = Path("/usr/share/gocode")
_CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "skyvypack-tests"


@dataclass(frozen=True)
class Server:
    """A vCenter to talk to."""

    port: int
    authority: Path
    user: str = USER
    password: str = PASSWORD
    pid: int = 0

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def environment(self) -> dict[str, str]:
        """What govc needs to know."""
        return {
            "GOVC_URL": f"https://{self.host}/sdk",
            "GOVC_USERNAME": self.user,
            "GOVC_PASSWORD": self.password,
            "GOVC_TLS_CA_CERTS": str(self.authority),
            # It keeps its sessions; where there is no HOME, that would be in the working folder.
            "GOVMOMI_HOME": str(self.authority.parent / "govmomi"),
        }


def program(name: str) -> Path:
    """The path of vcsim or govc, built when it is not; skips the test, with the reason, where that cannot be done."""
    go = _go()
    if go is None:
        pytest.skip(f"{name} needs Go to be built, and Go is not installed")
    library = _library(go)
    if library and name == "govc":
        pytest.skip("Debian's govmomi has no govc")
    folder = _CACHE / f"govmomi-{_key(go, library)}"
    _CACHE.mkdir(parents=True, exist_ok=True)
    with (_CACHE / "govmomi.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / name).exists():
            _build(go, library, folder)
    return folder / name


def need_current(reason: str) -> None:
    """Skip a test that Debian's govmomi cannot serve.

    Args:
        reason: what it lacks.
    """
    go = _go()
    if go and _library(go):
        pytest.skip(f"Debian's govmomi {reason}")


def _go() -> str | None:
    return shutil.which("go") or shutil.which("go", path="/usr/local/go/bin:/usr/lib/go/bin")


def _library(go: str) -> str:
    """The Go path to take govmomi from; empty for the version that go.mod names."""
    if given := os.environ.get("SKYVYPACK_GOVMOMI"):
        return given
    wanted, found = (
        tuple(map(int, re.findall(r"\d+", text)[:2]))
        for text in (re.findall(r"^go (.*)", (_SOURCE / "go.mod").read_text(), re.MULTILINE)[0], _version(go))
    )
    if found >= wanted:
        return ""
    if not (_DEBIAN / "src/github.com/vmware/govmomi").is_dir():
        pytest.skip(f"{_version(go)} is too old: install golang-github-vmware-govmomi-dev, or a newer Go")
    return str(_DEBIAN)


@functools.cache
def _version(go: str) -> str:
    return subprocess.run([go, "version"], capture_output=True, check=True, text=True).stdout.split()[2]


def _key(go: str, library: str) -> str:
    sources = [path.read_bytes() for path in sorted(_SOURCE.rglob("*")) if path.is_file()]
    return hashlib.sha256(b"\0".join([_version(go).encode(), library.encode(), *sources])).hexdigest()[:16]


def _build(go: str, library: str, folder: Path) -> None:
    partial = folder.with_name(f"{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    settings = {"CGO_ENABLED": "0", "GOFLAGS": "-mod=readonly", "GOTOOLCHAIN": "local"}
    what = ["./vcsim", "./govc"]
    if library:
        settings, what = {"CGO_ENABLED": "0", "GO111MODULE": "off", "GOPATH": library}, ["-tags=debian", "./vcsim"]
    argv = [go, "build", "-trimpath", "-ldflags=-s -w", "-o", f"{partial}{os.sep}", *what]
    done = subprocess.run(
        argv, cwd=_SOURCE, env=os.environ | settings, stdin=subprocess.DEVNULL, capture_output=True, text=True
    )
    if done.returncode:
        shutil.rmtree(partial, ignore_errors=True)
        pytest.skip(f"govmomi's programs cannot be built here: {done.stderr.strip()[-300:]}")
    partial.rename(folder)


@contextmanager
def running(authority: Authority, *options: str) -> Iterator[Server]:
    """vcsim, for as long as the block runs.

    Args:
        authority: signs its certificate.
        options: of `govmomi/vcsim`, such as ``-pod=1``.
    """
    pair = authority.issue("vcsim")
    argv = [program("vcsim"), f"-cert={pair.certificate}", f"-key={pair.key}", f"-username={USER}", *options]
    # Its standard error is chatty and of no use.
    process = subprocess.Popen(
        argv,
        env=os.environ | {"VCSIM_PASSWORD": PASSWORD},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert process.stdout is not None
        host = process.stdout.readline().strip()
        assert host, "vcsim did not start"
        yield Server(int(host.rpartition(":")[2]), authority.file, pid=process.pid)
    finally:
        # It removes its own temporary files when its input ends.
        process.communicate(timeout=10)
