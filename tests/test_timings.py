"""How long stages took: kept, predicted, and never a reason to fail."""

from __future__ import annotations

from pathlib import Path

import pytest

from skyvypack import timings


def test_last_run_of_each_kind_predicts_the_next(tmp_path: Path) -> None:
    """Each kind keeps its own figures; a stage that did not run keeps its earlier one."""
    timings.record(tmp_path, "qemu-tcg", {"packages": 50.0, "packer": 100.0})
    timings.record(tmp_path, "qemu-kvm", {"packer": 9.0})
    timings.record(tmp_path, "qemu-tcg", {"packer": 90.0})
    assert timings.expected(tmp_path, "qemu-tcg") == {"packages": 50.0, "packer": 90.0}
    assert timings.expected(tmp_path, "qemu-kvm") == {"packer": 9.0}
    assert timings.expected(tmp_path, "other") == {}


@pytest.mark.parametrize("text", ["", "[]", "{", '{"qemu-tcg": 1}', '{"qemu-tcg": {"packer": null}}', "null"])
def test_damaged_file_predicts_nothing_and_is_written_anew(tmp_path: Path, text: str) -> None:
    """Whatever stands in the file, no bake fails for it."""
    (tmp_path / "timings.json").write_text(text)
    assert timings.expected(tmp_path, "qemu-tcg") == {}
    timings.record(tmp_path, "qemu-tcg", {"packer": 90.0})
    assert timings.expected(tmp_path, "qemu-tcg") == {"packer": 90.0}


def test_folder_that_takes_no_writes_keeps_nothing(tmp_path: Path) -> None:
    """A cache that cannot be written is no error here."""
    (tmp_path / "file").touch()
    timings.record(tmp_path / "file", "qemu-tcg", {"packer": 90.0})
    assert timings.expected(tmp_path / "file", "qemu-tcg") == {}
