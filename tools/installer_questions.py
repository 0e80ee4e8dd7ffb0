"""Writes tests/installer/questions-<release>.json: what Debian's installer can ask, and what it asks at any priority.

    python tools/installer_questions.py 13 NETBOOT.deb UDEB…

NETBOOT.deb is the package debian-installer-13-netboot-amd64, whose initrd holds the first components; each UDEB is a
component that the installer loads later (apt-get download, with `main/debian-installer` among the components).
Needs dpkg-deb and cpio.
"""

from __future__ import annotations

import gzip
import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

OUTPUT = Path(__file__).parent.parent / "tests" / "installer"
# A question that is asked even when only critical ones are.
_ASKED = re.compile(r"db_input critical \"?([a-z][\w./-]*/[\w./-]+)")


def unpack(files: list[Path], netboot: Path, folder: Path) -> dict[str, Path]:
    """The control and data files of each component, by its name."""
    components = {}
    for file in files:
        name = file.name.partition("_")[0]
        subprocess.run(["dpkg-deb", "-R", file, folder / name], check=True)
        components[name] = folder / name
    subprocess.run(["dpkg-deb", "-x", netboot, folder / "netboot"], check=True)
    (packed,) = (folder / "netboot").glob("usr/lib/debian-installer/images/*/amd64/text/*/amd64/initrd.gz")
    (folder / "initrd").mkdir()
    archive = gzip.decompress(packed.read_bytes())
    # Devices cannot be made by everyone, and are not needed.
    subprocess.run(["cpio", "-id", "--quiet"], input=archive, cwd=folder / "initrd", stderr=subprocess.DEVNULL)
    return components


def questions(text: str) -> dict[str, str]:
    """Type of each question, by name."""
    found = {}
    for paragraph in text.split("\n\n"):
        fields = dict(re.findall(r"^(Template|Type): *(.+)$", paragraph, re.MULTILINE))
        if "Template" in fields and fields.get("Type") not in (None, "text", "title"):
            found[fields["Template"].strip()] = fields["Type"].strip()
    return found


def main(release: str, netboot: Path, files: list[Path]) -> None:
    """Read everything and write the list."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        components = unpack(files, netboot, folder)
        info = folder / "initrd" / "var/lib/dpkg/info"
        texts = [path.read_text() for path in info.glob("*.templates")]
        texts += [path.read_text() for one in components.values() for path in one.glob("DEBIAN/templates")]
        known = {name: kind for text in texts for name, kind in questions(text).items()}
        scripts = [path for one in components.values() for path in one.rglob("*") if path.is_file()]
        scripts += [path for path in (folder / "initrd").rglob("*") if path.is_file() and not path.is_symlink()]
        small = (path.read_bytes() for path in scripts if path.stat().st_size < 200_000)
        asked = {name for text in small for name in _ASKED.findall(text.decode(errors="ignore"))}
    described = {
        "installer": netboot.name.split("_")[1],
        "components": sorted(components),
        "questions": dict(sorted(known.items())),
        "asked_at_critical": sorted(name for name in asked if known.get(name, "") not in ("", "error", "note")),
    }
    (OUTPUT / f"questions-{release}.json").write_text(json.dumps(described, indent=1) + "\n")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), [Path(name) for name in sys.argv[3:]])
