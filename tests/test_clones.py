"""The life of clones from first boot to power-off, with a QEMU and an ssh that are scripts."""

import sys
from pathlib import Path

import fake_guest
import pytest

from skyvypack import command, link
from skyvypack import machine as machines
from skyvypack.accelerator import Accelerator
from skyvypack.errors import ContractFailed, ToolMissing
from skyvypack.progress import Progress
from skyvypack.roles import Role
from skyvypack.spec.model import Spec
from skyvypack.verify import Check, verify
from skyvypack.verify.clones import Life
from skyvypack.verify.contract import Contract

TCG = Accelerator("tcg", "test", (), 1.0)
CONTRACT = """
import pytest

@pytest.mark.requirement("TOY-1")
def test_toy(host):
    assert host.check_output("echo here") == "here"
"""
# Every clone has its own working folder, which is as good an identity as any.
SSH = fake_guest.SSH.replace(
    "*) exit 7",
    """*result.json*) echo '{"v1": {"datasource": "DataSourceNoCloud", "errors": []}}' ;;
*machine-id*) printf 'machine-id\\t%s\\n/etc/ssh/ssh_host_ed25519_key.pub\\t%s\\n' "$PWD" "$PWD" ;;
*"sudo sh") exec sh ;;
*) exit 7""",
)
PANIC = """
import sys
if "uefi" in sys.argv:
    CONSOLE = "[    1.0] Kernel panic - not syncing: Attempted to kill init!\\n"
"""


@pytest.fixture
def quick(monkeypatch):
    """Spares a test the child pytest, which test_verify.py is about."""

    def running(contract):
        yield
        return [Check(("TOY-1",), "toy", "test_toy", contract.clone.name, contract.phase, "passed")]

    monkeypatch.setattr(Contract, "running", running)


@pytest.fixture
def run(tmp_path, fake_tool, monkeypatch):
    """Verifies a disk whose clones are fakes."""
    monkeypatch.setattr(link, "_RETRY", 0.05)
    monkeypatch.setattr(sys.modules[Life.__module__], "_PAUSE", 0.01)
    monkeypatch.setattr(machines, "_OVMF_FOLDERS", (tmp_path,))
    for name in machines._OVMF:
        (tmp_path / name).write_text("firmware")
    role = tmp_path / "toy"
    role.mkdir()
    (role / "test_contract.py").write_text(CONTRACT)
    disk = tmp_path / "toy.qcow2"
    disk.write_text("disk")
    seen = []

    def verified(ssh=SSH, qemu=fake_guest.QEMU, firmware=("bios", "uefi")):
        fake_guest.install(tmp_path, fake_tool, ssh=ssh, qemu=qemu)
        spec = Spec("toy", "1.0", "trixie", (Role("toy", "a toy", role),))
        folder = tmp_path / "report"
        return verify(
            spec, disk, report_folder=folder, firmware=firmware, accelerator=TCG, progress=Progress(seen.append)
        )

    verified.folder = tmp_path / "report"
    verified.events = seen
    return verified


def _failed(report):
    return {(check.clone, check.phase, check.test.split(" by ")[0]): check.message for check in report.failures}


def _lived(report, clone):
    return [(check.phase, check.role, check.test) for check in report.checks if check.clone == clone]


