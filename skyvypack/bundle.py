"""The rendered folder: what Packer, cloud-init and a person can take and use without this library."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Bundle:
    """What `render` made of a spec for one target.

    Args:
        target: the target's name, such as ``qemu``.
        builder: the Packer builder it uses.
        dialect: the Packer version it is written for, such as ``1.6.6``.
        files: text of each file by its path relative to the bundle's folder, in a fixed order. Paths that end in
            ``.sh`` are meant to be executable.
    """

    target: str
    builder: str
    dialect: str
    files: Mapping[str, str]

    @property
    def digest(self) -> str:
        """SHA-256 over paths and texts: the same spec gives the same digest."""
        digest = hashlib.sha256()
        for path in sorted(self.files):
            digest.update(f"{path}\0{len(self.files[path].encode())}\0".encode())
            digest.update(self.files[path].encode())
        return digest.hexdigest()
