"""The rows of what a template must be, by their ids: data in `requirements.yaml`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import yaml


@dataclass(frozen=True, slots=True)
class Row:
    """One requirement.

    Args:
        fact: what must be true of a booted clone.
        elsewhere: how it is shown, when no clone can show it; empty otherwise.
    """

    fact: str
    elsewhere: str = ""


@cache
def rows() -> Mapping[str, Row]:
    """Every requirement by its id, in the order of the document."""
    text = Path(__file__).with_name("requirements.yaml").read_text(encoding="utf-8")
    return {name: Row(**facts) for name, facts in yaml.safe_load(text).items()}