def test_both_clones_live_their_whole_life(run):
    """Each boots and is judged; one powers off, the other reboots and is judged again; only the report is left."""
    report = run()
    assert report.passed, report.summary()
    assert _lived(report, "bios") == [
        ("first boot", "clone", "boots by bios from virtio-blk"),
        ("first boot", "clone", "cloud-init applied the first-boot user-data"),
        ("first boot", "clone", "has an identity of its own"),
        ("first boot", "toy", "test_toy"),
        ("first boot", "clone", "powers off when its power button is pressed"),
        ("comparison", "clone", "differs from uefi in every identity"),
    ]
    assert _lived(report, "uefi") == [
        ("first boot", "clone", "boots by uefi from nvme"),
        ("first boot", "clone", "cloud-init applied the first-boot user-data"),
        ("first boot", "clone", "has an identity of its own"),
        ("after reboot", "clone", "boots again by uefi from nvme"),
        ("after reboot", "clone", "keeps its identity"),
        ("after reboot", "toy", "test_toy"),
    ]
    assert {one.id for one in report.requirements if one.state == "proved"} >= {"TOY-1", "BAS-6", "NET-1"}
    assert set(report.boots) == {"bios, first boot", "uefi, first boot", "uefi, after reboot"}
    kept = {path.name for path in run.folder.iterdir()}
    logs = {f"{name}-{log}.log" for name in report.clones for log in ("console", "first-boot")}
    assert kept == {"contract.xml", "uefi-after-reboot.log"} | logs
    runs = Path(run.folder.parent, "cache", "runs")
    assert list(runs.iterdir()) == []


def test_stages_are_reported_with_their_clone(quick, run):
    """Each stage begins and ends, under a name that stays the same from run to run."""
    report = run(firmware=("bios",))
    ended = [event.stage for event in run.events if event.kind == "end"]
    assert ended == [
        "verify bios: boot",
        "verify bios: contract, first boot",
        "verify bios: reboot",
        "verify bios: contract, after reboot",
    ]
    assert report.checks[-1].test == "powers off when its power button is pressed", "one alone does all"


def test_one_clone_that_panics_does_not_spare_the_other(quick, run):
    """The panic is that clone's failure of BAS-6, with its console; the other clone is judged to the end."""
    report = run(qemu=PANIC + fake_guest.QEMU)
    failed = _failed(report)
    assert list(failed) == [("uefi", "first boot", "boots")]
    assert "Attempted to kill init" in failed["uefi", "first boot", "boots"]
    assert sum(check.clone == "bios" for check in report.checks) == 5
    with pytest.raises(ContractFailed, match="Attempted to kill init"):
        report.require()


def test_clones_with_one_identity_fail(quick, run):
    """A host key baked into the template shows on two clones."""
    report = run(ssh=SSH.replace('"$PWD" "$PWD"', '"$PWD" same'))
    assert list(_failed(report)) == [("bios", "comparison", "differs from uefi in every identity")]


def test_identity_that_changes_with_a_reboot_fails(quick, run):
    """A clone that makes new host keys at every boot is no use to anyone."""
    report = run(ssh=SSH.replace('"$PWD" "$PWD"', '"$PWD" "$PWD$(cat boots 2>/dev/null)"'), firmware=("bios",))
    failed = _failed(report)
    assert list(failed) == [("bios", "after reboot", "keeps its identity")]
    assert "ssh_host_ed25519_key" in failed["bios", "after reboot", "keeps its identity"]


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ('"errors": ["module users_groups failed"]', "module users_groups failed"),
        ('"errors": [], "datasource": "DataSourceNone"', "did not read the user-data"),
    ],
)
def test_first_boot_configuration_that_was_not_applied_fails(quick, run, wrong, words):
    """cloud-init's own verdict is believed, and the contract is run all the same."""
    report = run(ssh=SSH.replace('"errors": []', wrong), firmware=("bios",))
    failed = _failed(report)
    assert words in failed["bios", "first boot", "cloud-init applied the first-boot user-data"]
    assert [check.outcome for check in report.checks if check.role == "toy"] == ["passed", "passed"]


def test_written_disk_is_noticed(quick, run):
    """Whoever writes the disk during a verification spoils it."""
    report = run(qemu='open("../../../../../toy.qcow2", "a").write("x")\n' + fake_guest.QEMU, firmware=("bios",))
    assert not report.failures
    assert not report.passed
    with pytest.raises(ContractFailed, match="the disk was written"):
        report.require()


def test_missing_program_is_no_verdict_on_the_template(quick, run, monkeypatch):
    """Without QEMU there is no report; the error names the program."""
    which = command.which
    monkeypatch.setattr(command, "which", lambda tool: None if tool.startswith("qemu-system") else which(tool))
    with pytest.raises(ToolMissing, match="qemu-system"):
        run()
