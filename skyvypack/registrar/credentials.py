"""Credentials: from the environment or from a file it names, and from nowhere else."""

from __future__ import annotations

import os
from pathlib import Path

from skyvypack.errors import InputError


def secret(name: str) -> str:
    """A secret from the environment variable `name`, or from the file that the variable `<name>_FILE` names.

    Args:
        name: of the variable, such as ``PROXMOX_TOKEN``.

    Returns:
        The secret, without the newline at a file's end; empty when neither variable is set.

    Raises:
        InputError: the file cannot be read, or both variables are set.
    """
    given, file = os.environ.get(name, ""), os.environ.get(f"{name}_FILE", "")
    if given and file:
        raise InputError(f"both {name} and {name}_FILE are set", "unset one of them")
    if not file:
        return given
    try:
        return Path(file).read_text(encoding="utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(
            f"{name}_FILE: cannot read {file}: {reason}", "it holds the secret and nothing else"
        ) from error
