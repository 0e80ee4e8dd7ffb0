"""Builds the newest Packer and its plugins from the versions in `newest_packer/go.mod`, into a cache outside the repo.

    python tools/newest_packer.py

prints the folder: `packer`, and `plugins/` for PACKER_PLUGIN_PATH. Exit code 3, and the reason on standard error, when
there is no Go or one older than the sources need.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import sys
from pathlib import Path

from skyvypack import command, runs

SOURCES = Path(__file__).parent / "newest_packer"
_GO = ("/usr/local/go/bin", "/usr/lib/go/bin")


class NoGoError(Exception):
    """There is no Go that can build it."""


def go() -> str:
    """The Go to build with.

    Raises:
        NoGoError: there is none, or it is older than the sources need.
    """
    path = os.pathsep.join([os.environ.get("PATH", ""), *_GO])
    program = shutil.which("go", path=path)
    (wanted,) = re.findall(r"^go (\S+)$", (SOURCES / "go.mod").read_text(encoding="utf-8"), re.MULTILINE)
    if program is None:
        raise NoGoError(f"Go is not installed; {wanted} or newer is needed")
    found = command.run([program, "env", "GOVERSION"]).stdout.strip().removeprefix("go")
    if _numbers(found) < _numbers(wanted):
        raise NoGoError(f"Go {found} is too old; {wanted} or newer is needed")
    return program


def _numbers(version: str) -> list[int]:
    return [int(part) for part in re.findall(r"\d+", version)[:3]]


def modules(folder: Path) -> list[str]:
    """The paths of the modules that a go.mod requires itself."""
    text = (folder / "go.mod").read_text(encoding="utf-8")
    return re.findall(r"^(?:require)?\s+(github\.com/\S+/packer\S*) v\S+$", text, re.MULTILINE)


def build(program: str) -> Path:
    """Build what is missing.

    Args:
        program: the Go to build with.

    Returns:
        The folder.
    """
    version = command.run([program, "env", "GOVERSION"]).stdout
    texts = [path.read_text(encoding="utf-8") for path in (*sorted(SOURCES.rglob("go.*")), Path(__file__))]
    key = hashlib.sha256("\0".join([version, *texts]).encode()).hexdigest()[:16]
    folder = runs.cache_folder().parent / "skyvypack-tests" / f"packer-{key}"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with runs.lock(folder.with_suffix(".lock")):
        if not folder.exists():
            _build(program, folder)
    return folder


def _build(program: str, folder: Path) -> None:
    partial = folder.with_suffix(".partial")
    shutil.rmtree(partial, ignore_errors=True)
    for source in (SOURCES, SOURCES / "vsphere"):
        # A copy: Go completes go.mod and go.sum, which pin what they must as they are.
        work = partial / "work" / source.name
        work.mkdir(parents=True)
        for file in source.glob("go.*"):
            shutil.copy(file, work)
        for module in modules(source):
            _compile(program, module, work, partial / module.rpartition("/")[2])
    plugins = {
        "CHECKPOINT_DISABLE": "1",
        "PACKER_PLUGIN_PATH": str(partial / "plugins"),
        "PACKER_CONFIG_DIR": str(partial),
    }
    for binary in sorted(partial.glob("packer-plugin-*")):
        name = binary.name.removeprefix("packer-plugin-")
        owner = "vmware" if name == "vmware" else "hashicorp"
        # Writes the checksum beside the plugin, without which Packer does not take it.
        argv = [partial / "packer", "plugins", "install", "--path", binary, f"github.com/{owner}/{name}"]
        command.run(argv, env=plugins)
        binary.unlink()
    shutil.rmtree(partial / "work")
    partial.rename(folder)


def _compile(program: str, module: str, work: Path, binary: Path) -> None:
    sys.stderr.write(f"building {module}\n")
    # Some tags call themselves a development version, which no version constraint accepts.
    flags = f"-s -w -X {module}/version.VersionPrerelease="
    # Go's own settings, and the way to its proxy, are the user's.
    settings = {
        **os.environ,
        "GOFLAGS": "-mod=mod -trimpath",
        "GOTOOLCHAIN": "local",
        "GOWORK": "off",
        "CGO_ENABLED": "0",
    }
    command.run([program, "build", f"-ldflags={flags}", "-o", binary, module], cwd=work, env=settings)


def main() -> int:
    """Build, and print where it is."""
    try:
        program = go()
    except NoGoError as error:
        sys.stderr.write(f"{error}\n")
        return 3
    sys.stdout.write(f"{build(program)}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
