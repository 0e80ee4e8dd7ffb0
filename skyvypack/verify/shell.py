"""A testinfra backend that keeps one root shell open and hands it every command.

testinfra's own ssh backend begins an ssh session and a sudo for each command. On an emulated machine that costs more
than the command: a contract asks some hundred things.
"""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from typing import IO, Any

import testinfra.host
from testinfra.backend.base import BaseBackend, CommandResult

from skyvypack import command

# Ends each thing that is asked; a comment for a shell, a cut for who plays one (`relay`).
END = "# end of what skyvypack asks\n"
# systemctl gives up after 25 s, which an emulated machine on a busy host may need for a list of all units.
_BEGIN = "export SYSTEMD_BUS_TIMEOUT=240; d=$(mktemp -d); trap 'rm -rf \"$d\"' EXIT\n"
# Files, because a command may leave a daemon behind that keeps a pipe open for ever. And few programs beside the
# command: on an emulated machine each costs more than most of what is asked.
_ASK = (
    'sh -c %s </dev/null >"$d/out" 2>"$d/err"; c=$?; if [ -s "$d/out" ] || [ -s "$d/err" ]; then printf "$c "; '
    'stat --printf="%%s " "$d/out" "$d/err"; echo; cat "$d/out" "$d/err"; else echo "$c 0 0"; fi'
)
_FAREWELL = 2.0


def answer(code: int, out: bytes, err: bytes) -> bytes:
    """What a shell answers that was asked, for who plays one."""
    return b"%d %d %d\n" % (code, len(out), len(err)) + out + err


class RootShell(BaseBackend):  # type: ignore[misc,unused-ignore]
    """A shell that is started when it is first needed, and again after it was lost.

    Args:
        name: the host's.
        argv: what starts a POSIX shell, as root, that reads its commands from standard input.
    """

    NAME = "root-shell"

    def __init__(self, name: str, argv: Sequence[str]) -> None:
        super().__init__(name)
        self._argv = list(argv)
        self._shell: subprocess.Popen[bytes] | None = None
        self._life = ExitStack()
        # testinfra would start a Python in the guest to find out what every Debian answers.
        self._encoding = "utf-8"

    def decode(self, data: bytes) -> str:
        """Bytes as text; what is no UTF-8, as in a TLS session, is replaced."""
        return data.decode(errors="replace")

    @property
    def host(self) -> Any:
        """testinfra's host for this shell."""
        host = testinfra.host.Host(self)
        self.set_host(host)
        return host

    def run(self, command: str, *args: str, **_kwargs: Any) -> CommandResult:
        """Run a shell command, as testinfra's other backends do.

        Raises:
            RuntimeError: the shell was lost; the next command starts another.
        """
        asked = self.get_command(command, *args)
        try:
            return self.result(*self._ask(asked))
        except BaseException:  # also a test's deadline: half an answer would be taken for the next one's
            self.close()
            raise

    def close(self) -> None:
        """End the shell."""
        self._shell = None
        self._life.close()

    def _ask(self, asked: str) -> tuple[int, bytes, bytes, bytes]:
        shell = self._shell or self._start()
        assert shell.stdin is not None
        assert shell.stdout is not None
        try:
            shell.stdin.write(self.encode(self.quote(_ASK, asked) + "\n" + END))
            shell.stdin.flush()
        except BrokenPipeError:
            raise self._lost(asked) from None
        head = shell.stdout.readline().split()
        if len(head) != 3:
            raise self._lost(asked)
        code, out, err = map(int, head)
        return code, self.encode(asked), shell.stdout.read(out), shell.stdout.read(err)

    def _start(self) -> subprocess.Popen[bytes]:
        self._complaints: IO[bytes] = self._life.enter_context(tempfile.TemporaryFile())  # noqa: SIM115
        pipe = subprocess.PIPE
        starting = command.start(self._argv, stdin=pipe, stdout=pipe, stderr=self._complaints)
        self._shell = self._life.enter_context(starting)
        self._life.callback(_hang_up, self._shell)
        assert self._shell.stdin is not None
        self._shell.stdin.write((_BEGIN + END).encode())
        return self._shell

    def _lost(self, asked: str) -> RuntimeError:
        self._complaints.seek(0)
        said = self._complaints.read().decode(errors="replace").strip()
        return RuntimeError(f"the shell on {self.hostname} was lost while it ran: {asked}\n{said}")


def _hang_up(shell: subprocess.Popen[bytes]) -> None:
    """End a shell by the end of its input, so that it can tidy up; whoever started it stops it if it does not."""
    assert shell.stdin is not None
    assert shell.stdout is not None
    with suppress(BrokenPipeError):
        shell.stdin.close()
    with suppress(subprocess.TimeoutExpired):
        shell.wait(_FAREWELL)
    shell.stdout.close()
