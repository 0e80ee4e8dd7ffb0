import signal
import time

import guests
import pytest

from skyvypack import packer, runs
from skyvypack.console import STAGES
from skyvypack.errors import BakeFailed, InputError, ToolMissing
from skyvypack.progress import Progress

FINISHED = "Cloud-init v. 25.1 finished at x. Datasource DataSourceNoCloud.  Up 9 seconds"
WAITING = "echo '1,,ui,say,==> qemu.t: Waiting for SSH to become available...'"
CONNECTED = "echo '1,,ui,say,==> qemu.t: Connected to SSH!'"


@pytest.fixture
def run_fake(tmp_path, fake_tool, monkeypatch):
    """Builds with a shell script as Packer, without its pauses; keeps the events."""
    monkeypatch.setattr(packer, "_POLL", 0.02)
    monkeypatch.setattr(packer, "_LAST_WORDS", 0.0)

    def build(script, **settings):
        fake_tool("packer", f"console={tmp_path}/console.log\n{script}")
        events = []
        settings = {"variables": {"layer": "/x"}, "progress": Progress(events.append)} | settings
        try:
            packer.build(tmp_path, console=tmp_path / "console.log", scratch=tmp_path / "run", **settings)
        finally:
            build.events = events
            build.timings = settings["progress"].timings

    return build


@pytest.mark.parametrize(
    ("says", "version"),
    [("Packer v1.6.6", "1.6.6"), ("Packer v1.15.2\\n\\nYour version of Packer is out of date!", "1.15.2")],
)
def test_installed_version_is_read(fake_tool, says, version):
    """The version stands in the first line, whatever Packer adds."""
    fake_tool("packer", f'printf "{says}\\n"')
    assert packer.installed() == version


@pytest.mark.parametrize("script", ["echo Packer v1.5.6", "echo skipping line: 1", "echo usage; exit 1"])
def test_old_or_other_packer_is_refused(fake_tool, script):
    """A Packer before 1.6, and another program of that name, is a missing tool with a hint."""
    fake_tool("packer", script)
    with pytest.raises(ToolMissing) as error:
        packer.installed()
    assert "doctor" in error.value.hint


def test_missing_packer_is_a_missing_tool(monkeypatch, tmp_path):
    """Without any Packer the error says so."""
    monkeypatch.setattr("skyvypack.command.search_path", lambda: str(tmp_path))
    with pytest.raises(ToolMissing, match="packer is not installed"):
        packer.installed()


@pytest.mark.parametrize(("version", "asked"), [("1.6.6", False), ("1.7.0", True), ("1.15.2", True)])
def test_plugins_are_installed_from_1_7_on(tmp_path, fake_tool, version, asked):
    """Packer 1.6 knows no init; later ones are asked to."""
    fake_tool("packer", 'echo "$@" > called')
    packer.init(tmp_path, version)
    assert (tmp_path / "called").exists() == asked


def test_packer_finds_the_plugins_and_the_configuration_of_its_user(tmp_path, fake_tool, monkeypatch):
    """Packer's own settings of the environment reach it; the rest of the environment does not."""
    monkeypatch.setenv("PACKER_PLUGIN_PATH", "/opt/plugins")
    monkeypatch.setenv("PACKER_SECRET", "hidden")
    fake_tool("packer", "env > seen")
    packer.init(tmp_path, "1.9.0")
    seen = (tmp_path / "seen").read_text().splitlines()
    assert "PACKER_PLUGIN_PATH=/opt/plugins" in seen
    assert not [line for line in seen if line.startswith("PACKER_SECRET")]


def test_refused_bundle_shows_packers_words(tmp_path, fake_tool):
    """What Packer has against a bundle reaches the user, and is his input's fault."""
    fake_tool("packer", "echo 'Error: Unsupported argument'; exit 1")
    with pytest.raises(InputError, match="Unsupported argument"):
        packer.validate(tmp_path, {})


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("17,,ui,say,==> qemu.t: Starting VM%!(PACKER_COMMA) booting", ("say", "Starting VM, booting")),
        ("17,,ui,message,    qemu.t: one\\n    qemu.t: two", ("message", "one\ntwo")),
        ("17,qemu.t,error,Timeout waiting for SSH.", ("error", "Timeout waiting for SSH.")),
        ("17,,ui,error,--> qemu.t: no", ("error", "no")),
        ("17,,error-count,1", ("error-count", "1")),
        ("not of that form", None),
        ("a,b,c,d", None),
    ],
)
def test_machine_readable_lines_are_understood(line, message):
    """Commas and line ends come back, Packer's arrows and the builder's name go."""
    assert packer.parse(line) == message


