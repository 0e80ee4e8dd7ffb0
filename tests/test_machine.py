"""A machine's files and command line, its watch over a guest, and, where a disk is given, a real guest."""

import json
import os
import socket
import subprocess
import threading
from pathlib import Path

import fake_guest
import pytest

from skyvypack import link, seed
from skyvypack import machine as machines
from skyvypack.accelerator import Accelerator, choose
from skyvypack.errors import ContractFailed, InputError, ToolMissing
from skyvypack.link import Access
from skyvypack.machine import GIB, Hardware, Machine, check_disk, find_ovmf, wait
from skyvypack.qmp import Connection, Monitor
from skyvypack.verify.outside import Clone

TCG = Accelerator("tcg", "test", ("-accel", "tcg,thread=multi", "-cpu", "max"), 1.0)


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
    after = fake_guest.TABLE.replace("40022", "40023").replace("10.0.2.15    22 ", "10.0.2.15    81 ")
    answers += [fake_guest.TABLE, fake_guest.TABLE, "", after]
    assert monitor.forward(22) == 40022
    assert monitor.forward(81) == 40023
    lines = [one["arguments"]["command-line"] for one in asked if "command-line" in one["arguments"]]
    assert lines == ["info usernet", "info usernet", "hostfwd_add net0 tcp:127.0.0.1:0-:81", "info usernet"]


@pytest.mark.parametrize(("state", "answer"), [("ESTABLISHED", True), ("SYN_SENT", False)])
def test_port_answers_only_when_the_guest_completed_the_connection(monkeypatch, tmp_path, state, answer):
    """QEMU accepts for the guest; only its table tells a silent server from a firewall that drops."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        door = server.getsockname()[1]
        # Another client's, from before ours; in QEMU's table the source of both is the port that is forwarded.
        earlier = Connection("ESTABLISHED", door, 5432)
        ours = Connection(state, door, 5432)
        tables = iter([[earlier]])
        monkeypatch.setattr(Monitor, "forward", lambda self, port: door)
        monkeypatch.setattr(Monitor, "connections", lambda self: next(tables, [earlier, ours]))
        assert Clone("bios", "bios", "tester", tmp_path).answers(5432, seconds=0.3) is answer


def test_port_that_hangs_up_does_not_answer(monkeypatch, tmp_path):
    """A refused connection reaches us as an end of file."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setattr(Monitor, "forward", lambda self, port: server.getsockname()[1])
        looks = iter([list])
        hang_up = lambda: server.accept()[0].close() or []  # noqa: E731
        monkeypatch.setattr(Monitor, "connections", lambda self: next(looks, hang_up)())
        assert Clone("bios", "bios", "tester", tmp_path).answers(81, seconds=2) is False


@pytest.fixture
def guest(tmp_path, fake_tool):
    """Makes a `Machine` whose QEMU and ssh are fakes."""

    def make(console="", ssh=fake_guest.SSH, ends=fake_guest.ENDS):
        fake_guest.install(tmp_path, fake_tool, console=console, ssh=ssh, ends=ends)
        disk = tmp_path / "disk.qcow2"
        disk.write_bytes(b"QFI")
        return make_machine(tmp_path, disk)

    return make


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr(link, "_RETRY", 0.05)
    monkeypatch.setattr(machines, "_PAUSE", 0.02)


def test_guest_is_reached_settles_reboots_and_powers_off(guest):
    """Each wait ends when its fact is there: connection, settled system, another QEMU, QEMU's end."""
    with guest("[    0.5] Linux version 6.12\n") as machine:
        wait(machine.connecting(5))
        machine.console.poll()
        assert machine.console.stage.name == "kernel"
        assert wait(machine.settling(5)) == "running"
        assert wait(machine.rebooting(5)) == "running"
        assert (machine.folder / "boots").read_text() == "more\n"
        machine.console.poll()
        assert machine.console.tail().count("Linux version") == 1  # what the first boot printed does not count
        assert machine.run("something else", check=False).returncode == 7
        wait(machine.powering_off(5))
    assert "Port 40022" in machine.link.config.read_text()


def test_panic_ends_the_wait_at_once_and_is_named(guest):
    """A kernel panic on the console is not waited out, and its words and the console reach the user."""
    panic = "[    1.0] Kernel panic - not syncing: VFS: Unable to mount root fs on unknown-block(0,0)\n"
    with guest(panic, ssh="echo refused; exit 255") as machine, pytest.raises(ContractFailed) as failed:
        wait(machine.connecting(60))
    assert "cannot mount the root file system" in failed.value.message
    assert "Kernel panic" in failed.value.message
    assert failed.value.hint


def test_guest_that_never_answers_is_given_up_with_the_last_words_of_ssh_and_console(guest):
    """The deadline is kept, and the error says what ssh said and how far the guest got."""
    ssh = "echo Connection reset by peer; exit 255"
    with guest("[    0.5] Linux version 6.12\n", ssh=ssh) as machine, pytest.raises(ContractFailed) as failed:
        wait(machine.connecting(1))
    assert "Connection reset by peer" in failed.value.message
    assert "kernel" in failed.value.message


