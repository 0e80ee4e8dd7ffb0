"""Tests of how the judges' words are read; asking them is `nox -s judges`."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import yaml

sys.path.append(str(Path(__file__).resolve().parent.parent / "judges"))
from judge import REASONS, lynis_verdict

REPORT = """\
# Lynis Report
hardening_index={index}
suggestion[]=BOOT-5122|Set a password on GRUB|-|-|
suggestion[]=NEWS-0001|Something new|-|-|
lynis_version=3.0.8
"""
KNOWN = {"BOOT-5122": "a clone starts unattended", "NEWS-0001": "because"}


@pytest.mark.parametrize(
    ("index", "reasons", "content"),
    [(85, KNOWN, True), (84, KNOWN, False), (99, {"BOOT-5122": "a clone starts unattended"}, False)],
)
def test_lynis_is_content_with_a_high_index_and_a_reason_for_each_suggestion(
    index: int, reasons: dict[str, str], content: bool
) -> None:
    """A lower index, or a suggestion that nobody has answered, is a failure; all are listed."""
    verdict = lynis_verdict(REPORT.format(index=index), reasons)
    assert verdict.content is content
    assert [line for line in verdict.lines if "GRUB" in line]


def test_every_reason_says_something() -> None:
    """A suggestion stays for a reason, in words."""
    reasons = yaml.safe_load(REASONS.read_text())
    assert [test for test, reason in reasons.items() if len(reason) < 20] == []
