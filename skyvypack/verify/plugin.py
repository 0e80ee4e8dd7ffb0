"""The pytest plugin that a contract runs with: its fixtures, and a record of what came of each test.

It runs in a process of its own, started by `contract`, which gives it the facts in one JSON file and reads the
record: JSON lines, each written out at once, so that a run which is stopped still tells how far it got.
"""

from __future__ import annotations

import hashlib
import json
import signal
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType, SimpleNamespace
from typing import Any

import pytest

from skyvypack.roles import Port, Services
from skyvypack.verify.outside import Clone
from skyvypack.verify.shell import RootShell

_FACTS = pytest.StashKey[dict[str, Any]]()
_LONGEST = 4000
_LEFT = pytest.StashKey[bool]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option that names the file of facts."""
    parser.addoption("--contract-facts", required=True, type=Path, help="JSON file of what the fixtures give")


def pytest_configure(config: pytest.Config) -> None:
    """Read the facts and begin the record."""
    facts = json.loads(config.getoption("--contract-facts").read_text())
    config.stash[_FACTS] = facts
    config.addinivalue_line("markers", "requirement(*ids): the requirements that this test proves")
    config.addinivalue_line(
        "markers", "once: long, not changed by firmware or reboot: run on one clone, at the end of its life"
    )
    config.addinivalue_line(
        "markers", "each_boot: changed by firmware, disk or restart: run on every boot of each clone"
    )
    config.pluginmanager.register(Recorder(Path(facts["record"]), facts["roles"], facts["test_seconds"]))
    claims = Path(facts["claims"]) if facts["claims"] else None
    config.pluginmanager.register(Sharing(claims, backwards=facts["backwards"]))


class Recorder:
    """Writes down what was collected and what came of it.

    Args:
        path: the record.
        roles: the facts of each role, by name.
        seconds: after which one test counts as failed.
    """

    def __init__(self, path: Path, roles: dict[str, Any], seconds: float) -> None:
        self._path = path
        self._roles = {Path(role["folder"]): name for name, role in roles.items()}
        self._seconds = seconds
        self._ended: dict[str, dict[str, Any]] = {}

    def _write(self, kind: str, facts: dict[str, Any]) -> None:
        with self._path.open("a") as record:
            record.write(json.dumps({"kind": kind} | facts) + "\n")

    def _identity(self, item: pytest.Item) -> dict[str, Any]:
        ids = {str(name) for marker in item.iter_markers("requirement") for name in marker.args}
        return {"role": self._roles[item.path.parent], "test": item.name, "requirements": sorted(ids)}

    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        """Leave out what is for the end of the clone's life, and what another clone shows of this phase."""
        facts = config.stash[_FACTS]
        spared = [item for item in items if _spared(item, last=facts["last"], alone=not facts["claims"])]
        for item in spared:
            self._write("spared", self._identity(item))
        config.hook.pytest_deselected(items=spared)
        items[:] = [item for item in items if item not in spared]

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Note what is going to run."""
        for item in session.items:
            self._write("collected", self._identity(item))

    @pytest.hookimpl(wrapper=True)
    def pytest_make_collect_report(
        self, collector: pytest.Collector
    ) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
        """Note a contract that cannot be imported, or that skips itself as a whole."""
        report = yield
        if not report.passed:
            facts = {"role": self._roles[collector.path.parent], "test": collector.path.name, "requirements": []}
            self._write("ended", facts | {"outcome": report.outcome, "message": _message(report), "seconds": 0.0})
        return report

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Put a test's setup, call and teardown together and note what came of it."""
        report = yield
        facts = self._ended.setdefault(
            item.nodeid, self._identity(item) | {"outcome": "passed", "message": "", "seconds": 0.0}
        )
        facts["seconds"] += call.duration
        if not report.passed and facts["outcome"] != "failed":
            facts["outcome"] = report.outcome
            facts["message"] = ("" if report.when == "call" else f"{report.when}: ") + _message(report)
        if report.when == "teardown":
            ended = self._ended.pop(item.nodeid)
            self._write("spared" if item.stash.get(_LEFT, False) else "ended", ended)
        return report

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(self) -> Generator[None, None, None]:
        """Let no test hold up the others."""
        with _alarm(self._seconds):
            return (yield)


def _spared(item: pytest.Item, *, last: bool, alone: bool) -> bool:
    """Whether a test is left to a later run on this clone or, when it is not alone, to another clone."""
    if last or item.get_closest_marker("each_boot"):
        return False
    return not alone or item.get_closest_marker("once") is not None


