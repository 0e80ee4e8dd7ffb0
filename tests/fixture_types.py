"""Types of fixtures, for annotations: not in conftest, a name that every folder of tests may have."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

FakeTool = Callable[[str, str], Path]
