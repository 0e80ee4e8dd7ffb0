"""Contracts run in a child pytest, and the report made of them; here against this host instead of a guest."""

import json
import os
import sys
import time
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path

import pytest

from skyvypack.accelerator import Accelerator
from skyvypack.errors import ContractFailed, InputError, Interrupted
from skyvypack.machine import wait
from skyvypack.roles import Port, Role, Services
from skyvypack.spec.model import Spec
from skyvypack.verify import Check, Report, verify
from skyvypack.verify.clones import Life, compare, side_by_side
from skyvypack.verify.contract import Contract
from skyvypack.verify.outside import Clone
from skyvypack.verify.shell import RootShell

# By way of sys.modules, because `skyvypack.verify` is the function, not the package.
CONTRACT = sys.modules[Contract.__module__]
DATA = Path(__file__).parent / "contracts"
ROLES = {
    "passing": Role(
        "passing",
        "holds",
        DATA / "passing",
        packages={"openssh-server": "remote access"},
        settings={"colour": "green"},
        ports=(Port(22, "tcp", "passing", "remote access"),),
        services=Services(enable={"ssh.service": "remote access"}),
    )
}


def make_spec(*names):
    roles = tuple(ROLES.get(name, Role(name, name, DATA / name)) for name in names)
    return Spec("toy", "1.0", "trixie", roles)


def make_contract(folder, *names, scale=1.0, phase="first boot"):
    clone = Clone("bios", "bios", "tester", folder)
    return Contract(make_spec(*names), clone, phase, folder / "run", root_shell=("sh",), cwd=folder, scale=scale)


@pytest.fixture(scope="module")
def checks(tmp_path_factory):
    """What one run over a passing, failing, skipping, broken and empty contract gives, by role and test."""
    folder = tmp_path_factory.mktemp("contract")
    found = wait(make_contract(folder, "passing", "failing", "skipping", "erroring", "empty", "missing").running())
    return {(check.role, check.test): check for check in found}


def make_report(*checks, names=("bios",), after="same"):
    return Report("toy 1.0", "toy.qcow2", names, checks, "same", after, {"bios, first boot": 61.5}, "tcg")


def make_check(outcome="passed", requirement="TOY-1", clone="bios", message="", phase="first boot"):
    return Check((requirement,), "toy", f"test_{requirement}", clone, phase, outcome, message, 0.25)


def test_fixtures_give_the_facts_and_passes_are_recorded(checks):
    """Every fixture of a contract has the value of the spec; a parametrized test counts once for each value."""
    passing = {test: check for (role, test), check in checks.items() if role == "passing"}
    assert {check.outcome for check in passing.values()} == {"passed"}, passing
    assert {"test_each[1]", "test_each[2]", "test_host_runs_commands"} <= set(passing)
    first = passing["test_host_runs_commands"]
    assert first.requirements == ("TOY-1", "TOY-2", "TOY-3")
    assert (first.clone, first.phase) == ("bios", "first boot")
    assert first.seconds > 0


@pytest.mark.parametrize(
    ("test", "message"),
    [
        ("test_fails", "the colour is wrong"),
        ("test_setup_breaks", "setup: RuntimeError: no ladder"),
        ("test_teardown_breaks", "teardown: RuntimeError: left open"),
    ],
)
def test_failures_of_each_kind_are_failures_with_their_reason(checks, test, message):
    """An assertion, a broken fixture and a broken teardown all fail the check and say why and where."""
    check = checks["failing", test]
    assert check.outcome == "failed"
    assert message in check.message
    assert "test_contract.py:" in check.message


def test_skips_and_expected_failures_prove_nothing(checks):
    """Neither counts as passed; each keeps its reason."""
    assert checks["skipping", "test_skips"].outcome == "skipped"
    assert checks["skipping", "test_skips"].message == "no second network card"
    assert checks["skipping", "test_is_expected_to_fail"].outcome == "skipped"
    assert checks["skipping", "test_is_expected_to_fail"].message == "expected to fail: known gap"


