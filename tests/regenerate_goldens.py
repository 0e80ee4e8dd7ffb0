"""Writes `tests/goldens/` anew; run it with `nox -s golden` and review the difference."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from target_cases import CASES

from skyvypack.bundle import Bundle
from skyvypack.importer import import_template
from skyvypack.render import render
from skyvypack.spec.model import Base, Machine, Spec
from skyvypack.targets import settings_rules

GOLDENS = Path(__file__).parent / "goldens"
# Templates in the style of those that people have; beside each the spec that it becomes.
TEMPLATES = Path(__file__).parent / "importer" / "templates"
DIALECTS = ("1.6.6", "latest")

# Without roles: theirs are tests of their own, and a change in one should not touch these.
_PLAIN = Spec("skyvyos-server", "1.0.0", "trixie", (), packages=("vim",))
_IMAGE = Base("cloud-image", url="https://image.example/debian-12.qcow2", checksums="https://image.example/SHA512SUMS")
_ISO = Base("iso", url="https://image.example/debian-13-netinst.iso", checksum="sha256:" + "0" * 64)
_SETTINGS = {
    "accelerator": "kvm",
    "disk_interface": "virtio-scsi",
    "arguments": {"cores": 2, "efi_boot": True, "host_port_min": 4000},
}
_CASES: Mapping[str, Spec] = {
    "bootstrap": _PLAIN,
    "cloud-image": replace(_PLAIN, debian="bookworm", base=_IMAGE),
    "iso": replace(_PLAIN, base=_ISO),
    "settings": replace(_PLAIN, name="bench", machine=Machine(cpus=4, memory=4096, disk=20)),
}


def specs() -> dict[str, Spec]:
    """The spec of each case, settings complete."""
    defaults = {name: rule["default"] for name, rule in settings_rules("qemu").items()}
    given = {"settings": _SETTINGS}
    return {name: replace(spec, targets={"qemu": defaults | given.get(name, {})}) for name, spec in _CASES.items()}


def bundles() -> dict[str, Bundle]:
    """Every bundle that has a golden folder, by its name."""
    local = {
        f"qemu-{name}-{dialect}": render(spec, "qemu", dialect)
        for name, spec in specs().items()
        for dialect in DIALECTS
    }
    return local | {
        f"{name}-{dialect}": render(case.spec, case.target, dialect)
        for name, case in CASES.items()
        for dialect in DIALECTS
        if case.old or dialect != "1.6.6"
    }


def goldens(bundle: Bundle) -> dict[str, str]:
    """What of a bundle is kept as golden: all but the scripts, which are copies, and what no builder decides."""
    same = () if bundle.builder == "qemu" else ("user-data", "meta-data", "vendor-data.in")
    return {path: text for path, text in bundle.files.items() if not path.endswith((".sh", ".py")) and path not in same}


def imports() -> dict[Path, str]:
    """The spec that each template becomes, by the file it is kept in."""
    templates = [path for path in TEMPLATES.iterdir() if path.suffix in (".hcl", ".json")]
    return {
        TEMPLATES / f"{path.name}.yaml": import_template({path.name: path.read_text(encoding="utf-8")}).text
        for path in sorted(templates)
    }


def main() -> None:
    """Write every golden folder anew, and what templates become."""
    for path, text in imports().items():
        path.write_text(text, encoding="utf-8")
    shutil.rmtree(GOLDENS, ignore_errors=True)
    for name, bundle in bundles().items():
        for path, text in goldens(bundle).items():
            (GOLDENS / name / path).parent.mkdir(parents=True, exist_ok=True)
            (GOLDENS / name / path).write_bytes(text.encode())


if __name__ == "__main__":
    main()
