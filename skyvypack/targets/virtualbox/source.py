"""`Spec` → the Packer document of the target virtualbox.

For now only what is baked on this machine: a disk, made by QEMU.
"""

from __future__ import annotations

from skyvypack.targets.qemu.source import BUILDERS, builder, document, scripts

__all__ = ["BUILDERS", "builder", "document", "scripts"]
