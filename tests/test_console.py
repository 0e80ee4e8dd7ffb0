from pathlib import Path

import pytest

from skyvypack.console import STAGES, Console

CONSOLES = Path(__file__).parent / "consoles"


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


def shown(tmp_path, text, **settings):
    log = tmp_path / "console.log"
    log.write_bytes(text if isinstance(text, bytes) else text.encode())
    console = Console(log, **settings)
    console.poll()
    return console


RECORDED = [
    ("trixie-no-root.txt", "kernel", "cannot mount the root file system", "root="),
    ("trixie-deadlocked-on-memory.txt", "kernel", "System is deadlocked on memory", "machine.memory"),
    ("ovmf-nothing-to-boot.txt", "boot loader", "firmware finds nothing to boot", "boot loader"),
    ("trixie-initramfs-shell.txt", "initramfs", "does not find the root disk LABEL=wrong", "root="),
    ("trixie-emergency.txt", "systemd", "emergency mode", "/etc/fstab"),
    ("trixie-no-network.txt", "settled", "no network", "network device"),
]


@pytest.mark.parametrize(("name", "stage", "cause", "hint"), RECORDED, ids=[row[0] for row in RECORDED])
def test_recorded_boot_that_stopped_is_fatal_and_named(tmp_path, name, stage, cause, hint):
    """A real console that ended in a fault is recognised as hopeless, with its stage, cause and a hint that fits."""
    console = shown(tmp_path, (CONSOLES / name).read_bytes())
    diagnosis = console.fatal()
    assert diagnosis is not None
    assert diagnosis.stage == stage
    assert cause in diagnosis.cause
    assert hint in diagnosis.hint
    assert diagnosis.tail.splitlines()


def test_recorded_good_boot_passes_every_stage_without_a_complaint(tmp_path):
    """A real bake's console, read in small pieces as it grew, passes the stages in order and is never called fatal."""
    data = (CONSOLES / "trixie-sealed.txt").read_bytes()
    log = tmp_path / "console.log"
    console = Console(log)
    stages, lines = [], []
    with log.open("wb", buffering=0) as file:
        for start in range(0, len(data), 61):
            file.write(data[start : start + 61])
            lines += console.poll()
            assert console.fatal() is None
            if console.stage.name not in stages:
                stages.append(console.stage.name)
    assert stages == [stage.name for stage in STAGES if stage.name not in ("boot loader", "installer")]
    assert console.settled
    assert [line for line in lines if line.startswith("skyvypack: seal")][-1] == "skyvypack: sealed"
    assert not any("\x1b" in line or "\r" in line for line in lines)


def test_recorded_user_data_that_failed_is_left_to_wait_sh_and_named(tmp_path):
    """A module that failed is no reason to stop Packer, whose wait.sh says more; it is the cause if Packer cannot."""
    console = shown(tmp_path, (CONSOLES / "trixie-user-data-failed.txt").read_bytes())
    assert console.fatal() is None
    assert console.diagnose().cause == "cloud-init's module scripts-user failed"


SIGNS = [
    ("Entering rescue mode...\ngrub rescue> ", "rescue prompt"),
    ("grub> ", "GRUB has no configuration"),
    ("No bootable device.", "firmware finds nothing"),
    ("[ 3.1] Kernel panic - not syncing: Attempted to kill init! exitcode=0x00000200\n", "Attempted to kill init!"),
    ("(initramfs) ", "initramfs gave up"),
    ("Cloud-init v. 25.1 finished at x. Datasource DataSourceNone.  Up 9 seconds\n", "found no configuration"),
    ("skyvypack: error: sealing failed at: traces\n", "sealing failed at: traces"),
]


@pytest.mark.parametrize(("text", "cause"), SIGNS, ids=[row[1] for row in SIGNS])
def test_sign_that_ends_hope(tmp_path, text, cause):
    """Each of these alone is reason enough to stop waiting, even as a prompt without an end of line."""
    diagnosis = shown(tmp_path, text).fatal()
    assert diagnosis is not None
    assert cause in diagnosis.cause


EVIDENCE = [
    ("[ 9.1] Out of memory: Killed process 812 (apt-get) total-vm:1kB\n", "out of memory and killed apt-get"),
    ("dd: /x: No space left on device\n", "disk is full"),
    ("[ 9.1] I/O error, dev vda, sector 1 op 0x0\n", "cannot read or write its disk vda"),
    ("touch: cannot touch '/x': Read-only file system\n", "became read-only"),
    ("skyvypack: failed: role nginx, command 2: nginx -t (exit code 1)\n", "role nginx, command 2: nginx -t"),
    ("cc_scripts_user.py[WARNING]: Failed to run module scripts-user (scripts in /x)\n", "module scripts-user failed"),
]


@pytest.mark.parametrize(("text", "cause"), EVIDENCE, ids=[row[1] for row in EVIDENCE])
def test_evidence_names_the_cause_but_does_not_stop(tmp_path, text, cause):
    """What a guest may survive is no reason to stop, and the likely cause when it gets no further."""
    console = shown(tmp_path, text)
    assert console.fatal() is None
    assert cause in console.diagnose().cause


