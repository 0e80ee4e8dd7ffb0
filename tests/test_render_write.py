"""Writing a bundle: whole or not at all, and never over anything that is not ours."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from skyvypack.bundle import Bundle
from skyvypack.errors import InputError
from skyvypack.write import MARK, write

BUNDLE = Bundle("qemu", "qemu", "1.6.6", {"a.pkr.hcl": "é\r\n", "scripts/x.sh": "true\n"})
OTHER = replace(BUNDLE, files={"b": "new\n"})


def tree(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_writes_all(tmp_path: Path) -> None:
    """Every file with its exact bytes, scripts executable, parents made, and nothing left beside it."""
    folder = write(BUNDLE, tmp_path / "deep" / "bundle")
    assert {path: data for path, data in tree(folder).items() if path != MARK} == {
        path: text.encode() for path, text in BUNDLE.files.items()
    }
    assert os.access(folder / "scripts" / "x.sh", os.X_OK)
    assert not (folder / "a.pkr.hcl").stat().st_mode & 0o111
    assert [path.name for path in folder.parent.iterdir()] == ["bundle"]


def test_empty_folder_is_used(tmp_path: Path) -> None:
    """An empty folder may be given, the working folder too."""
    assert write(BUNDLE, tmp_path) == tmp_path
    assert (tmp_path / "a.pkr.hcl").is_file()


def test_earlier_bundle_is_replaced(tmp_path: Path) -> None:
    """A bundle that nobody touched makes room for a newer one; no file of the old one stays."""
    folder = write(BUNDLE, tmp_path / "bundle")
    write(OTHER, folder)
    assert {*tree(folder)} == {"b", MARK}
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]


@pytest.mark.parametrize("path", ["a.pkr.hcl", "build/id_ed25519", "output/disk.qcow2"])
def test_work_is_kept(tmp_path: Path, path: str) -> None:
    """A bundle with changed or further files is kept, unless replacing it is forced."""
    folder = write(BUNDLE, tmp_path / "bundle")
    (folder / path).parent.mkdir(exist_ok=True)
    (folder / path).write_bytes(b"\xff mine")
    before = tree(folder)
    with pytest.raises(InputError, match="changed or added"):
        write(OTHER, folder)
    assert tree(folder) == before
    write(OTHER, folder, force=True)
    assert {*tree(folder)} == {"b", MARK}


def test_missing_file_counts_as_a_change(tmp_path: Path) -> None:
    """A bundle from which a file was taken is not untouched."""
    folder = write(BUNDLE, tmp_path / "bundle")
    (folder / "a.pkr.hcl").unlink()
    with pytest.raises(InputError, match="changed or added"):
        write(OTHER, folder)


@pytest.mark.parametrize("force", [False, True])
def test_foreign_folder_is_kept(tmp_path: Path, force: bool) -> None:
    """What is no bundle of ours is never replaced, forced or not."""
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(InputError, match="holds something that is no bundle"):
        write(BUNDLE, tmp_path, force=force)
    assert tree(tmp_path) == {"thesis.txt": b"years of work"}


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    """A file in the folder's place, or above it, is refused."""
    file = tmp_path / "file"
    file.write_text("x")
    for folder in (file, file / "below"):
        with pytest.raises(InputError, match=r"is not a folder|cannot write"):
            write(BUNDLE, folder)
    assert file.read_text() == "x"


def test_failure_leaves_the_old_bundle(tmp_path: Path) -> None:
    """When the new bundle cannot be written, the old one stays whole and nothing lies beside it."""
    folder = write(BUNDLE, tmp_path / "bundle")
    before = tree(folder)
    with pytest.raises(InputError, match="cannot write"):
        write(replace(BUNDLE, files={"x" * 300: "name too long"}), folder)
    assert tree(folder) == before
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]


def test_failure_of_the_last_step_brings_the_old_bundle_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the last rename fails, the bundle that was moved aside comes back."""
    folder = write(BUNDLE, tmp_path / "bundle")
    before = tree(folder)
    rename = Path.rename

    def failing(self: Path, target: Path) -> Path:
        if self.name.endswith(".new"):
            raise OSError(28, "No space left on device")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", failing)
    with pytest.raises(InputError, match="No space left"):
        write(OTHER, folder)
    assert tree(folder) == before
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]
