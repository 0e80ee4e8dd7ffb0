"""Finds and reads the files that `lint` judges, and writes back what was mended."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from skyvypack.errors import InputError
from skyvypack.lint import TEMPLATE_ENDINGS, VALUES_ENDINGS

_ENDINGS = (*TEMPLATE_ENDINGS, *VALUES_ENDINGS)
# A template is written by people: what is larger is something else, and reading it would take minutes.
_LARGEST = 4 * 1024 * 1024


@dataclass(slots=True)
class Folder:
    """Files that Packer reads together.

    Args:
        files: text by name, those to judge.
        context: text by name, those beside them that only say what exists.
    """

    files: dict[str, str] = field(default_factory=dict)
    context: dict[str, str] = field(default_factory=dict)


def collect(paths: Iterable[Path]) -> list[Folder]:
    """Read Packer's files.

    Args:
        paths: files, and folders, which are searched to their depths; hidden folders in them are passed over.

    Returns:
        One entry for each folder that has any, in order. A file that is given by name is judged with the files beside
        it as context, and has any name.

    Raises:
        InputError: a path does not exist or cannot be read (all of them, at once), or there is nothing to judge.
    """
    given, wrong = _given(paths)
    folders: dict[Path, Folder] = {}
    for file in given:
        wrong += _read_into(folders.setdefault(file.parent, Folder()).files, file)
    for parent, folder in folders.items():
        for beside in _listed(parent):
            if beside.name.endswith(TEMPLATE_ENDINGS) and beside not in given and beside.is_file():
                wrong += _read_into(folder.context, beside)
    if wrong:
        raise InputError("\n".join(error.message for error in wrong), wrong[0].hint)
    if not folders:
        looked = ", ".join(map(str, paths))
        raise InputError(f"nothing to lint in {looked}", f"Packer's files end in {', '.join(_ENDINGS)}")
    return list(folders.values())


def _given(paths: Iterable[Path]) -> tuple[list[Path], list[InputError]]:
    """The files that paths name, each once, and what is wrong with other paths."""
    files: dict[Path, None] = {}
    wrong = []
    for path in paths:
        try:
            files |= dict.fromkeys(_files(path))
        except InputError as error:
            wrong.append(error)
    return list(files), wrong


def _listed(folder: Path) -> list[Path]:
    """What stands in a folder; nothing when only a file in it may be read, not its list."""
    try:
        return sorted(folder.iterdir())
    except OSError:
        return []


def _read_into(texts: dict[str, str], file: Path) -> list[InputError]:
    try:
        texts[str(file)] = read(file)
    except InputError as error:
        return [error]
    return []


def _files(path: Path) -> Iterator[Path]:
    if path.is_file():
        if path.suffix == ".json" and not path.name.endswith(_ENDINGS):
            raise InputError(f"{path} is no {' or '.join(_ENDINGS)}", "an old JSON template: packer hcl2_upgrade FILE")
        yield path
    elif path.is_dir():
        yield from _below(path)
    else:
        raise InputError(f"{path} is no file or folder", "name files or folders of Packer HCL")


def _below(folder: Path) -> Iterator[Path]:
    for parent, inner, names in os.walk(folder, onerror=_refuse):
        inner[:] = sorted(name for name in inner if not name.startswith("."))
        yield from (Path(parent, name) for name in sorted(names) if name.endswith(_ENDINGS))


def _refuse(error: OSError) -> None:
    raise InputError(f"cannot read {error.filename}: {error.strerror}", "name only what you may read") from error


def read(file: Path) -> str:
    """A file's text with its line ends as they are; bytes that are no UTF-8 become lone surrogates.

    Raises:
        InputError: it cannot be read, or is too large to be a template.
    """
    try:
        with file.open("rb") as stream:
            content = stream.read(_LARGEST + 1)
    except OSError as error:
        raise InputError(f"cannot read {file}: {error.strerror}", "name only what you may read") from error
    if len(content) > _LARGEST:
        raise InputError(f"{file} is larger than {_LARGEST // 1024**2} MiB", "is it a template that somebody wrote?")
    return content.decode("utf-8", "surrogateescape")


def replace(file: Path, before: str, after: str) -> None:
    """Put a new text in place of a file's: whole or not at all, and only while the file is as it was read.

    Args:
        file: the file; a symlink stays one, and what it points to is replaced.
        before: its text when it was read.
        after: its new text.

    Raises:
        InputError: it has changed since, or cannot be written; it is then as it was.
    """
    target = file.resolve()
    try:
        handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    except OSError as error:
        raise InputError(f"cannot write {file}: {error.strerror}", "it is as it was") from error
    fresh = Path(name)
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(after.encode("utf-8", "surrogateescape"))
            stream.flush()
            os.fsync(stream.fileno())
        state = target.stat()
        fresh.chmod(state.st_mode & 0o7777)
        with contextlib.suppress(PermissionError):
            os.chown(fresh, state.st_uid, state.st_gid)
        if read(target) != before:
            raise InputError(f"{file} was changed while it was linted", "it is as it was; run the command again")
        fresh.replace(target)
    except OSError as error:
        raise InputError(f"cannot write {file}: {error.strerror}", "it is as it was") from error
    finally:
        fresh.unlink(missing_ok=True)
