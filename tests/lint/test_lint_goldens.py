"""What `render` writes is clean by our own linter, in its dialect."""

from __future__ import annotations

from pathlib import Path

import pytest

from skyvypack import dialect
from skyvypack.lint import lint

GOLDENS = sorted((Path(__file__).parent.parent / "goldens").glob("*/*.pkr.hcl"))


@pytest.mark.parametrize("version", ["1.6.6", "latest"])
def test_nothing_in_what_we_write(version: str) -> None:
    """The linter finds nothing in a golden of a dialect, not even to note, but for what a comment justifies."""
    files = [path for path in GOLDENS if path.parent.name.endswith(f"-{version}")]
    assert len(files) > 10
    found = [
        str(one)
        for path in files
        for one in lint(
            {f"{path.parent.name}.pkr.hcl": path.read_text(encoding="utf-8")}, dialect=dialect.named(version)
        )
    ]
    assert found == []