def test_guest_that_never_settles_is_given_up(guest):
    """A system that is still starting at the deadline is a failure that says so."""
    with guest(ssh=fake_guest.SSH.replace("echo running", "echo starting")) as machine:
        wait(machine.connecting(5))
        with pytest.raises(ContractFailed, match="is still starting"):
            wait(machine.settling(0.2))


def test_guest_that_ignores_its_power_button_is_a_failure(guest):
    """And leaving the block ends it all the same."""
    with guest(ends=("quit",)) as machine, pytest.raises(ContractFailed, match="power button"):
        wait(machine.powering_off(0.2))


def test_qemu_that_refuses_to_start_says_why(guest, fake_tool):
    """QEMU's own last line is in the error."""
    machine = guest()
    fake_tool("qemu-system-x86_64", "echo cannot set up guest memory; exit 1")
    with pytest.raises(ContractFailed, match="cannot set up guest memory"), machine:
        pass


def test_missing_disk_and_what_is_no_disk_are_refused(tmp_path, fake_tool):
    """Nothing is started for a disk that is not there, is raw, or cannot be read."""
    disk = tmp_path / "disk.qcow2"
    with pytest.raises(InputError, match="there is no disk"):
        check_disk(disk)
    disk.write_text("no disk")
    for script in ("""echo '{"format": "raw", "virtual-size": 5}'""", "echo broken >&2; exit 1"):
        fake_tool("qemu-img", script)
        with pytest.raises(InputError, match="no qcow2 disk"), make_machine(tmp_path, disk):
            pass
    assert not (tmp_path / "machine").exists()


def test_missing_firmware_is_named(monkeypatch, tmp_path):
    """Without OVMF the error says so and how to get it."""
    monkeypatch.setattr(machines, "_OVMF_FOLDERS", (tmp_path,))
    with pytest.raises(ToolMissing, match="OVMF") as missing:
        find_ovmf()
    assert "doctor" in missing.value.hint


def _empty_disk(path):
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", path, "1G"], check=True)
    return path


@pytest.mark.tool
@pytest.mark.parametrize("firmware", ["bios", "uefi"])
@pytest.mark.parametrize("bus", ["virtio-blk", "virtio-scsi", "nvme", "sata", "pvscsi"])
def test_qemu_takes_every_firmware_and_bus(tmp_path, firmware, bus):
    """The real QEMU starts with each, its disk is an overlay with the extra room, and it ends with the block."""
    disk = _empty_disk(tmp_path / "disk, with a comma.qcow2")
    iso = seed.make(tmp_path, "#cloud-config\n", "instance-id: one\n")
    hardware = Hardware(firmware, bus, cpus=1, memory=256, room=1)
    with make_machine(tmp_path, disk, seed=iso, hardware=hardware) as machine:
        assert machine.monitor.forward(22) == machine.monitor.forward(22)
        blocks = machine.monitor.execute("query-block")
        (image,) = (one["inserted"]["image"] for one in blocks if one["device"] == "disk")
        assert image["virtual-size"] == 2 * GIB
        assert image["backing-image"]["filename"] == str(disk)
        qemu = machine._qemu
    assert qemu.poll() is not None


@pytest.mark.tool
def test_disk_is_never_written(tmp_path):
    """Whatever the guest's side writes lands in the overlay."""
    disk = _empty_disk(tmp_path / "disk.qcow2")
    before = disk.read_bytes()
    with make_machine(tmp_path, disk, hardware=Hardware(memory=256)) as machine:
        machine.monitor.human('qemu-io disk "write -P 0xab 0 4096"')
    assert disk.read_bytes() == before
    read = ["qemu-io", "-r", "-f", "qcow2", "-c", "read -P 0xab 0 4096", machine.folder / "overlay.qcow2"]
    assert "verification failed" not in subprocess.run(read, capture_output=True, text=True, check=True).stdout


@pytest.mark.boot
def test_real_guest_is_reached_rebooted_and_switched_off(tmp_path):
    """A clone of `$SKYVYPACK_TEST_DISK`, a finished template, lives through all of it under both firmwares."""
    disk = os.environ.get("SKYVYPACK_TEST_DISK")
    if not disk:
        pytest.skip("SKYVYPACK_TEST_DISK names no finished qcow2 disk")
    key, public = seed.keypair(tmp_path)
    account = f"name: tester\n  sudo: ALL=(ALL) NOPASSWD:ALL\n  ssh_authorized_keys: ['{public}']"
    iso = seed.make(tmp_path, f"#cloud-config\nusers:\n- {account}\n", "instance-id: one\n")
    accelerator = choose(None, cache=tmp_path)
    access = Access("tester", key)
    rest = {"accelerator": accelerator, "access": access, "seed": iso, "hardware": Hardware("uefi", "nvme")}
    with Machine("guest", Path(disk), tmp_path / "machine", **rest) as machine:
        wait(machine.connecting(60))
        wait(machine.settling(60))
        assert machine.run("sudo id -u").stdout == "0\n"
        wait(machine.rebooting(60))
        assert Clone("guest", "uefi", "tester", machine.folder).answers(22)
        wait(machine.powering_off(30))
