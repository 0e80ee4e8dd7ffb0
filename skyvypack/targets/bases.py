"""Which Packer builder a target uses for which base."""

from __future__ import annotations

from collections.abc import Mapping

from skyvypack.errors import InputError
from skyvypack.spec.model import Spec
from skyvypack.targets.qemu import BUILDER

# What is baked on this machine, by QEMU: a disk that any target can take.
LOCAL: Mapping[str, str] = {"bootstrap": BUILDER, "cloud-image": BUILDER}


def builder_of(spec: Spec, target: str, by_base: Mapping[str, str]) -> str:
    """The builder for a spec's base.

    Args:
        spec: what to bake.
        target: for the message.
        by_base: the target's builder for each kind of base it can start from.

    Raises:
        InputError: the target cannot start from the spec's base.
    """
    kind = spec.base.kind
    if kind not in by_base:
        message = f"base {kind} is not available for the target {target}"
        raise InputError(message, f"available: {', '.join(by_base)}")
    return by_base[kind]
