"""`Spec` → `Bundle`: everything Packer needs, as text. Pure but for reading the files that ship with the library."""

from __future__ import annotations

from collections.abc import Mapping

from skyvypack import assets, targets, template
from skyvypack.bundle import Bundle
from skyvypack.cloudinit import bake_meta_data, bake_user_data, build_access
from skyvypack.dialect import Dialect, named
from skyvypack.installer import bundle_files
from skyvypack.recipe import layer_files
from skyvypack.spec.model import Spec
from skyvypack.targets.pieces import versioned_name


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
    spec = targets.equipped(spec, target)
    source = targets.source(target)
    builder = source.builder(spec)
    scripts = source.scripts(spec)
    # A disk that was baked elsewhere needs no configuration.
    configured = "scripts/seal.sh" in scripts
    files = {
        "skyvyos.pkr.hcl": source.document(spec, chosen).render(),
        **({"user-data": bake_user_data(spec, target), "meta-data": bake_meta_data(spec)} if configured else {}),
        "vendor-data.in": build_access(),
        "prepare.sh": _shared("prepare.sh"),
        **{path: _shared(path) for path in scripts},
        **(layer_files(spec) if spec.base.kind == "bootstrap" and configured else {}),
        **(_installer(spec, target) if spec.base.kind == "iso" else {}),
    }
    readme = {"README.md": _readme(spec, target, builder, chosen, files)}
    return Bundle(target, builder, chosen.name, readme | files)


def _shared(path: str) -> str:
    return (assets.builders() / "shared" / path).read_text(encoding="utf-8")


def _readme(spec: Spec, target: str, builder: str, dialect: Dialect, files: Mapping[str, str]) -> str:
    names = {
        "spec": spec,
        "name": versioned_name(spec),
        "settings": spec.target_settings(target),
        "dialect": dialect,
        "plugin": dialect.plugin(builder),
        "files": files,
    }
    notes = (assets.builders() / builder / "bundle-notes.md").read_text(encoding="utf-8")
    return template.render(_shared("bundle-README.md"), names | {"notes": template.render(notes, names).rstrip("\n")})


def _installer(spec: Spec, target: str) -> dict[str, str]:
    return bundle_files(spec, remastered=targets.source(target).remastered(spec))
