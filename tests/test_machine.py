"""A machine's files and command line, its watch over a guest, and, where a disk is given, a real guest."""

import json
import os
import socket
import subprocess
import threading
from pathlib import Path

import pytest

from skyvypack import machine as machines
from skyvypack import seed
from skyvypack.accelerator import Accelerator, choose
from skyvypack.errors import ContractFailed, InputError, ToolMissing
from skyvypack.machine import GIB, Access, Hardware, Machine, check_disk, find_ovmf, wait
from skyvypack.qmp import Monitor
from skyvypack.runs import run_folder
from skyvypack.verify.outside import Clone

TCG = Accelerator("tcg", "test", ("-accel", "tcg,thread=multi", "-cpu", "max"), 1.0)
TABLE = """Hub 0 (net0):
  Protocol[State]    FD  Source Address  Port   Dest. Address  Port RecvQ SendQ
  TCP[ESTABLISHED]   20        10.0.2.15    22       10.0.2.2 50123     0     0
  TCP[SYN_SENT]      21        10.0.2.15    83       10.0.2.2 50124     0     0
  TCP[HOST_FORWARD]  14        127.0.0.1 40022      10.0.2.15    22     0     0
  UDP[236 sec]       15        10.0.2.15 44000       10.0.2.3    53     0     0
"""


def make_machine(folder, disk=Path("disk.qcow2"), **rest):
    access = Access("tester", folder / "key")
    return Machine("bios", disk, folder / "machine", accelerator=TCG, access=access, **rest)


@pytest.fixture
def qmp(tmp_path):
    """A monitor that records what it is asked; `answers` gives the text of human-monitor lines in turn."""
    asked, answers = [], []

    def serve(listener):
        while True:
            try:
                channel, _ = listener.accept()
            except OSError:
                return
            with channel, channel.makefile("rw") as stream:
                stream.write('{"QMP": {}}\n')
                stream.flush()
                for line in stream:
                    request = json.loads(line)
                    asked.append(request)
                    given = answers.pop(0) if request["execute"] == "human-monitor-command" and answers else {}
                    event = {"event": "RESET"}
                    reply = {"error": {"desc": "no"}} if request["execute"] == "bad" else {"return": given}
                    stream.write(json.dumps(event) + "\n" + json.dumps(reply) + "\n")
                    stream.flush()

    before = Path.cwd()
    os.chdir(tmp_path)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("qmp")
        os.chdir(before)
        listener.listen()
        thread = threading.Thread(target=serve, args=(listener,), daemon=True)
        thread.start()
        yield Monitor(tmp_path), asked, answers
        listener.shutdown(socket.SHUT_RDWR)
    thread.join(5)


def test_monitor_passes_commands_and_skips_events(qmp):
    """A command arrives with its arguments after the handshake; events in between are not answers."""
    monitor, asked, _ = qmp
    assert monitor.execute("block_resize", device="disk", size=5) == {}
    assert asked == [
        {"execute": "qmp_capabilities", "arguments": {}},
        {"execute": "block_resize", "arguments": {"device": "disk", "size": 5}},
    ]


def test_monitor_names_what_was_refused_and_who_does_not_answer(qmp, tmp_path):
    """QEMU's refusal and QEMU's absence are errors of ours, with the command's name."""
    monitor, _, _ = qmp
    with pytest.raises(ContractFailed, match="refused bad: no"):
        monitor.execute("bad")
    (tmp_path / "gone").mkdir()
    with pytest.raises(ContractFailed, match="does not answer to stop"):
        Monitor(tmp_path / "gone").execute("stop")


def test_monitor_socket_may_lie_deep(tmp_path):
    """A path beyond the 107 bytes of a socket's address is no obstacle."""
    deep = tmp_path / ("d" * 120)
    deep.mkdir()
    with pytest.raises(ContractFailed, match="No such file"):
        Monitor(deep).execute("stop")


def test_forward_is_made_once_and_its_port_is_read_from_qemu(qmp):
    """A known forward is used again; a new one is asked for with a free port that QEMU chooses."""
    monitor, asked, answers = qmp
    answers += [TABLE, TABLE, "", TABLE.replace("40022", "40023").replace("10.0.2.15    22 ", "10.0.2.15    81 ")]
    assert monitor.forward(22) == 40022
    assert monitor.forward(81) == 40023
    lines = [one["arguments"]["command-line"] for one in asked if "command-line" in one["arguments"]]
    assert lines == ["info usernet", "info usernet", "hostfwd_add net0 tcp:127.0.0.1:0-:81", "info usernet"]


@pytest.mark.parametrize(("state", "answer"), [("ESTABLISHED", True), ("SYN_SENT", False)])
def test_port_answers_only_when_the_guest_completed_the_connection(monkeypatch, tmp_path, state, answer):
    """QEMU accepts for the guest; only its table tells a silent server from a firewall that drops."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        ours = []
        monkeypatch.setattr(Monitor, "forward", lambda self, port: server.getsockname()[1])

        def connections(self):
            ours.append(server.accept()[0]) if not ours else None
            return [machines_connection(state, ours[0].getpeername()[1])]

        monkeypatch.setattr(Monitor, "connections", connections)
        assert Clone("bios", "bios", "tester", tmp_path).answers(5432, seconds=0.3) is answer
        ours[0].close()


def test_port_that_hangs_up_does_not_answer(monkeypatch, tmp_path):
    """A refused connection reaches us as an end of file."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setattr(Monitor, "forward", lambda self, port: server.getsockname()[1])
        monkeypatch.setattr(Monitor, "connections", lambda self: server.accept()[0].close() or [])
        assert Clone("bios", "bios", "tester", tmp_path).answers(81, seconds=2) is False


def machines_connection(state, port):
    from skyvypack.qmp import Connection

    return Connection(state, 22, port)
