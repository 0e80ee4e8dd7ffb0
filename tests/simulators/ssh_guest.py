"""A guest for Packer to log in to: it takes files and commands by SSH, remembers them, and carries nothing out.

A real sshd would run the provisioners on the machine of the tests, sealing included. This one answers every command
as a test says, and can hang up like a guest that restarts or loses its power.
"""

from __future__ import annotations

import logging
import re
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

import paramiko


@dataclass(frozen=True)
class Reply:
    """How a command ends.

    Args:
        status: its exit status.
        output: what it prints.
        hang_up: True to close the whole connection in place of a status.
    """

    status: int = 0
    output: str = ""
    hang_up: bool = False


@dataclass
class Guest:
    """What a guest was told.

    Args:
        user: who may log in.
        key: base64 of the public key that opens it; empty for any, where the test does not get to see the build's.
        port: on 127.0.0.1.
        answer: asked for the reply to each command, given its text and that of the uploaded script it runs.
        files: text of each uploaded file by its path.
        commands: in order; uploads and what only handles the script are left out.
        scripts: text of each uploaded script that ran, in order.
        logins: how many connections were opened.
    """

    user: str
    key: str
    port: int = 0
    answer: Callable[[str, str], Reply] = lambda _command, _script: Reply()
    files: dict[str, str] = field(default_factory=dict)
    commands: list[str] = field(default_factory=list)
    scripts: list[str] = field(default_factory=list)
    logins: int = 0

    def reply(self, command: str) -> Reply:
        """The reply to a command, which is remembered."""
        if re.fullmatch(r"(chmod 0755|rm -f) /tmp/\S+\s*", command):
            return Reply()
        named = [path for path in re.findall(r"/tmp/script_\d+\.sh", command) if path in self.files]
        script = self.files[named[0]] if named else ""
        self.commands.append(command)
        self.scripts += [script] if named else []
        return self.answer(command, script)


class _Session(paramiko.ServerInterface):
    """One connection."""

    def __init__(self, guest: Guest, transport: paramiko.Transport) -> None:
        self.guest = guest
        self.transport = transport

    def get_allowed_auths(self, username: str) -> str:
        """Keys only."""
        return "publickey"

    def check_auth_publickey(self, username: str, key: paramiko.PKey) -> int:
        """Let the build account in, by the key of this build."""
        good = username == self.guest.user and self.guest.key in ("", key.get_base64())
        return paramiko.AUTH_SUCCESSFUL if good else paramiko.AUTH_FAILED

    def check_channel_request(self, kind: str, chanid: int) -> int:
        """Sessions only."""
        return paramiko.OPEN_SUCCEEDED if kind == "session" else paramiko.OPEN_FAILED_ADMINISTRATIVELY_PROHIBITED

    def check_channel_pty_request(self, *_args: object) -> bool:
        """There is no terminal, and nobody minds."""
        return True

    def check_channel_exec_request(self, channel: paramiko.Channel, command: bytes) -> bool:
        """Take a command, or a file."""
        threading.Thread(target=self._run, args=(channel, command.decode()), daemon=True).start()
        return True

    def _run(self, channel: paramiko.Channel, command: str) -> None:
        with suppress(OSError, EOFError):
            # Its answer comes after paramiko has said that the command is taken; to go on before would be too early.
            self.transport.global_request("ping@skyvypack", wait=True)
            if command.startswith("scp "):
                self._take_file(channel, command.split()[-1])
                reply = Reply()
            else:
                reply = self.guest.reply(command)
            if reply.hang_up:
                self.transport.close()
                return
            channel.sendall(reply.output.encode())
            channel.send_exit_status(reply.status)
            channel.close()

    def _take_file(self, channel: paramiko.Channel, folder: str) -> None:
        """The receiving half of scp."""
        stream = channel.makefile("rb")
        channel.sendall(b"\0")
        header = stream.readline().decode()
        _mode, size, name = header.split(maxsplit=2)
        channel.sendall(b"\0")
        text = stream.read(int(size)).decode(errors="surrogateescape")
        stream.read(1)
        self.guest.files[f"{folder.rstrip('/')}/{name.strip()}"] = text
        channel.sendall(b"\0")


@contextmanager
def serving(guest: Guest) -> Iterator[Guest]:
    """Serve a guest on a free port of 127.0.0.1 while the block runs."""
    # A client that only looks whether somebody listens is no error.
    logging.getLogger("paramiko").setLevel(logging.CRITICAL)
    host_key = paramiko.ECDSAKey.generate()
    transports: list[paramiko.Transport] = []
    with socket.create_server(("127.0.0.1", 0)) as server:
        guest.port = server.getsockname()[1]

        def accept() -> None:
            with suppress(OSError):
                while True:
                    connection, _address = server.accept()
                    transport = paramiko.Transport(connection)
                    transport.add_server_key(host_key)
                    transports.append(transport)
                    with suppress(paramiko.SSHException, EOFError):
                        transport.start_server(server=_Session(guest, transport), event=threading.Event())
                        guest.logins += 1

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        try:
            yield guest
        finally:
            server.shutdown(socket.SHUT_RDWR)
            for transport in transports:
                transport.close()
            thread.join(10)
