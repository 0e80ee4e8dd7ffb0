"""What a platform needs beside a disk: scripts that make a machine of it, where no registrar of ours reaches."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from skyvypack import assets, template
from skyvypack.artifact import DiskFile
from skyvypack.spec.model import Spec


def write(folder: Path, files: Iterable[DiskFile], spec: Spec, target: str) -> list[Path]:
    """Render the files of `builders/<target>/artifact/` into an artifact's folder.

    Args:
        folder: of the artifact, not published yet.
        files: its disks.
        spec: what was baked.
        target: what for.

    Returns:
        What was written; empty for a target that needs nothing.
    """
    names = {
        "spec": spec,
        "settings": spec.target_settings(target),
        "stem": f"{spec.name}-{spec.version}",
        "digests": {file.format: file.sha256 for file in files},
    }
    written = []
    for source in sorted((assets.builders() / target / "artifact").glob("*")):
        path = folder / source.name
        path.write_text(template.render(source.read_text(encoding="utf-8"), names), encoding="utf-8")
        written.append(path)
    return written
