"""The parser in the cache is used when it is ours and whole, and made anew otherwise."""

from __future__ import annotations

from pathlib import Path

import pytest

from skyvypack import lint_grammar
from skyvypack.lint import lint, syntax

READY = syntax.grammar()
TEXT = "locals {\n  a = var.nope\n}\n"


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How often a parser was made; making one is not waited for."""
    count: list[int] = []
    monkeypatch.setattr(syntax, "make_grammar", lambda: count.append(1) or READY)
    monkeypatch.setattr(syntax, "_READY", [READY])
    return count


def test_made_once_and_kept(tmp_path: Path, made: list[int]) -> None:
    """The second process reads what the first kept, and finds the same."""
    cache = tmp_path / "new" / "cache"
    lint_grammar.prepare(cache)
    before = lint({"a.pkr.hcl": TEXT})
    lint_grammar.prepare(cache)
    assert len(made) == 1
    assert syntax.grammar() is not READY
    assert lint({"a.pkr.hcl": TEXT}) == before
    [kept] = cache.iterdir()
    assert kept.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("text", [b"", b"nonsense", b"\x80\x04N."])
def test_a_spoilt_one_is_made_anew(tmp_path: Path, made: list[int], text: bytes) -> None:
    """Whatever stands in the file, linting goes on, and the next process finds a good one."""
    lint_grammar.prepare(tmp_path)
    [kept] = tmp_path.iterdir()
    kept.write_bytes(text)
    lint_grammar.prepare(tmp_path)
    lint_grammar.prepare(tmp_path)
    assert len(made) == 2


def test_what_others_can_write_is_not_read(tmp_path: Path, made: list[int]) -> None:
    """A pickle can run anything: one that others may have written is passed over."""
    lint_grammar.prepare(tmp_path)
    [kept] = tmp_path.iterdir()
    kept.chmod(0o666)
    lint_grammar.prepare(tmp_path)
    assert len(made) == 2
    assert kept.stat().st_mode & 0o777 == 0o600


def test_a_cache_that_cannot_be_written(tmp_path: Path, made: list[int]) -> None:
    """It costs time and nothing else."""
    (tmp_path / "cache").write_text("a file")
    lint_grammar.prepare(tmp_path / "cache")
    assert lint({"a.pkr.hcl": TEXT})
