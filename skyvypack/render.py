"""`Spec` → `Bundle`: everything Packer needs, as text. Pure but for reading the files that ship with the library."""

from __future__ import annotations

from skyvypack import assets, targets, template
from skyvypack.bundle import Bundle
from skyvypack.cloudinit import bake_meta_data, bake_user_data, build_access
from skyvypack.dialect import Dialect, named
from skyvypack.recipe import layer_files
from skyvypack.spec.model import Spec


def render(spec: Spec, target: str = "qemu", dialect: Dialect | str = "1.6.6") -> Bundle:
    """Make the bundle of a spec for one target.

    Args:
        spec: what to bake.
        target: where the template will live.
        dialect: the Packer to write for: a version such as ``1.6.6``, or ``latest``, the newest known.

    Raises:
        InputError: no such target or version, the target cannot start from the spec's base, or the dialect cannot
            express a setting; the message names the version that can.
    """
    chosen = named(dialect) if isinstance(dialect, str) else dialect
    source = targets.source(target)
    builder = source.builder(spec)
    bootstrap = spec.base.kind == "bootstrap"
    files = {
        "README.md": _readme(spec, builder, chosen),
        "skyvyos.pkr.hcl": source.document(spec, chosen).render(),
        "user-data": bake_user_data(spec, target),
        "meta-data": bake_meta_data(spec),
        "vendor-data.in": build_access(),
        "prepare.sh": _shared("prepare.sh"),
        **{path: _shared(path) for path in source.scripts(spec)},
        **(layer_files(spec) if bootstrap else {}),
    }
    return Bundle(target, builder, chosen.name, files)


def _shared(path: str) -> str:
    return (assets.builders() / "shared" / path).read_text(encoding="utf-8")


def _readme(spec: Spec, builder: str, dialect: Dialect) -> str:
    names = {
        "spec": spec,
        "dialect": dialect,
        "plugin": dialect.plugin(builder),
        "bootstrap": spec.base.kind == "bootstrap",
    }
    return template.render(_shared("bundle-README.md"), names)
