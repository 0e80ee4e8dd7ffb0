"""Runs every role's contract against one booted clone, with pytest in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any, Literal

from skyvypack import command, recipe
from skyvypack.link import Waiting
from skyvypack.spec.model import Spec
from skyvypack.verify.outside import Clone
from skyvypack.verify.report import Check

Phase = Literal["first boot", "after reboot"]

FILE = "test_contract.py"
# Before they are scaled to the accelerator: the longest that one test, and a whole run, may take.
TEST_SECONDS = 30.0
RUN_SECONDS = 240.0
_TAIL = 25
# What pytest answers when it ran to its end; 5, when there was nothing to run: all is left to another run.
_ENDED = (0, 1, 5)
_INI = """\
[pytest]
python_files = test_contract.py
addopts = --strict-markers
"""


@dataclass(frozen=True, slots=True)
class Contract:
    """One run of the contracts of a spec's roles.

    Args:
        spec: whose roles' contracts are run, and whose facts they are given.
        clone: what they are run against.
        phase: of the clone's life.
        folder: a new folder for the run's files; made here.
        root_shell: command line that starts a root shell on the clone.
        cwd: working folder of the run, where ssh finds its open connection.
        scale: of the deadlines.
        last: whether no other run follows on this clone: the tests marked ``once`` are for its last one and, when there
            is another clone, which shows the first boot, all but those marked ``each_boot``.
        claims: a folder in which the clones of one template say which of those marked ``once`` they have taken; None
            for a clone that is alone.
        backwards: take those from their end.
    """

    spec: Spec
    clone: Clone
    phase: Phase
    folder: Path
    root_shell: tuple[str, ...]
    cwd: Path = Path()
    scale: float = 1.0
    last: bool = True
    claims: Path | None = None
    backwards: bool = False

    def running(self) -> Waiting[list[Check]]:
        """Run the contracts, yielding while they run; returns what came of each check.

        A run that is stopped, breaks, or leaves a role without a check gives failed checks: what was not shown
        does not count as proven.
        """
        self.folder.mkdir(parents=True)
        began = time.monotonic()
        trouble = ""
        with self._log.open("wb") as output, self._start(output) as process:
            while process.poll() is None:
                if time.monotonic() - began > RUN_SECONDS * self.scale:
                    trouble = f"the contract was stopped: no end after {RUN_SECONDS * self.scale:.0f} s"
                    break
                yield
        if not trouble and process.returncode not in _ENDED:
            tail = "\n".join(self._log.read_text(errors="replace").splitlines()[-_TAIL:])
            trouble = f"pytest gave up (exit code {process.returncode}):\n{tail}"
        return self._checks(trouble)

    @property
    def _log(self) -> Path:
        return self.folder / "pytest.log"

    @property
    def _record(self) -> Path:
        return self.folder / "record.jsonl"

    def _start(self, output: IO[bytes]) -> AbstractContextManager[subprocess.Popen[bytes]]:
        facts, ini = self.folder / "facts.json", self.folder / "pytest.ini"
        facts.write_text(json.dumps(self._facts()))
        ini.write_text(_INI)
        self._record.touch()
        argv: list[str | Path] = [
            sys.executable,
            "-m",
            "pytest",
            "-c",
            ini,
            "--rootdir",
            self.folder,
            "--contract-facts",
            facts,
        ]
        # No conftest.py and no plugin but ours: what a contract proves must not hang on who runs it where.
        argv += ["-p", "skyvypack.verify.plugin", "-p", "no:cacheprovider", "--noconftest", "--import-mode=importlib"]
        argv += ["--continue-on-collection-errors", "-q", *self._files()]
        env = {
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
        }
        return command.start(argv, cwd=self.cwd, env=env, stdout=output, stderr=subprocess.STDOUT)

    def _files(self) -> list[Path]:
        files = [role.folder.resolve() / FILE for role in self.spec.roles]
        return [file for file in files if file.is_file()]

    def _facts(self) -> dict[str, Any]:
        spec = self.spec
        return {
            "root_shell": list(self.root_shell),
            "clone": asdict(self.clone) | {"folder": str(self.clone.folder.resolve())},
            "phase": self.phase,
            "record": str(self._record.resolve()),
            "test_seconds": TEST_SECONDS * self.scale,
            "last": self.last,
            "claims": str(self.claims.resolve()) if self.claims else None,
            "backwards": self.backwards,
            "spec": {
                "name": spec.name,
                "version": spec.version,
                "title": spec.title,
                "debian": spec.debian,
                "release_number": spec.release_number,
                "machine": asdict(spec.machine),
                "origins": dict(spec.origins),
                "packages": list(spec.packages),
                "requested": list(recipe.packages(spec)),
                "base": spec.base.kind,
                "files": [asdict(file) for file in spec.files],
            },
            "roles": {
                role.name: {
                    "folder": str(role.folder.resolve()),
                    "settings": dict(role.settings),
                    "packages": dict(role.packages),
                    "ports": [asdict(port) for port in role.ports],
                    "services": {kind: dict(getattr(role.services, kind)) for kind in ("enable", "disable", "mask")},
                }
                for role in spec.roles
            },
        }

    def _checks(self, trouble: str) -> list[Check]:
        lines = [json.loads(line) for line in self._record.read_text().splitlines()]
        spared = [line for line in lines if line["kind"] == "spared"]
        ended = [line for line in lines if line["kind"] == "ended"]
        lines = [line for line in lines if line["kind"] != "spared"]
        seen = {(line["role"], line["test"]) for line in (*ended, *spared)}
        checks = [self._check(**line) for line in ended]
        for line in lines:
            if (line["role"], line["test"]) not in seen:
                checks.append(self._check(**line, outcome="failed", message=trouble or "it never ended"))
        checked = {check.role for check in checks} | {line["role"] for line in spared}
        for role in self.spec.roles:
            if role.name not in checked:
                why = trouble or f"the role has no check in its {FILE}"
                checks.append(self._check(role.name, FILE, [], outcome="failed", message=why))
        if trouble and not any(check.outcome == "failed" for check in checks):
            checks.append(self._check("clone", "contract", [], outcome="failed", message=trouble))
        return checks

    def _check(self, role: str, test: str, requirements: list[str], **rest: Any) -> Check:
        rest.pop("kind", None)
        seconds = round(rest.pop("seconds", 0.0), 3)
        return Check(tuple(requirements), role, test, self.clone.name, self.phase, seconds=seconds, **rest)
