"""Cerberus with our own rules. Only `rules` imports it, when there is something to check: it is slow to import."""

from __future__ import annotations

import re
from typing import Any

import cerberus


class Validator(cerberus.Validator):  # type: ignore[misc]
    """Cerberus' validator, with the rules `doc`, `short` and `unit` and a strict `regex`.

    Cerberus reads what each rule accepts from its docstring.
    """

    def _validate_doc(self, constraint: Any, field: Any, value: Any) -> None:
        """{'type': 'string'}"""

    def _validate_short(self, constraint: Any, field: Any, value: Any) -> None:
        """{'type': 'string'}"""

    def _validate_unit(self, constraint: Any, field: Any, value: Any) -> None:
        """{'type': 'string'}"""

    def _validate_regex(self, pattern: str, field: Any, value: Any) -> None:
        """{'type': 'string'}"""
        # Cerberus' own lets a line break pass at the end, because `$` does.
        if isinstance(value, str) and not re.fullmatch(pattern, value):
            self._error(field, cerberus.errors.REGEX_MISMATCH)
