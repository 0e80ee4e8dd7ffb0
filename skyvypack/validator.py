"""Cerberus with our own rules. Only `rules` imports this module, when there is something to check."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, ClassVar

import cerberus
from cerberus.schema import UnvalidatedSchema


class Validator(cerberus.Validator):  # type: ignore[misc]
    """Cerberus' validator, with the rules `doc`, `short` and `unit` and a strict `regex`.

    Cerberus reads what each rule accepts from its docstring.
    """

    # To Python, and to Cerberus' own types, True is the integer 1.
    types_mapping: ClassVar[dict[str, Any]] = {
        **cerberus.Validator.types_mapping,
        "integer": cerberus.TypeDefinition("integer", (int,), (bool,)),
        "number": cerberus.TypeDefinition("number", (int, float), (bool,)),
    }

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


def validator_of(rules: Mapping[str, Any]) -> Validator:
    """A validator for rules known to be right.

    Cerberus would check the rules again for each mapping it looks at, which takes most of the time of reading a
    spec. Ours are checked by a test, and those of roles and builders by `rules.check_settings_rules`.
    """
    return Validator(UnvalidatedSchema(dict(rules)))
