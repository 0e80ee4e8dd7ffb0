"""Where the files that ship with the library are.

`builders/` and `cloud-init/` stand beside the package in a checkout and inside it in a wheel; an editable install
does not carry setup.cfg's mapping, so the checkout's folders are the fallback.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent


@cache
def _folder(in_wheel: str, in_checkout: str) -> Path:
    shipped = _PACKAGE / "_data" / in_wheel
    return shipped if shipped.is_dir() else _PACKAGE.parent / in_checkout


def builders() -> Path:
    """The folder of builders: one folder for each Packer builder, and `shared`."""
    return _folder("builders", "builders")


def roles() -> Path:
    """The folder of roles: one folder for each."""
    return _folder("cloud_init", "cloud-init")
