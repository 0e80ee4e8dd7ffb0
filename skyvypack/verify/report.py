"""`Report`: what booted clones proved, and what they did not."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from skyvypack.errors import ContractFailed
from skyvypack.verify.requirements import rows

Outcome = Literal["passed", "failed", "skipped"]
State = Literal["proved", "failed", "not proven"]

# XML 1.0 has no place for these, and consoles are full of them.
_NOT_XML = re.compile(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@dataclass(frozen=True, slots=True)
class Check:
    """One check on one clone in one phase.

    Args:
        requirements: ids of what it proves, such as ``SSH-1``; empty when it names none.
        role: the role whose contract it belongs to; ``clone`` for what holds for every clone.
        test: the test's name.
        clone: the clone's name, which is its firmware's.
        phase: ``first boot``, ``after reboot`` or ``comparison``.
        outcome: what came of it; an error counts as failed.
        message: why it failed or was skipped.
        seconds: how long it took.
    """

    requirements: tuple[str, ...]
    role: str
    test: str
    clone: str
    phase: str
    outcome: Outcome
    message: str = ""
    seconds: float = 0.0

    def __str__(self) -> str:
        ids = f" [{', '.join(self.requirements)}]" if self.requirements else ""
        return f"{self.role}: {self.test}{ids} on {self.clone}, {self.phase}: {self.message or self.outcome}"


@dataclass(frozen=True, slots=True)
class Requirement:
    """What came of one requirement over all clones and phases.

    Args:
        id: such as ``SSH-1``.
        state: ``proved`` when every clone passed at least one of its checks and none failed.
        reason: why it is not proved.
    """

    id: str
    state: State
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Report:
    """What a verification found.

    Args:
        template: name and version.
        disk: file name of the verified disk.
        clones: the clones' names.
        checks: every check of every clone, in the order it ran.
        digest_before: SHA-256 of the disk before any clone was started.
        digest_after: and after all had ended.
        boots: seconds from power-on (or the reboot command) to a settled system, by ``<clone>, <phase>``.
        accelerator: ``kvm`` or ``tcg``.
    """

    template: str
    disk: str
    clones: tuple[str, ...]
    checks: tuple[Check, ...]
    digest_before: str
    digest_after: str
    boots: Mapping[str, float] = field(default_factory=dict)
    accelerator: str = ""

    @property
    def unchanged(self) -> bool:
        """True when the disk is, byte for byte, what it was before."""
        return self.digest_before == self.digest_after

    @property
    def failures(self) -> tuple[Check, ...]:
        """The checks that failed."""
        return tuple(check for check in self.checks if check.outcome == "failed")

    @property
    def passed(self) -> bool:
        """True when something was checked on every clone, nothing failed and the disk was not written."""
        checked = {check.clone for check in self.checks if check.outcome == "passed"}
        return bool(self.clones) and checked.issuperset(self.clones) and not self.failures and self.unchanged

    @property
    def requirements(self) -> tuple[Requirement, ...]:
        """Every requirement that a check names, by its id."""
        named = sorted({name for check in self.checks for name in check.requirements})
        return tuple(self._requirement(name) for name in named)

    def _requirement(self, name: str) -> Requirement:
        checks = [check for check in self.checks if name in check.requirements]
        failed = [check for check in checks if check.outcome == "failed"]
        if failed:
            return Requirement(name, "failed", str(failed[0]))
        clones = {check.clone for check in checks if check.outcome == "passed"}
        # One clone is enough for a check that they share; one that was tried and skipped is missing all the same.
        tried = {check.clone for check in checks} if clones else set(self.clones)
        if missing := [clone for clone in self.clones if clone in tried - clones]:
            reasons = sorted({check.message for check in checks if check.outcome == "skipped" and check.message})
            return Requirement(name, "not proven", f"on {', '.join(missing)}: {'; '.join(reasons) or 'no check ran'}")
        return Requirement(name, "proved")

    def require(self) -> None:
        """Insist on a passed verification.

        Raises:
            ContractFailed: listing every failure.
        """
        if self.passed:
            return
        lines = [f"  {_first_lines(str(check))}" for check in self.failures]
        if not self.unchanged:
            lines.append(f"  the disk was written: {self.digest_before} became {self.digest_after}")
        if not lines:
            lines.append("  nothing was checked on every clone")
        raise ContractFailed(
            f"{self.template} breaks its contract in {len(lines)} point{'s' * (len(lines) != 1)}:\n" + "\n".join(lines),
            "read the report for the whole story; a role's contract is its test_contract.py",
        )

    def as_dict(self) -> dict[str, Any]:
        """Everything, ready for JSON."""
        facts = asdict(self)
        facts["requirements"] = [asdict(requirement) for requirement in self.requirements]
        return facts | {"passed": self.passed, "unchanged": self.unchanged}

    def summary(self) -> str:
        """A few lines for a person: counts, what is not proved and why, and how long the boots took."""
        counts = {outcome: 0 for outcome in ("passed", "failed", "skipped")}
        for check in self.checks:
            counts[check.outcome] += 1
        total = ", ".join(f"{count} {outcome}" for outcome, count in counts.items())
        requirements = self.requirements
        proved = [one.id for one in requirements if one.state == "proved"]
        lines = [f"{self.template}: {'proven' if self.passed else 'NOT proven'} ({total})"]
        lines.append(f"  proved: {', '.join(proved) or 'nothing'}")
        others = (one for one in requirements if one.state != "proved")
        lines += [f"  {one.state}: {one.id}: {_first_lines(one.reason)}" for one in others]
        lines += [f"  failed: {_first_lines(str(check))}" for check in self.failures if not check.requirements]
        lines += [f"  boot: {name}: {seconds:.0f} s" for name, seconds in self.boots.items()]
        lines.append("  disk: unchanged" if self.unchanged else "  disk: WRITTEN during verification")
        return "\n".join([*lines, *self._unnamed()])

    def _unnamed(self) -> list[str]:
        """Lines on the rows that no check names: the template has no role for them, or no clone can show them."""
        named = {name for check in self.checks for name in check.requirements}
        others = {name: row for name, row in rows().items() if name not in named}
        absent = [name for name, row in others.items() if not row.elsewhere]
        lines = [f"  no role of this template is about: {', '.join(absent)}"] if absent else []
        return lines + [f"  {name} is shown by {row.elsewhere}" for name, row in others.items() if row.elsewhere]

    def write_junit(self, path: Path) -> None:
        """Write the checks as JUnit XML: a test suite for each clone and phase."""
        root = ET.Element("testsuites", name=self.template)
        suites: dict[str, list[Check]] = {}
        for check in self.checks:
            suites.setdefault(f"{check.clone}, {check.phase}", []).append(check)
        for name, checks in suites.items():
            _suite(root, name, checks)
        ET.indent(root)
        path.parent.mkdir(parents=True, exist_ok=True)
        ET.ElementTree(root).write(path, encoding="utf-8", xml_declaration=True)


def _suite(root: ET.Element, name: str, checks: Sequence[Check]) -> None:
    suite = ET.SubElement(
        root,
        "testsuite",
        name=name,
        tests=str(len(checks)),
        failures=str(sum(check.outcome == "failed" for check in checks)),
        errors="0",
        skipped=str(sum(check.outcome == "skipped" for check in checks)),
        time=f"{sum(check.seconds for check in checks):.3f}",
    )
    for check in checks:
        seconds = f"{check.seconds:.3f}"
        case = ET.SubElement(suite, "testcase", classname=check.role, name=_xml(check.test), time=seconds)
        if check.requirements:
            properties = ET.SubElement(case, "properties")
            for requirement in check.requirements:
                ET.SubElement(properties, "property", name="requirement", value=_xml(requirement))
        if check.outcome != "passed":
            message = _xml(check.message)
            tag = "failure" if check.outcome == "failed" else "skipped"
            ET.SubElement(case, tag, message=message.partition("\n")[0]).text = message


def _xml(text: str) -> str:
    return _NOT_XML.sub("\ufffd", text)


def _first_lines(text: str, count: int = 4) -> str:
    lines = text.splitlines()
    return "\n    ".join([*lines[:count], "…"] if len(lines) > count else lines)
