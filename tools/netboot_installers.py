"""Fetches the packages of Debian's netboot installers for both releases, verified, whatever release this host runs.

    python tools/netboot_installers.py FOLDER

leaves debian-installer-<release>-netboot-amd64_….deb in the folder and prints their paths, a line each. What is there
already is not fetched again; another point release's is removed.
"""

from __future__ import annotations

import re
import shutil
import sys
import tempfile
from pathlib import Path

from skyvypack import command, mirrors, pool
from skyvypack.errors import SkyvypackError
from skyvypack.spec import Spec

RELEASES = {"bookworm": 12, "trixie": 13}


def fetch(suite: str, folder: Path) -> Path:
    """One installer's package, in a folder.

    Raises:
        SkyvypackError: this host's apt names no archive of Debian's, or it cannot be read or has no such package.
    """
    package = f"debian-installer-{RELEASES[suite]}-netboot-amd64"
    spec = Spec("netboot", "1.0.0", suite, ())
    text = mirrors.sources(spec).text
    if not text:
        raise SkyvypackError("this host's apt names no archive of Debian's", "set SKYVYPACK_TEST_INSTALLER")
    with tempfile.TemporaryDirectory() as work:
        (Path(work) / "debs").mkdir()
        apt = pool.apt_get(spec, text, Path(work), Path(work) / "debs")
        command.run([*apt, "update"])
        # 'URL' FILE SIZE DIGEST
        said = command.run([*apt, "download", "--print-uris", package]).stdout
        (name,) = re.findall(rf"^'\S+' ({package}_\S+\.deb) ", said, re.MULTILINE)
        for old in folder.glob(f"{package}_*.deb"):
            if old.name != name:
                old.unlink()
        if not (folder / name).is_file():
            command.run([*apt, "download", package], cwd=work)
            shutil.move(Path(work) / name, folder / name)
    return folder / name


def main() -> int:
    """Fetch both."""
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    try:
        sys.stdout.writelines(f"{fetch(suite, folder)}\n" for suite in RELEASES)
    except SkyvypackError as error:
        sys.stderr.write(f"{error.message}\n{error.hint}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
