"""What the shared suite needs to know of a registrar, and how it finds each one's adapter.

A registrar joins the suite by a module `adapter_<target>.py` in this folder, with a function `running(folder)`: a
context manager that yields an `Adapter` whose platform runs and is empty, and stops it in the end. The module may set
``MARKS``, pytest marks for all of its cases.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from skyvypack import artifact
from skyvypack.artifact import Artifact
from skyvypack.registrar import Guest, Template
from skyvypack.roles import Role
from skyvypack.spec.model import Machine, Spec
from skyvypack.verify import Check, Report

Hook = Callable[[str], None]


def ignore(call: str) -> None:
    """A hook that does nothing."""


class Adapter(ABC):
    """One platform under test."""

    target: str
    # Which disk format the registrar takes.
    disk = "qcow2"

    @abstractmethod
    def settings(self) -> dict[str, Any]:
        """The target's settings, complete, that lead to the running platform."""

    @abstractmethod
    def environment(self) -> dict[str, str]:
        """Variables with credentials."""

    @abstractmethod
    def objects(self) -> Mapping[str, str]:
        """Everything on the platform that a run could leave, with what matters of it; running ones included."""

    @abstractmethod
    def use(self, template: Template) -> str:
        """Put a template to use, as by a linked clone; returns a word that a refusal must hold."""

    @staticmethod
    @abstractmethod
    def hooked(before: Hook, after: Hook = ignore) -> AbstractContextManager[None]:
        """Call `before` ahead of each request that changes the platform, and `after` once it was answered.

        What a hook raises comes out of the registrar's call of its SDK. Must work in a fresh process too.
        """

    @staticmethod
    @abstractmethod
    def transient() -> Exception:
        """An error of the SDK that passes, as when a connection breaks."""

    @staticmethod
    @abstractmethod
    def permanent() -> Exception:
        """An error of the SDK that does not pass, as when a right is missing."""

    def impostor(self, mark: Mapping[str, str]) -> bool:
        """Make what a journaled mark would find, by somebody else; False when the platform rules that out."""
        return False

    def is_impostor_there(self, mark: Mapping[str, str]) -> bool:
        """Whether what `impostor` made still stands."""
        return False

    @staticmethod
    def quick() -> AbstractContextManager[None]:
        """Let a child process wait for nothing longer than it has to, as `running` does here."""
        return nullcontext()

    def spec(self, version: str = "1.0.0", name: str = "web") -> Spec:
        """A spec for this platform."""
        return spec_of(self.target, self.settings(), version, name)

    def write_disk(self, path: Path, content: bytes) -> None:
        """Write a disk that the platform takes."""
        path.write_bytes(content)

    def artifact(self, folder: Path, spec: Spec, content: bytes = b"disk") -> Artifact:
        """An artifact of a spec, with a small disk."""
        folder = folder / f"{spec.name}-{spec.version}-{hashlib.sha256(content).hexdigest()[:6]}"
        if folder.exists():
            return artifact.load(folder)
        folder.mkdir(parents=True)
        path = folder / f"{spec.name}-{spec.version}.{self.disk}"
        self.write_disk(path, content)
        disk = artifact.DiskFile(path, self.disk, path.stat().st_size, hashlib.sha256(path.read_bytes()).hexdigest())
        nothing: dict[str, Any] = {"inputs": {}, "packages": (), "timings": {}, "tools": {}, "accelerator": {}}
        return artifact.write_manifest(folder, [disk], spec, self.target, **nothing, checks=[])


class FakeProver:
    """Proves a clone without looking at it.

    Args:
        passes: what it finds.
    """

    user_data = "#cloud-config\n{}\n"

    def __init__(self, passes: bool = True) -> None:
        self.passes = passes
        self.guests: list[Guest] = []

    def prove(self, guest: Guest, template: Template, progress: object) -> Report:
        """A report with one check."""
        self.guests.append(guest)
        check = Check((), "toy", "test_toy", "clone", "first boot", "passed" if self.passes else "failed")
        return Report(template.title, template.id, ("clone",), (check,), template.digest, template.digest)


def modules() -> Iterator[str]:
    """The names of all adapters."""
    yield from sorted(path.stem for path in Path(__file__).parent.glob("adapter_*.py"))


def spec_of(target: str, settings: Mapping[str, Any], version: str, name: str = "web") -> Spec:
    """A spec with one role, for one target."""
    roles = (Role("toy", "a toy", Path("toy")),)
    return Spec(name, version, "trixie", roles, machine=Machine(disk=4), targets={target: settings})
