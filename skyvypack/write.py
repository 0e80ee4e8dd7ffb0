"""Writes a bundle to a folder: whole or not at all, and never over anything that is not ours."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from skyvypack.bundle import Bundle
from skyvypack.errors import InputError

# Says what was written, by which an untouched bundle is told from one that was worked in: digest, then paths.
MARK = ".skyvypack-bundle"


def write(bundle: Bundle, folder: Path, force: bool = False) -> Path:
    """Write a bundle; a folder that holds an earlier bundle, untouched since, is replaced.

    Args:
        bundle: what to write.
        folder: where; its parents are made.
        force: replace an earlier bundle also when files in it were changed or added, such as `build/` and `output/`.

    Returns:
        The folder, absolute.

    Raises:
        InputError: the folder holds something else, or cannot be written.
    """
    folder = folder.expanduser().resolve()
    with _input_errors(folder):
        _refuse(folder, force)
        folder.parent.mkdir(parents=True, exist_ok=True)
        # Beside it, so that the last step is a rename on one file system.
        fresh = folder.with_name(f".{folder.name}.{os.getpid()}.new")
        stale = folder.with_name(f".{folder.name}.{os.getpid()}.old")
        try:
            _fill(bundle, fresh)
            with contextlib.suppress(FileNotFoundError):
                folder.rename(stale)
            try:
                fresh.rename(folder)
            except OSError:
                if stale.exists():
                    stale.rename(folder)
                raise
        finally:
            shutil.rmtree(fresh, ignore_errors=True)
            if folder.exists():
                shutil.rmtree(stale, ignore_errors=True)
    return folder


@contextmanager
def _input_errors(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise InputError(f"cannot write {folder}: {error.strerror}", "choose another folder") from error


def _refuse(folder: Path, force: bool) -> None:
    if not folder.exists():
        return
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder", "choose another one")
    if not any(folder.iterdir()):
        return
    mark = folder / MARK
    if not mark.is_file():
        raise InputError(f"{folder} holds something that is no bundle", "choose another folder, or an empty one")
    if not force and not _untouched(folder, mark.read_text().splitlines()):
        raise InputError(
            f"{folder} holds a bundle in which files were changed or added since it was written",
            "move it away, choose another folder, or force it to be replaced, with all that is in it",
        )


def _untouched(folder: Path, written: list[str]) -> bool:
    paths = {
        path.relative_to(folder).as_posix(): path
        for path in folder.rglob("*")
        if path.is_symlink() or not path.is_dir()
    }
    del paths[MARK]
    if not written or sorted(paths) != written[1:]:
        return False
    texts = {name: path.read_bytes().decode(errors="replace") for name, path in paths.items()}
    return Bundle("", "", "", texts).digest == written[0]


def _fill(bundle: Bundle, folder: Path) -> None:
    folder.mkdir()
    mark = "\n".join([bundle.digest, *sorted(bundle.files)])
    for name, text in {**bundle.files, MARK: mark}.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode())
        if path.suffix == ".sh":
            path.chmod(path.stat().st_mode | 0o111)
