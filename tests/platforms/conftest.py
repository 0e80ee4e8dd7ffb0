"""A bundle and the guest that its Packer will find."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from simulators.ssh_guest import Guest, Reply, serving
from target_cases import PLAIN, with_settings

from skyvypack import command
from skyvypack.command import Done
from skyvypack.render import render
from skyvypack.spec.model import Base, Spec
from skyvypack.write import write

SCRIPTS = {"handing the configuration": "apply", "waiting for cloud-init": "wait", "skyvypack-seal.sh": "seal"}


@dataclass
class Build:
    """A bundle ready for Packer.

    Args:
        spec: it was rendered from.
        folder: it is in, with what prepare.sh made.
        files: of the bundle.
        guest: that Packer logs in to.
    """

    spec: Spec
    folder: Path
    files: Mapping[str, str]
    guest: Guest

    def run(self, environment: Mapping[str, str]) -> Done:
        """`packer build`, to its end."""
        settings = {"CHECKPOINT_DISABLE": "1", "PACKER_CACHE_DIR": str(self.folder / "build")}
        argv = ["packer", "build", "-color=false", self.folder]
        return command.run(argv, env={**settings, **environment}, check=False, timeout=120)

    def answer(self, **deeds: Callable[[], Reply]) -> None:
        """What the guest does at a step: ``apply``, ``wait`` or ``seal``; it succeeds at all others."""

        def reply(line: str, script: str) -> Reply:
            step = self.step(line + script)
            return deeds[step]() if step in deeds else Reply()

        self.guest.answer = reply

    def step(self, text: str) -> str:
        """The step a command or script is."""
        return next((step for words, step in SCRIPTS.items() if words in text), text)

    @property
    def steps(self) -> list[str]:
        """What ran, in order."""
        return [self.step(script) for script in self.guest.scripts]


Prepare = Callable[[str, str, Mapping[str, Any]], Build]


@pytest.fixture
def prepare(tmp_path: Path) -> Iterator[Prepare]:
    """Makes a build of a target, from a base of kind clone, with settings; its guest serves until the test ends."""
    with ExitStack() as stack:

        def make(target: str, source: str, settings: Mapping[str, Any]) -> Build:
            guest = stack.enter_context(serving(Guest("packer", "")))
            access = {"ssh_host": "127.0.0.1", "ssh_port": guest.port}
            given = {**settings, "arguments": access | dict(settings.get("arguments", {}))}
            spec = with_settings(replace(PLAIN, base=Base("clone", source=source)), target, given)
            bundle = render(spec, target, "1.6.6")
            folder = tmp_path / "bundle"
            write(bundle, folder)
            document = folder / "skyvyos.pkr.hcl"
            # A guest that really restarts needs the pause; this one is back at once.
            document.write_text(document.read_text().replace('"15s"', '"1s"'))
            command.run(["sh", folder / "prepare.sh"])
            guest.key = (folder / "build" / "id_ed25519.pub").read_text().split()[1]
            return Build(spec, folder, bundle.files, guest)

        yield make