def test_good_build_reports_its_phases_and_keeps_their_seconds(run_fake):
    """Boot, configuration and sealing are told apart by Packer's words, timed, and advance without going back."""
    run_fake(
        f"""{WAITING}
        echo "[ 0.0] Linux version 6.12" > $console; sleep 0.1
        echo "{FINISHED}" >> $console; sleep 0.1
        {CONNECTED}
        echo '1,,ui,message,    qemu.t: skyvypack: cloud-init is done'
        echo '1,,ui,say,==> qemu.t: Gracefully halting virtual machine...'"""
    )
    assert set(run_fake.timings) == {"boot", "configure", "seal", "packer"}
    fractions = [event.fraction for event in run_fake.events if event.kind == "advance"]
    assert fractions == sorted(fractions)
    texts = [event.text for event in run_fake.events]
    assert "the guest boots: settled" in texts
    assert "skyvypack: cloud-init is done" in texts
    assert STAGES[-1].name == "settled"


def test_panic_stops_a_packer_that_would_wait(run_fake):
    """Packer is stopped when the console shows a panic; the error has cause, stage, console and hint."""
    began = time.monotonic()
    with pytest.raises(BakeFailed) as failure:
        run_fake(f"""{WAITING}
        echo "[ 0.0] Linux version 6.12" > $console
        echo "[ 1.0] Kernel panic - not syncing: VFS: Unable to mount root fs on unknown-block(0,0)" >> $console
        exec sleep 60""")
    assert time.monotonic() - began < 10
    assert "cannot mount the root file system" in failure.value.message
    assert "last stage: kernel" in failure.value.message
    assert "unknown-block(0,0)" in failure.value.message
    assert "root=" in failure.value.hint


def test_silent_guest_is_given_up_after_its_stages_patience(run_fake):
    """A guest that prints nothing for longer than its stage explains ends the build."""
    with pytest.raises(BakeFailed, match="no word from the guest"):
        run_fake(f'{WAITING}\necho "[ 0.0] Linux version 6.12" > $console\nexec sleep 60', scale=0.005)


def test_silent_provisioner_is_given_up(run_fake):
    """A provisioner that waits for ever ends the build, with what Packer said last."""
    with pytest.raises(BakeFailed) as failure:
        run_fake(
            f"""{WAITING}
        echo "{FINISHED}" > $console
        {CONNECTED}
        echo '1,,ui,message,    qemu.t: which key? '
        exec sleep 60""",
            scale=0.005,
        )
    assert "the provisioner printed nothing" in failure.value.message
    assert "which key?" in failure.value.message


def test_slow_copy_before_the_boot_is_no_silence(run_fake):
    """Before the guest starts its console cannot say anything, and that is no reason to stop."""
    run_fake("echo '1,,ui,say,==> qemu.t: Copying hard drive...'; sleep 0.3", scale=0.001)


def test_failed_provisioner_shows_what_the_guest_said(run_fake):
    """When a script fails in the guest, its own lines are in the error, not Packer's chatter."""
    with pytest.raises(BakeFailed) as failure:
        run_fake(f"""{WAITING}
        {CONNECTED}
        echo '1,,ui,message,    qemu.t: xorriso : NOTE : chatter'
        echo '1,,ui,message,    qemu.t: skyvypack: error: modules-final: module scripts_user: 1 failure'
        echo "1,,ui,error,Build 'qemu.t' errored after 9 seconds: Script exited with non-zero exit status: 1."
        exit 1""")
    assert "Script exited with non-zero exit status: 1." in failure.value.message
    assert "module scripts_user" in failure.value.message
    assert "chatter" not in failure.value.message


def test_ssh_timeout_is_never_the_last_word(run_fake):
    """When Packer itself gives up waiting, the console's likely cause and its last lines are in the error."""
    with pytest.raises(BakeFailed) as failure:
        run_fake(f"""{WAITING}
        echo "dd: No space left on device" > $console
        echo "1,,ui,error,Build 'qemu.t' errored after 9 minutes: Timeout waiting for SSH."
        exit 1""")
    assert "Timeout waiting for SSH." in failure.value.message
    assert "the guest's disk is full" in failure.value.message
    assert "machine.disk" in failure.value.hint