def test_drive_without_a_medium_is_no_disk_fault(tmp_path):
    """The read error that an empty floppy or CD drive gives at every boot is not taken for a broken disk."""
    console = shown(tmp_path, "[ 9.1] I/O error, dev fd0, sector 0 op 0x0\n[ 9.1] I/O error, dev sr0, sector 0\n")
    assert "disk" not in console.diagnose().cause


def test_the_more_telling_sign_wins(tmp_path):
    """A full disk is the cause, the failing module its consequence, whichever was printed first."""
    text = "Running module package-update (<module x>) failed\nE: No space left on device\n"
    assert "disk is full" in shown(tmp_path, text).diagnose().cause


TABLE = """\
ci-info: +++Net device info+++
ci-info: | Device |  Up  |          Address           |      Mask     | Scope  |     Hw-Address    |
ci-info: | enp0s2 | {up} | {address} |       .       |  link  | 52:54:00:12:34:56 |
ci-info: |   lo   | True |         127.0.0.1          |   255.0.0.0   |  host  |         .         |
"""
FINISHED = "Cloud-init v. 25.1 finished at x. Datasource DataSourceNoCloud.  Up 9 seconds\n"


@pytest.mark.parametrize(("up", "address"), [("True", "fe80::1/64"), ("False", "."), ("True", ".")])
def test_guest_without_an_address_is_given_up_once_it_settled(tmp_path, up, address):
    """An address that only its own link can reach is none; before the end one may still come."""
    table = TABLE.format(up=up, address=address)
    assert shown(tmp_path, table).fatal() is None
    diagnosis = shown(tmp_path, table + FINISHED).fatal()
    assert diagnosis is not None
    assert "no network" in diagnosis.cause


@pytest.mark.parametrize("address", ["10.0.2.15", "2001:db8::5/64"])
def test_guest_with_an_address_is_waited_for(tmp_path, address):
    """An IPv4 or a global IPv6 address is a network."""
    assert shown(tmp_path, TABLE.format(up="True", address=address) + FINISHED).fatal() is None


def test_patience_grows_with_the_accelerator_and_ends(tmp_path):
    """A guest counts as stuck after its stage's patience times the scale without a word, and any word resets that."""
    clock = Clock()
    console = shown(tmp_path, "[ 0.0] Linux version 6.12\n", scale=8.0, clock=clock)
    assert console.stage.name == "kernel"
    clock.now += console.stage.patience * 8 - 1
    assert not console.stuck
    clock.now += 2
    assert console.stuck
    assert "no word from the guest" in console.diagnose().cause
    with (tmp_path / "console.log").open("a") as log:
        log.write("[ 9.9] still here\n")
    console.poll()
    assert not console.stuck


def test_machine_that_never_printed_is_the_firmwares_or_the_accelerators_fault(tmp_path):
    """Without a single line the diagnosis names firmware and accelerator, and shows that there was nothing."""
    console = Console(tmp_path / "not-there-yet")
    assert console.poll() == []
    assert "accelerator" in console.diagnose().cause
    assert "(nothing)" in str(console.diagnose())


def test_login_prompt_without_cloud_init_means_no_seed(tmp_path):
    """A guest that asks for a login and never ran cloud-init was given no seed."""
    console = shown(tmp_path, "Welcome to Debian GNU/Linux 13 (trixie)!\nlocalhost login: ")
    assert "cloud-init did not run" in console.diagnose().cause
    assert "seed" in console.diagnose().hint


def test_installer_that_asks_is_not_waited_for(tmp_path):
    """A prompt ends in no line break, and nobody would answer it: the question is shown and the build ends."""
    asked = "Downloading a file failed:\n  1: Retry [*],  2: Change mirror\nPrompt: '?' for help, default=1> "
    console = shown(tmp_path, f"Starting system log daemon: syslogd, klogd.\n{asked}")
    diagnosis = console.fatal()
    assert diagnosis is not None
    assert diagnosis.stage == "installer"
    assert "asks a question" in diagnosis.cause
    assert "Downloading a file failed:" in diagnosis.tail


def test_grub_that_greets_is_the_boot_loader(tmp_path):
    """Under UEFI it does so on the serial line; an installer that comes after it is still seen as one."""
    log = tmp_path / "console.log"
    log.write_text("BdsDxe: starting Boot0001\nWelcome to GRUB!\n")
    console = Console(log)
    assert console.poll()
    assert console.stage.name == "boot loader"
    log.write_text(f"{log.read_text()}Run /init as init process\nStarting system log daemon: syslogd, klogd.\n")
    console.poll()
    assert console.stage.name == "installer"


def test_text_cut_inside_a_character_is_read_whole(tmp_path):
    """UTF-8 that arrives in two halves becomes the one character it is."""
    log = tmp_path / "console.log"
    whole = "skyvypack: rôle ✓\n".encode()
    log.write_bytes(whole[:-3])
    console = Console(log)
    console.poll()
    log.write_bytes(whole)
    assert console.poll() == ["skyvypack: rôle ✓"]


def test_only_the_tail_is_kept(tmp_path):
    """A guest that prints without end does not fill our memory."""
    console = shown(tmp_path, "".join(f"line {number}\n" for number in range(5000)))
    assert console.tail(2) == "line 4998\nline 4999"
    assert len(console.tail(10_000).splitlines()) < 1000
