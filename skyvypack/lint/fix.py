"""Mends what can be mended without a person: exactly the places found, and nothing around them."""

from __future__ import annotations

from collections.abc import Iterable

from skyvypack.lint.findings import Edit, Finding
from skyvypack.lint.module import Document


def fix(file: str, text: str, findings: Iterable[Finding]) -> str:
    """A file's text with the edits of its findings made.

    Args:
        file: its name, as the findings have it.
        text: as it was when they were found.
        findings: of any files; those of others are passed over.

    Returns:
        The new text; the old one when there is nothing to mend, or when what comes out could not be read again.
    """
    edits = sorted({edit for finding in findings if finding.file == file for edit in finding.edits})
    mended = _applied(text, edits)
    if mended == text or Document(file, mended).malformed:
        return text
    return mended


def _applied(text: str, edits: Iterable[Edit]) -> str:
    parts, at = [], 0
    for edit in edits:
        # Two that overlap cannot both be right; the first is made.
        if edit.start >= at:
            parts += [text[at : edit.start], edit.text]
            at = edit.end
    return "".join([*parts, text[at:]])
