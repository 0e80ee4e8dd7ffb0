"""The words of a report: rule, finding, edit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal, TypeAlias

Severity: TypeAlias = Literal["error", "warning", "note"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")


@dataclass(frozen=True, slots=True)
class Rule:
    """One thing that is looked for.

    Args:
        id: its name, as `--select`, `--ignore` and comments have it.
        severity: ``error`` where Packer refuses the file, ``warning`` where it should be mended, ``note`` to know of.
        summary: one line.
        doc: why it matters and what to do, Markdown.
        bad: HCL that it finds something in; a test runs it.
        good: the same, mended.
    """

    id: str
    severity: Severity
    summary: str
    doc: str
    bad: str
    good: str


@dataclass(frozen=True, slots=True)
class Span:
    """A place in a text; pyhcl2's spans are like it."""

    start: int
    end: int


@dataclass(frozen=True, slots=True, order=True)
class Edit:
    """Put `text` in place of what stands from `start` to `end` in a file."""

    start: int
    end: int
    text: str


@dataclass(frozen=True, slots=True, order=True)
class Finding:
    """What a rule found.

    Args:
        file: where, as the caller named it.
        line: 1-based.
        column: 1-based, in characters.
        end_line: of the last character.
        end_column: of the position after it.
        rule: the rule's id.
        severity: the rule's.
        message: what is wrong.
        hint: what to do; empty when the message says it.
        edits: what mends it in this file; empty when it takes a person.
    """

    file: str
    line: int
    column: int
    end_line: int
    end_column: int
    rule: str
    severity: Severity
    message: str
    hint: str = ""
    edits: tuple[Edit, ...] = field(default=(), compare=False)

    def __str__(self) -> str:
        text = f"{self.file}:{self.line}:{self.column}: {self.severity}: {self.message} [{self.rule}]"
        return f"{text}\n    {self.hint}" if self.hint else text

    def described(self) -> Mapping[str, str | int | bool]:
        """As a JSON document shows it."""
        names = ("file", "line", "column", "end_line", "end_column", "rule", "severity", "message", "hint")
        return MappingProxyType({name: getattr(self, name) for name in names} | {"fixable": bool(self.edits)})
