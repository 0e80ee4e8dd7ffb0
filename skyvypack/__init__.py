"""Golden VM templates of SkyvyOS Server: one spec in; Packer HCL, cloud-init and a proven template out.

::

    import skyvypack

    spec = skyvypack.load("skyvypack.yaml")    # Spec; raises SpecError with every problem
    bundle = skyvypack.render(spec, "qemu")    # Bundle {path: text}; pure
    result = skyvypack.bake(spec, "qemu")      # BakeResult: artifact, report, timings
    disk = result.artifact.file("qcow2").path
    report = skyvypack.verify(spec, disk, report_folder=Path("reports"))    # Report: what booted clones proved
    done = skyvypack.register(spec, "proxmox", result.artifact)    # Registration; needs the target's SDK
    templates = skyvypack.describe(spec, "proxmox")    # newest first; retire and reap tidy up

Nothing here prints or exits; long steps send `progress.Event`s to the `report` callable they are given, and errors
are those of `skyvypack.errors`. The names above are imported on first use, so that ``import skyvypack`` stays cheap.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from skyvypack.bake import bake
    from skyvypack.registrar import describe, reap, register, retire
    from skyvypack.render import render
    from skyvypack.spec import load, loads
    from skyvypack.verify import verify

__version__ = "0.1.0"
__all__ = ["bake", "describe", "load", "loads", "reap", "register", "render", "retire", "verify"]

_HOME = {"load": "spec", "loads": "spec", "render": "render", "bake": "bake", "verify": "verify"}
_HOME |= dict.fromkeys(("register", "describe", "retire", "reap"), "registrar")


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    setattr(sys.modules[__name__], name, value)
    return value


class _Package(ModuleType):
    """Keeps `skyvypack.bake` the function although a module of that name exists.

    The import system binds a module to its package when it is first imported, which would hide the function.
    """

    def __setattr__(self, name: str, value: Any) -> None:
        if isinstance(value, ModuleType) and _HOME.get(name) == name:
            value = getattr(value, name)
        super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