def test_failure_before_the_boot_shows_packers_reason(run_fake):
    """Without a guest there is nothing to diagnose: Packer's reason stands alone."""
    with pytest.raises(BakeFailed, match="Output directory exists") as failure:
        run_fake("echo '1,,ui,error,Output directory exists'; exit 1")
    assert "guest's last stage" not in failure.value.message


def test_secrets_stand_in_no_argument_and_no_line(run_fake, tmp_path):
    """A secret reaches Packer by its environment, and what Packer prints of it is masked."""
    script = 'echo "$@" > arguments; echo "1,,ui,message,    t: have $PKR_VAR_token"'
    run_fake(script, secrets={"token": "canary-7f3"})
    assert "canary-7f3" not in (tmp_path / "arguments").read_text()
    lines = [event.text for event in run_fake.events if event.kind == "line"]
    assert lines == ["have <secret>"]


def test_packers_leftovers_stay_inside_the_run(run_fake, tmp_path):
    """Cache and temporary files are put in the run's folder, by a path that a socket can have."""
    run_fake("env > environment")
    environment = (tmp_path / "environment").read_text().splitlines()
    assert f"PACKER_CACHE_DIR={tmp_path}/run/packer_cache" in environment
    assert "TMPDIR=run/tmp" in environment
    assert "CHECKPOINT_DISABLE=1" in environment
    assert (tmp_path / "run" / "tmp").is_dir()


NO_INITRD = (r'\n *\["-initrd",[^\n]*', "")
BAD_ROOT = ("root=LABEL=root", "root=/dev/nothing")
NO_NETWORK = (r'"user,id=user\.0,[^"]*"', '"hubport,id=user.0,hubid=0"')
NO_WAITING = ("root=LABEL=root", "root=LABEL=root systemd.mask=systemd-networkd-wait-online.service")


@pytest.mark.boot
def test_kernel_panic_stops_packer_and_is_named(tmp_path):
    """A guest that cannot mount its root fails the build at once with the kernel's words, and leaves nothing."""
    guest = guests.make(tmp_path, changes=[NO_INITRD, BAD_ROOT])
    began = time.monotonic()
    with runs.run_folder(tmp_path / "cache") as run:
        with pytest.raises(BakeFailed) as failure:
            guest.build(run)
        assert not runs._marked(run.name)
    assert "the kernel cannot mount the root file system" in failure.value.message
    assert "Unable to mount root fs" in failure.value.message
    assert "root=" in failure.value.hint
    assert time.monotonic() - began < 90
    assert not guest.output.exists()


@pytest.mark.boot
def test_guest_without_network_is_given_up_when_it_has_settled(tmp_path):
    """A guest that gets no address fails the build with that reason, long before SSH's own timeout."""
    guest = guests.make(tmp_path, changes=[NO_NETWORK, NO_WAITING])
    with runs.run_folder(tmp_path / "cache") as run, pytest.raises(BakeFailed, match="no network"):
        guest.build(run)
    assert not guest.output.exists()


@pytest.mark.boot
def test_failing_user_data_fails_the_build_and_shows_the_module(tmp_path):
    """A command of the user-data that fails makes the build fail with cloud-init's module and the command's output."""
    user_data = f"{guests.NOTHING}runcmd:\n  - |\n    set -e\n    echo about to break\n    ls /not/there\n"
    guest = guests.make(tmp_path, user_data)
    with runs.run_folder(tmp_path / "cache") as run, pytest.raises(BakeFailed) as failure:
        guest.build(run)
    assert "scripts_user" in failure.value.message
    assert "/not/there" in failure.value.message
    assert not guest.output.exists()


@pytest.mark.boot
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_boot_leaves_no_process_and_no_file(tmp_path, number):
    """Ctrl-C and SIGTERM while the guest boots end Packer and QEMU and remove what Packer made."""
    guest = guests.make(tmp_path)
    child, mark = guests.interrupt(guest, tmp_path, number, "Linux version")
    assert child.returncode != 0
    assert not runs._marked(mark)
    assert not guest.output.exists()
    assert not list((tmp_path / "cache" / "runs").iterdir())


@pytest.mark.boot
def test_killed_build_is_mended_by_the_next_run(tmp_path):
    """After kill -9 whatever Packer left running is ended, and the run's folder is gone, when the next run begins."""
    guest = guests.make(tmp_path)
    _, mark = guests.interrupt(guest, tmp_path, signal.SIGKILL, "Linux version")
    with runs.run_folder(tmp_path / "cache") as run:
        assert not runs._marked(mark)
        assert [folder.name for folder in run.parent.iterdir()] == [run.name]
