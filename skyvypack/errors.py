"""Every error this library raises on purpose.

::

    SkyvypackError            exit code 1; `message` says what happened, `hint` what to do about it
    ├── InputError            exit code 2; what the caller gave is wrong
    │   └── SpecError         a spec with problems, all of them at once
    ├── ToolMissing           a program is not installed, or too old
    ├── CommandFailed         a program exited with an error or ran out of time
    ├── BakeFailed            a bake could not be finished
    │   └── LeakFound         the finished disk holds a secret or an identity
    ├── ContractFailed        exit code 3; a booted clone broke the contract
    └── Interrupted           exit code 130; SIGINT or SIGTERM
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


class SkyvypackError(Exception):
    """Root of all errors raised on purpose.

    Args:
        message: what happened, one sentence without a full stop at the end needed.
        hint: what the user can do about it; empty when nothing helps.
    """

    exit_code = 1

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\n  hint: {self.hint}" if self.hint else self.message


class InputError(SkyvypackError):
    """What the caller gave (a file, an option, an output folder) is wrong."""

    exit_code = 2


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """One thing that is wrong in a spec or a role, and where.

    Args:
        file: the file it stands in, empty when the spec did not come from a file.
        line: 1-based line, 0 when unknown.
        column: 1-based column, 0 when unknown.
        path: where in the document, as in ``roles[2].ssh.port``.
        message: what is wrong.
        suggestion: what was probably meant, empty when nothing is near.
    """

    file: str
    line: int
    column: int
    path: str
    message: str
    suggestion: str = ""

    def __str__(self) -> str:
        where = ":".join(str(part) for part in (self.file, self.line, self.column) if part)
        text = ": ".join(part for part in (where, self.path, self.message) if part)
        return f"{text} ({self.suggestion})" if self.suggestion else text


class SpecError(InputError):
    """A spec that cannot be used, with every problem found.

    Args:
        problems: at least one, in the order of the file.
        hint: what to read or run next.
    """

    def __init__(self, problems: Sequence[Problem], hint: str = "") -> None:
        self.problems = tuple(problems)
        count = len(self.problems)
        lines = "\n".join(f"  {problem}" for problem in self.problems)
        super().__init__(f"{count} problem{'s' * (count != 1)} in the spec:\n{lines}", hint)


class ToolMissing(SkyvypackError):
    """A program that this step needs is not installed, or is too old."""


class CommandFailed(SkyvypackError):
    """A program failed.

    Args:
        argv: what was run.
        returncode: its exit code, negative for a signal.
        tail: the last lines it printed.
        hint: what to do about it.
    """

    def __init__(self, argv: Sequence[str], returncode: int, tail: str, hint: str = "") -> None:
        self.argv = tuple(argv)
        self.returncode = returncode
        self.tail = tail
        how = f"exit code {returncode}" if returncode >= 0 else f"signal {-returncode}"
        text = f"{self.argv[0]} failed ({how})"
        super().__init__(f"{text}:\n{tail}" if tail else text, hint)


class BakeFailed(SkyvypackError):
    """A bake could not be finished; nothing it began is left behind."""


class LeakFound(BakeFailed):
    """The finished disk holds something that a template must not.

    Args:
        findings: one line for each, saying what and where on the disk.
    """

    def __init__(self, findings: Sequence[str], hint: str = "") -> None:
        self.findings = tuple(findings)
        lines = "\n".join(f"  {finding}" for finding in self.findings)
        super().__init__(f"the finished disk is not clean:\n{lines}", hint)


class ContractFailed(SkyvypackError):
    """A booted clone broke the contract of one or more roles."""

    exit_code = 3


class Interrupted(SkyvypackError):
    """The user or the system asked to stop; what was begun has been undone."""

    exit_code = 130
