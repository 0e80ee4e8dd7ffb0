"""The only module that starts a process.

Programs get an argv list, never a shell; a small environment; a closed stdin unless input is given; and a session of
their own, so that Ctrl-C in a terminal reaches us alone and children are stopped by us, in order. Each is tied to
our life (`prctl(PR_SET_PDEATHSIG)` through util-linux's setpriv) and carries the run's mark in its environment, by
which `runs` finds what a killed run left behind.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shlex
import shutil
import signal
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from skyvypack.errors import CommandFailed, ToolMissing

log = logging.getLogger(__name__)

RUN_MARK = "SKYVYPACK_RUN"
_PASSED_ON = ("PATH", "HOME", "USER", "LOGNAME", "TMPDIR", "SSL_CERT_FILE", "SSL_CERT_DIR", "XDG_RUNTIME_DIR", RUN_MARK)
_PROXIES = ("http_proxy", "https_proxy", "ftp_proxy", "no_proxy", "all_proxy")
_SBIN = ("/usr/local/sbin", "/usr/sbin", "/sbin")
_TAIL = 25
_GRACE = 10.0

Line = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Done:
    """A program that ended.

    Args:
        argv: what was run.
        returncode: exit code, negative for a signal.
        stdout: what it printed; standard error is merged into it when lines were followed.
        stderr: what it complained; empty when merged.
        seconds: how long it ran.
    """

    argv: tuple[str, ...]
    returncode: int
    stdout: str
    stderr: str
    seconds: float


def search_path() -> str:
    """PATH with the sbin folders that an ordinary user's PATH lacks on Debian."""
    path = os.environ.get("PATH", "/usr/bin:/bin")
    return os.pathsep.join([path, *(folder for folder in _SBIN if folder not in path.split(os.pathsep))])


def which(tool: str) -> Path | None:
    """Where a program is, or None."""
    found = shutil.which(tool, path=search_path())
    return Path(found) if found else None


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment a program gets: what it needs to work, not what we were started with."""
    env = {key: os.environ[key] for key in _PASSED_ON if key in os.environ}
    env |= {key: value for key, value in os.environ.items() if key.lower() in _PROXIES}
    return env | {"PATH": search_path(), "LANG": "C.UTF-8", "LC_ALL": "C.UTF-8"} | dict(extra or {})


def _resolve(argv: Sequence[str | Path], tied: bool) -> list[str]:
    command = [str(part) for part in argv]
    if which(command[0]) is None:
        raise ToolMissing(f"{command[0]} is not installed", "run: python -m skyvypack doctor --fix")
    setpriv = which("setpriv") if tied else None
    return [str(setpriv), "--pdeathsig", "TERM", "--", *command] if setpriv else command


@contextmanager
def start(
    argv: Sequence[str | Path],
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    stdin: int | IO[bytes] = subprocess.DEVNULL,
    stdout: int | IO[bytes] = subprocess.DEVNULL,
    stderr: int | IO[bytes] = subprocess.STDOUT,
) -> Iterator[subprocess.Popen[bytes]]:
    """Start a program that runs beside us; leaving the block stops it and everything it started.

    Start long-lived programs from the main thread: the kernel ends them with the *thread* that started them.

    Args:
        argv: program and arguments.
        cwd: its working folder.
        env: added to the small environment.
        stdin: as for `subprocess.Popen`; closed by default.
        stdout: as for `subprocess.Popen`; dropped by default.
        stderr: as for `subprocess.Popen`; goes where `stdout` goes by default.

    Raises:
        ToolMissing: the program is not installed.
    """
    command = _resolve(argv, tied=True)
    log.debug("start: %s", shlex.join(map(str, argv)))
    process = subprocess.Popen(
        command, cwd=cwd, env=environment(env), stdin=stdin, stdout=stdout, stderr=stderr, start_new_session=True
    )
    try:
        yield process
    finally:
        stop(process)


def stop(process: subprocess.Popen[bytes], grace: float = _GRACE) -> None:
    """End a program's whole session: SIGINT, then SIGTERM, then SIGKILL, with `grace` seconds between them."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
        if process.poll() is not None:
            break
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(grace)
    # Whatever the program left in its session goes with it.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def run(
    argv: Sequence[str | Path],
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    text: str | None = None,
    timeout: float | None = None,
    check: bool = True,
    on_line: Line | None = None,
    hint: str = "",
) -> Done:
    """Run a program to its end.

    Args:
        argv: program and arguments.
        cwd: its working folder.
        env: added to the small environment.
        text: given on standard input.
        timeout: seconds after which it is stopped and counts as failed; None for no limit.
        check: raise when it fails.
        on_line: called with each line as it is printed, standard error included.
        hint: for the error's reader.

    Raises:
        ToolMissing: the program is not installed.
        CommandFailed: it failed or ran out of time, and `check` is set (running out of time always raises).
    """
    began = time.monotonic()
    source = subprocess.PIPE if text is not None else subprocess.DEVNULL
    stderr = subprocess.STDOUT if on_line else subprocess.PIPE
    with start(argv, cwd=cwd, env=env, stdin=source, stdout=subprocess.PIPE, stderr=stderr) as process:
        try:
            out, err = _follow(process, on_line, timeout) if on_line else _communicate(process, text, timeout)
        except subprocess.TimeoutExpired as error:
            reason = f"no end after {timeout:.0f} s"
            raise CommandFailed([str(part) for part in argv], -signal.SIGTERM, reason, hint) from error
    done = Done(tuple(map(str, argv)), process.returncode, out, err, time.monotonic() - began)
    log.debug("%s: exit code %d after %.1f s", done.argv[0], done.returncode, done.seconds)
    if check and done.returncode:
        tail = "\n".join((out + err).rstrip().splitlines()[-_TAIL:])
        raise CommandFailed(done.argv, done.returncode, tail, hint)
    return done


def _communicate(process: subprocess.Popen[bytes], text: str | None, timeout: float | None) -> tuple[str, str]:
    out, err = process.communicate(text.encode() if text is not None else None, timeout)
    return out.decode(errors="replace"), (err or b"").decode(errors="replace")


def _follow(process: subprocess.Popen[bytes], on_line: Line, timeout: float | None) -> tuple[str, str]:
    """Hand on each line as it comes; keep the tail only, so that a chatty program does not fill memory."""
    kept: deque[str] = deque(maxlen=400)
    timer = threading.Timer(timeout, stop, [process]) if timeout else None
    if timer:
        timer.start()
    try:
        assert process.stdout is not None
        with process.stdout:
            for raw in process.stdout:
                line = raw.decode(errors="replace").rstrip("\r\n")
                kept.append(line)
                on_line(line)
        process.wait()
        if timer and timer.finished.is_set():
            raise subprocess.TimeoutExpired(process.args, timeout or 0)
    finally:
        if timer:
            timer.cancel()
    return "\n".join(kept), ""
