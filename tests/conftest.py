"""What every test gets: a cache of its own, and no way to start a real tool by accident."""

from __future__ import annotations

import signal
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from fixture_types import FakeTool

from skyvypack import command

# Contracts that test_verify.py hands to a pytest of its own: data, never tests of this suite.
collect_ignore = ["contracts"]

_MARKERS = ("tool", "layer", "boot", "load")
# Part of every Debian and quick: a unit test may start them.
_HARMLESS = frozenset(
    ["sh", "bash", "cat", "echo", "env", "false", "head", "kill", "printf", "setpriv", "sleep", "true", "yes"]
)


@pytest.fixture(autouse=True, scope="session")
def _interruptible() -> None:
    """Signals work as from a terminal, also where a background job was started with them ignored."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing a test makes lands in the developer's cache; a test may set another one."""
    monkeypatch.setenv("SKYVYPACK_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("SKYVYPACK_STATE", str(tmp_path / "state"))


@pytest.fixture(autouse=True)
def _no_real_tools(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In tests without a marker only harmless programs and fakes of the test can be started."""
    if any(request.node.get_closest_marker(name) for name in _MARKERS):
        return
    resolve = command._resolve
    fakes = tmp_path_factory.getbasetemp()

    def guarded(argv: Sequence[str | Path], tied: bool) -> list[str]:
        found = command.which(str(argv[0]))
        if found and found.name not in _HARMLESS and found != Path(sys.executable) and not found.is_relative_to(fakes):
            pytest.fail(f"a unit test started {found}: use fake_tool, or mark the test: tool, layer, boot or load")
        return resolve(argv, tied)

    monkeypatch.setattr(command, "_resolve", guarded)


@pytest.fixture
def fake_tool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeTool:
    """Put a shell script first on PATH: ``fake_tool("packer", "echo Packer v1.5.0")``."""
    folder = tmp_path / "fake-tools"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder), prepend=":")

    def make(name: str, script: str) -> Path:
        tool = folder / name
        tool.write_text(f"#!/bin/sh\n{script}\n")
        tool.chmod(0o755)
        return tool

    return make