def test_contract_that_cannot_be_imported_fails_and_stops_no_other(checks):
    """The role fails with the import error; the other roles' checks ran all the same."""
    check = checks["erroring", "test_contract.py"]
    assert check.outcome == "failed"
    assert "no_such_module_anywhere" in check.message
    assert checks["passing", "test_phase_and_clone"].outcome == "passed"


@pytest.mark.parametrize("role", ["empty", "missing"])
def test_role_without_a_check_fails(checks, role):
    """A role whose contract holds no test, or that has no contract, is not proven by silence."""
    assert checks[role, "test_contract.py"].outcome == "failed"
    assert "no check" in checks[role, "test_contract.py"].message


def test_hanging_check_fails_alone(tmp_path):
    """One test without an end is cut off; the next one still runs."""
    contract = make_contract(tmp_path, "hanging", scale=0.02)
    found = {check.test: check for check in wait(contract.running())}
    assert found["test_hangs"].outcome == "failed"
    assert "no end after" in found["test_hangs"].message
    assert found["test_after_it"].outcome == "passed"


def test_run_without_an_end_is_stopped_and_nothing_of_it_counts_as_passed(tmp_path, monkeypatch):
    """When the whole run is out of time the child is gone and each test that did not end is a failure."""
    contract = make_contract(tmp_path, "hanging")
    running = contract.running()
    while next(running) is None and contract._record.read_text().count("collected") < 2:
        time.sleep(0.05)
    monkeypatch.setattr(CONTRACT, "RUN_SECONDS", 0.0)
    found = {check.test: check for check in wait(running)}
    assert {check.outcome for check in found.values()} == {"failed"}
    assert set(found) == {"test_hangs", "test_after_it"}
    assert "the contract was stopped" in found["test_hangs"].message


def test_child_that_cannot_start_is_a_failure_with_its_output(tmp_path, monkeypatch):
    """pytest's own refusal fails every role and shows what pytest said."""
    monkeypatch.setattr(CONTRACT, "_INI", "[pytest]\naddopts = --no-such-option\n")
    (check,) = wait(make_contract(tmp_path, "passing").running())
    assert (check.role, check.outcome) == ("passing", "failed")
    assert "--no-such-option" in check.message


def test_surroundings_do_not_reach_the_child(tmp_path, monkeypatch):
    """Neither pytest's environment variables nor a conftest.py or pytest.ini beside the role changes a contract."""
    role = tmp_path / "roles" / "passing"
    role.mkdir(parents=True)
    (role / "test_contract.py").write_text("def test_it(settings):\n    assert settings == {'colour': 'green'}\n")
    for folder in (role, role.parent):
        (folder / "conftest.py").write_text("raise SystemExit('read the conftest')\n")
        (folder / "pytest.ini").write_text("[pytest]\naddopts = --no-such-option\n")
    monkeypatch.setenv("PYTEST_ADDOPTS", "--no-such-option")
    contract = make_contract(tmp_path, "passing")
    spec = replace(contract.spec, roles=(replace(ROLES["passing"], folder=role),))
    (check,) = wait(replace(contract, spec=spec).running())
    assert check.outcome == "passed", check.message
    assert [path.name for path in sorted(role.iterdir())] == ["conftest.py", "pytest.ini", "test_contract.py"]


def test_stopping_early_leaves_no_child(tmp_path):
    """Closing a run that is under way (Ctrl-C) ends its pytest at once."""
    running = make_contract(tmp_path, "hanging").running()
    next(running)
    folder = str(tmp_path / "run").encode()

    def children():
        lines = (entry.read_bytes() for entry in Path("/proc").glob("[0-9]*/cmdline") if os.access(entry, os.R_OK))
        return [line for line in lines if folder in line and b"pytest" in line]

    while not children():
        next(running)
    running.close()
    assert not children()


