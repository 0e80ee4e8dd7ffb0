"""A simulated Proxmox VE for the tests of this folder, and the table of what came of each fault."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

_TESTS = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(_TESTS / "registrars"), str(_TESTS / "simulators")]

from skyvypack.registrar import Registration, Wishes, register  # noqa: E402

TABLE = pytest.StashKey[dict[str, dict[str, str]]]()


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """An adapter with its cluster, empty and running; credentials are in the environment."""
    import adapter_proxmox

    with adapter_proxmox.running(tmp_path) as made:
        for name, value in made.environment().items():
            monkeypatch.setenv(name, value)
        yield made


@pytest.fixture
def do(cluster: Any, tmp_path: Path) -> Callable[..., Registration]:
    """Registers a small disk: ``do("1.0.0", channel="stable")``."""

    import adapters

    def registered(version: str = "1.0.0", *, content: bytes = b"disk", **wishes: Any) -> Registration:
        spec = cluster.spec(version)
        artifact = cluster.artifact(tmp_path / "output", spec, content)
        return register(spec, "proxmox", artifact, wishes=Wishes(**wishes), prover=adapters.FakeProver())

    return registered


@pytest.fixture
def outcomes(request: pytest.FixtureRequest, record_testsuite_property: Any) -> Iterator[dict[str, str]]:
    """Where a test writes what came of its fault at each step; shown at the end, and in JUnit XML."""
    rows: dict[str, str] = {}
    yield rows
    name = request.node.callspec.id
    request.config.stash.setdefault(TABLE, {})[name] = rows
    for step, outcome in rows.items():
        record_testsuite_property(f"proxmox fault: {name} at {step}", outcome)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Show the table: a line for each fault, a column for each step."""
    table = config.stash.get(TABLE, {})
    if not table:
        return
    terminalreporter.section("Proxmox VE: what came of each fault at each step")
    steps = list(dict.fromkeys(step for rows in table.values() for step in rows))
    width = max(map(len, table))
    for number, step in enumerate(steps, 1):
        terminalreporter.write_line(f"  {number:>2} {step}")
    terminalreporter.write_line("  R registered  U undone  L left, then reaped  S stands, a second run goes on")
    terminalreporter.write_line(" " * (width + 2) + " ".join(f"{number:>2}" for number in range(1, len(steps) + 1)))
    for name, rows in table.items():
        cells = " ".join(f" {rows[step][0].upper()}" if step in rows else "  " for step in steps)
        terminalreporter.write_line(f"{name:<{width}}  {cells}")
