"""vcsim, govmomi's vCenter simulator, over verified TLS on loopback; and govc, its command line.

Both are built from `govmomi/`, whose go.mod pins their version, into a cache outside the repository. What vcsim does
not do as a vCenter does: it throws uploaded disks away, an aborted lease leaves the machine behind, and everybody has
every privilege; `simulators.vcenter` stands in front of it where that matters.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
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
_CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "skyvypack-tests"


@dataclass(frozen=True)
class Server:
    """A vCenter to talk to."""

    port: int
    authority: Path
    user: str = USER
    password: str = PASSWORD

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
        }


def program(name: str) -> Path:
    """The path of vcsim or govc, built when it is not; skips the test, with the reason, where that cannot be done."""
    go = shutil.which("go") or shutil.which("go", path="/usr/local/go/bin:/usr/lib/go/bin")
    if go is None:
        pytest.skip(f"{name} needs Go to be built, and Go is not installed")
    folder = _CACHE / f"govmomi-{_key(go)}"
    _CACHE.mkdir(parents=True, exist_ok=True)
    with (_CACHE / "govmomi.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / name).exists():
            _build(go, folder)
    return folder / name


def _key(go: str) -> str:
    version = subprocess.run([go, "version"], capture_output=True, check=True).stdout
    sources = [path.read_bytes() for path in sorted(_SOURCE.rglob("*")) if path.is_file()]
    return hashlib.sha256(b"\0".join([version, *sources])).hexdigest()[:16]


def _build(go: str, folder: Path) -> None:
    partial = folder.with_name(f"{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    settings = {"CGO_ENABLED": "0", "GOFLAGS": "-mod=readonly", "GOTOOLCHAIN": "local"}
    argv = [go, "build", "-trimpath", "-ldflags=-s -w", "-o", f"{partial}{os.sep}", "./vcsim", "./govc"]
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
        yield Server(int(host.rpartition(":")[2]), authority.file)
    finally:
        # It removes its own temporary files when its input ends.
        process.communicate(timeout=10)