def test_requirement_is_proved_only_when_every_clone_that_tried_proved_it():
    """One clone's pass does not make up for the other's skip or failure; what they share, one is enough for."""
    report = make_report(
        make_check(requirement="A"),
        make_check(requirement="A", clone="uefi"),
        make_check(requirement="B"),
        make_check("skipped", "B", "uefi", "no TPM"),
        make_check(requirement="C"),
        make_check("failed", "C", "uefi", "refused"),
        make_check(requirement="D", clone="uefi"),
        names=("bios", "uefi"),
    )
    assert [(one.id, one.state) for one in report.requirements] == [
        ("A", "proved"),
        ("B", "not proven"),
        ("C", "failed"),
        ("D", "proved"),
    ]
    assert report.requirements[1].reason == "on uefi: no TPM"
    assert "refused" in report.requirements[2].reason
    assert not report.passed


@pytest.mark.parametrize(
    ("report", "words"),
    [
        (make_report(make_check("failed", message="port 22 is closed")), "port 22 is closed"),
        (make_report(make_check(), after="other"), "the disk was written"),
        (make_report(), "nothing was checked"),
        (make_report(make_check(), names=("bios", "uefi")), "nothing was checked"),
        (make_report(make_check("skipped")), "nothing was checked"),
    ],
    ids=["failure", "written disk", "no checks", "a clone without checks", "only skips"],
)
def test_whatever_is_not_proven_is_refused(report, words):
    """A failure, a written disk and silence all break the contract, with exit code 3 and a reason."""
    assert not report.passed
    with pytest.raises(ContractFailed, match=words) as broken:
        report.require()
    assert broken.value.exit_code == 3
    assert "NOT proven" in report.summary()


def test_good_report_passes_and_reads_well():
    """`require` is silent; the summary has counts, requirements and boot times; JSON holds everything."""
    report = make_report(make_check(), make_check("skipped", "TOY-2", message="no second disk"))
    report.require()
    assert report.summary().splitlines()[:5] == [
        "toy 1.0: proven (1 passed, 0 failed, 1 skipped)",
        "  proved: TOY-1",
        "  not proven: TOY-2: on bios: no second disk",
        "  boot: bios, first boot: 62 s",
        "  disk: unchanged",
    ]
    facts = json.loads(json.dumps(report.as_dict()))
    assert facts["passed"] is True
    assert facts["requirements"][0] == {"id": "TOY-1", "state": "proved", "reason": ""}
    assert facts["checks"][1]["message"] == "no second disk"


def test_junit_has_a_suite_for_each_clone_and_phase(tmp_path):
    """Counts, requirements and messages are there, and control characters of a console do not break the XML."""
    report = make_report(
        make_check(),
        make_check("failed", message="\x1b[31mred\x00\nsecond line"),
        make_check("skipped", phase="after reboot", message="why"),
    )
    report.write_junit(tmp_path / "new" / "contract.xml")
    suites = ET.parse(tmp_path / "new" / "contract.xml").getroot()
    counts = {s.get("name"): (s.get("tests"), s.get("failures"), s.get("skipped")) for s in suites}
    assert counts == {"bios, first boot": ("2", "1", "0"), "bios, after reboot": ("1", "0", "1")}
    assert suites.find(".//property").attrib == {"name": "requirement", "value": "TOY-1"}
    assert "second line" in suites.find(".//failure").text


def make_life(folder, firmware, identity):
    accelerator = Accelerator("tcg", "test", (), 1.0)
    life = Life(make_spec("passing"), folder / "disk", firmware, folder / firmware, accelerator, None)
    life.identity = identity
    return life


def test_clones_that_share_an_identity_break_the_contract(tmp_path):
    """A machine-id or host key that two clones have in common is named; two different clones pass."""
    one = {"machine-id": "a", "/etc/ssh/ssh_host_ed25519_key.pub": "k"}
    bios, uefi = make_life(tmp_path, "bios", one), make_life(tmp_path, "uefi", one | {"machine-id": "b"})
    (check,) = compare([bios, uefi])
    assert check.outcome == "failed"
    assert "ssh_host_ed25519_key.pub" in check.message
    assert "machine-id" not in check.message
    uefi.identity = {"machine-id": "b", "/etc/ssh/ssh_host_ed25519_key.pub": "l"}
    assert [check.outcome for check in compare([bios, uefi])] == ["passed"]
    assert compare([bios]) == []


