"""What the targets of a hypervisor on somebody's own machine have in common.

Bootstrap and cloud-image are baked by QEMU on this machine; an ISO is installed by the hypervisor itself.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from skyvypack.dialect import Dialect
from skyvypack.hcl import Attribute, Block, Document, Ref
from skyvypack.spec.model import Spec
from skyvypack.targets import pieces
from skyvypack.targets.bases import LOCAL
from skyvypack.targets.qemu import source as local
from skyvypack.targets.wishes import Wanted, Wishes

Body: TypeAlias = "list[Attribute | Block]"

INSTALLS = "The installer holds every answer, and what cloud-init needs afterwards: nothing is typed."
MACHINE = "The machine, as clones will have it."


def scripts(spec: Spec) -> list[str]:
    """The scripts that run in the guest, by their paths in the bundle."""
    return local.scripts(spec)


def remastered(spec: Spec) -> bool:
    """Whether the build starts from an installer that `installer.sh` made.

    Args:
        spec: what to bake.
    """
    return spec.base.kind == "iso"


def document(
    spec: Spec,
    dialect: Dialect,
    target: str,
    builder: str,
    variables: Callable[[Wishes], list[Block]],
    body: Callable[[Wishes], Body],
) -> Document:
    """The document: variables, locals, source and build.

    Args:
        spec: what to bake.
        dialect: the Packer to write for.
        target: whose settings are wished for.
        builder: the one it uses for the spec.
        variables: of the hypervisor's own document, without those of what is left on this machine.
        body: of its source block, without the end.

    Raises:
        InputError: the dialect cannot express a setting, or one is missing.
    """
    if spec.base.kind in LOCAL:
        return local.document(spec, dialect)
    wishes = Wishes(spec, target, builder, dialect)
    places = [pieces.output_local(), *(pieces.installer_locals() if remastered(spec) else [])]
    steps = pieces.sealed(scripts(spec))
    return pieces.document(wishes, variables(wishes), body(wishes), steps, places)


def end(wishes: Wishes, **further: Wanted) -> Body:
    """The end of a source block: what is left on this machine, access to the guest, switching it off.

    Args:
        wishes: of the source block.
        further: arguments of what is left, beside name, folder and window.
    """
    return [
        *wishes.group(
            "What is left on this machine.",
            vm_name=pieces.versioned_name(wishes.spec),
            output_directory=Ref("local.output_directory"),
            headless=Ref("var.headless"),
            **further,
        ),
        *pieces.communicator(),
        *pieces.shutdown(),
    ]