class Sharing:
    """Lets the clones of one template share the tests that one of them is enough for.

    Whoever comes to such a test first runs it. They come last, so that a system is judged as it booted before anything
    is tried on it; and one clone begins at their end, so that the clones meet in the middle.

    Args:
        claims: a folder that the runs share, with a file for each test that is taken; None for a clone that is alone.
        backwards: begin at their end, module by module.
    """

    def __init__(self, claims: Path | None, *, backwards: bool) -> None:
        self._claims = claims
        self._backwards = backwards

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Put the shared tests last, in this clone's order."""
        shared = [item for item in items if item.get_closest_marker("once")]
        modules = list(dict.fromkeys(item.path for item in shared))
        if self._backwards:
            modules.reverse()
        shared.sort(key=lambda item: modules.index(item.path))
        items[:] = [item for item in items if item not in shared] + shared

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        """Take a shared test, before its fixtures are made, or leave it to who has."""
        if self._claims is None or not item.get_closest_marker("once"):
            return
        claim = self._claims / hashlib.sha256(f"{item.path}\n{item.name}".encode()).hexdigest()
        try:
            claim.touch(exist_ok=False)
        except FileExistsError:
            item.stash[_LEFT] = True
            pytest.skip("another clone of this template shows it")


@contextmanager
def _alarm(seconds: float) -> Iterator[None]:
    def ring(_number: int, _frame: FrameType | None) -> None:
        pytest.fail(f"no end after {seconds:.0f} s")

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _message(report: pytest.CollectReport | pytest.TestReport) -> str:
    longrepr: Any = report.longrepr
    if isinstance(longrepr, tuple):  # a skip: file, line, reason
        return str(longrepr[2]).removeprefix("Skipped: ")
    if reason := getattr(report, "wasxfail", ""):
        return f"expected to fail: {reason}"
    crash = getattr(longrepr, "reprcrash", None)
    if crash is not None:
        return f"{crash.message} ({Path(crash.path).name}:{crash.lineno})"[:_LONGEST]
    return report.longreprtext[-_LONGEST:]


@pytest.fixture(scope="session")
def facts(request: pytest.FixtureRequest) -> dict[str, Any]:
    """Everything in the file of facts."""
    return request.config.stash[_FACTS]


@pytest.fixture(scope="session")
def host(facts: dict[str, Any]) -> Iterator[Any]:
    """The clone, as testinfra sees it: every command is run by root."""
    shell = RootShell(facts["clone"]["name"], facts["root_shell"])
    yield shell.host
    shell.close()


@pytest.fixture(scope="module")
def settings(request: pytest.FixtureRequest, facts: dict[str, Any]) -> dict[str, Any]:
    """The settings of the role whose contract this is."""
    found = [role["settings"] for role in facts["roles"].values() if Path(role["folder"]) == request.path.parent]
    return dict(found[0])


@pytest.fixture(scope="session")
def spec(facts: dict[str, Any]) -> SimpleNamespace:
    """The spec's name, version, title, debian, release_number, machine, origins, packages and files.

    Beside them ``requested``, every package that was named for the image, and ``base``, the kind of its base.
    """
    values = facts["spec"]
    return SimpleNamespace(**values | {"machine": SimpleNamespace(**values["machine"])})


@pytest.fixture(scope="session")
def roles(facts: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The settings of every role, by its name."""
    return {name: role["settings"] for name, role in facts["roles"].items()}


@pytest.fixture(scope="session")
def ports(facts: dict[str, Any]) -> list[Port]:
    """Every role's ports."""
    return [Port(**port) for role in facts["roles"].values() for port in role["ports"]]


@pytest.fixture(scope="session")
def services(facts: dict[str, Any]) -> Services:
    """Every role's units: what is enabled, disabled and masked, each with its reason."""
    merged: dict[str, dict[str, str]] = {"enable": {}, "disable": {}, "mask": {}}
    for role in facts["roles"].values():
        for kind, units in merged.items():
            units.update(role["services"][kind])
    return Services(**merged)


@pytest.fixture(scope="session")
def packages(facts: dict[str, Any]) -> dict[str, str]:
    """Every role's Debian packages, each with its reason."""
    return {name: reason for role in facts["roles"].values() for name, reason in role["packages"].items()}


@pytest.fixture(scope="session")
def phase(facts: dict[str, Any]) -> str:
    """``first boot`` or ``after reboot``."""
    return str(facts["phase"])


@pytest.fixture(scope="session")
def clone(facts: dict[str, Any]) -> Clone:
    """The clone as seen from outside."""
    return Clone(**facts["clone"] | {"folder": Path(facts["clone"]["folder"])})