class FakeLife:
    """Counts its steps and notes how it ended."""

    def __init__(self, steps, error=None):
        self.steps, self.error, self.ended = steps, error, ""

    def living(self):
        try:
            for _ in range(self.steps):
                yield
            if self.error:
                raise self.error
            self.ended = "well"
        except GeneratorExit:
            self.ended = "stopped"
            raise


def test_lives_take_turns_and_all_end():
    """A short life does not end a long one."""
    lives = [FakeLife(1), FakeLife(5)]
    side_by_side(lives)
    assert [life.ended for life in lives] == ["well", "well"]


def test_interrupt_stops_every_clone():
    """An error that is not a clone's own (Ctrl-C) reaches the caller after every other life was ended."""
    lives = [FakeLife(50), FakeLife(2, Interrupted("stop")), FakeLife(50)]
    with pytest.raises(Interrupted):
        side_by_side(lives)
    assert [life.ended for life in lives] == ["stopped", "", "stopped"]


@pytest.mark.parametrize("firmware", [(), ("bios", "bios"), ("coreboot",)])
def test_senseless_firmware_is_refused(tmp_path, firmware):
    """No clone at all, the same twice, or an unknown one is the caller's mistake."""
    with pytest.raises(InputError, match="firmware"):
        verify(make_spec("passing"), tmp_path / "no.qcow2", firmware=firmware, report_folder=tmp_path / "report")


def test_missing_disk_is_refused_before_anything_is_made(tmp_path):
    """The message names the file, and no report folder appears."""
    with pytest.raises(InputError, match=r"no\.qcow2"):
        verify(make_spec("passing"), tmp_path / "no.qcow2", report_folder=tmp_path / "report")
    assert not (tmp_path / "report").exists()


@pytest.fixture
def shell(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    shell = RootShell("here", ["sh"])
    yield shell
    shell.close()


def test_shell_gives_code_output_and_errors_apart(shell):
    """As testinfra's own backends do, for text, bytes and quotes of any kind, through one process."""
    done = shell.host.run("printf 'grün\\n%%s' %s; printf \"it's\" >&2; exit 3", "a 'b' $c")
    assert (done.rc, done.stdout, done.stderr) == (3, "grün\na 'b' $c", "it's")
    for script, found in (("exit 4", (4, "", "")), ("echo out", (0, "out\n", "")), ("echo err >&2", (0, "", "err\n"))):
        done = shell.host.run(script)
        assert (done.rc, done.stdout, done.stderr) == found
    assert shell.host.check_output("echo $PPID") == shell.host.check_output("echo $PPID")
    assert shell.host.file("/etc/passwd").is_file
    assert shell.host.check_output("printf 'a\\200b'") == "a\ufffdb"


def test_shell_leaves_nothing_behind(shell, tmp_path):
    """Its folder of answers goes with it."""
    assert shell.host.run("true").rc == 0
    assert [path for path in tmp_path.iterdir() if path.name.startswith("tmp.")]
    shell.close()
    assert not [path for path in tmp_path.iterdir() if path.name.startswith("tmp.")]


def test_daemon_left_behind_holds_up_nothing(shell):
    """A command's background process does not keep its answer from us."""
    began = time.monotonic()
    assert shell.host.run("sleep 30 & echo done").stdout == "done\n"
    assert time.monotonic() - began < 10


def test_lost_shell_is_an_error_once_and_started_again(shell):
    """The command that lost it fails with what it was; the next one works."""
    with pytest.raises(RuntimeError, match="kill"):
        shell.host.run("kill -9 $PPID")
    assert shell.host.check_output("echo back") == "back"


def test_shell_that_cannot_start_says_why():
    """What ssh complained of is in the error."""
    shell = RootShell("nowhere", ["sh", "-c", "echo Connection refused >&2; exit 255"])
    with pytest.raises(RuntimeError, match="Connection refused"):
        shell.host.run("true")
