"""Every requirement has a check, and every check names requirements that there are."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from skyvypack.verify.report import Check, Report
from skyvypack.verify.requirements import rows

ROOT = Path(__file__).resolve().parent.parent
sys.path.append(str(ROOT / "docs"))
from generate_reference import checks_by_requirement  # noqa: E402


def test_every_requirement_has_a_check_on_a_clone_or_says_how_else_it_is_shown() -> None:
    """None is just claimed."""
    checked = checks_by_requirement()
    assert [name for name, row in rows().items() if name not in checked and not row.elsewhere] == []
    assert [name for name, row in rows().items() if name in checked and row.elsewhere] == []


def test_checks_name_requirements_that_there_are() -> None:
    """A mistyped id would prove nothing."""
    assert set(checks_by_requirement()) - set(rows()) == set()


@pytest.mark.parametrize("name", [name for name, row in rows().items() if row.elsewhere])
def test_what_is_shown_elsewhere_is_there(name: str) -> None:
    """Files that a row refers to exist."""
    for path in re.findall(r"(?:examples|tests)/[\w./-]+", rows()[name].elsewhere):
        assert (ROOT / path).exists(), path


def test_a_report_tells_of_the_rows_that_its_template_has_no_role_for() -> None:
    """Proved, and what is missing: no row goes unmentioned."""
    check = Check(("SSH-1",), "ssh", "test_keys", "bios", "first boot", "passed")
    told = Report("a 1", "a.qcow2", ("bios",), (check,), "0", "0").summary()
    assert [name for name in rows() if not re.search(rf"\b{name}\b", told)] == []
    assert "DEP-4 is shown by examples/load-balancer" in told
