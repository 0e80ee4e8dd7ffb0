"""Runs each test of the shared suite over every registrar that has an adapter."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from skyvypack.registrar import Registration, Wishes, flow, register, upkeep
from skyvypack.registrar.find import find

# Before the adapters import it as a module of its own.
sys.path.insert(0, str(Path(__file__).parent))

import adapters


def _cases() -> Iterator[Any]:
    for name in adapters.modules():
        id = name.removeprefix("adapter_")
        try:
            module = import_module(name)
        except ImportError as error:
            yield pytest.param(None, id=id, marks=pytest.mark.skip(reason=f"{error}: install the extra `dev`"))
        else:
            yield pytest.param(module, id=id, marks=getattr(module, "MARKS", ()))


@pytest.fixture(params=_cases())
def adapter(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A registrar's platform, running and empty."""
    module: ModuleType = request.param
    with module.running(tmp_path) as made:
        for name, value in made.environment().items():
            monkeypatch.setenv(name, value)
        if hasattr(module, "connect"):  # the reference registrar is its own module
            for place in (flow, upkeep):
                monkeypatch.setattr(place, "find", lambda target: module if target == made.target else find(target))
        yield made


Register = Callable[..., Registration]


@pytest.fixture
def do(adapter: Any, tmp_path: Path) -> Register:
    """Registers a small disk: ``do("1.0.0", channel="stable", keep=2)``."""

    def registered(
        version: str = "1.0.0", *, content: bytes = b"disk", prover: adapters.FakeProver | None = None, **wishes: Any
    ) -> Registration:
        spec = adapter.spec(version)
        artifact = adapter.artifact(tmp_path / "output", spec, content)
        prover = prover or adapters.FakeProver()
        return register(spec, adapter.target, artifact, wishes=Wishes(**wishes), prover=prover)

    return registered
