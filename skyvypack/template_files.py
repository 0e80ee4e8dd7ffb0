"""Reads the files of a template that `import` makes a spec of."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from skyvypack.errors import InputError
from skyvypack.importer.legacy import is_legacy
from skyvypack.lint import TEMPLATE_ENDINGS, VALUES_ENDINGS
from skyvypack.lint_files import read

# Of a folder, Packer reads these by itself; other files of values are given by name.
_OF_FOLDER = (*TEMPLATE_ENDINGS, ".auto.pkrvars.hcl", ".auto.pkrvars.json")
_KNOWN = (*TEMPLATE_ENDINGS, *VALUES_ENDINGS)


def collect(paths: Iterable[Path]) -> dict[str, str]:
    """Read a template.

    Args:
        paths: its files, files of values among them, and folders, of which Packer's files are taken.

    Returns:
        Text by name.

    Raises:
        InputError: some cannot be read, are too large or are no template; all that are, at once.
    """
    files: dict[str, str] = {}
    wrong: list[str] = []
    for path in paths:
        try:
            files |= {str(file): read(file) for file in _files(path)}
        except InputError as error:
            wrong.append(error.message)
    if wrong:
        raise InputError("\n".join(wrong), f"a template's files end in {', '.join(TEMPLATE_ENDINGS)}, or .json")
    return files


def _files(path: Path) -> Iterator[Path]:
    if path.is_dir():
        found = sorted(file for file in _listed(path) if file.name.endswith(_OF_FOLDER) and file.is_file())
        if not found:
            raise InputError(f"there is no template in {path}")
        yield from found
    elif not path.is_file():
        raise InputError(f"{path} is no file or folder")
    elif path.name.endswith(_KNOWN) or path.suffix == ".hcl" or is_legacy(path.name):
        yield path
    else:
        raise InputError(f"{path} is no template by its name")


def _listed(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError as error:
        raise InputError(f"cannot read {folder}: {error.strerror}") from error
