"""Installers that ask nothing: Debian's own, remastered by the bundle's `installer.sh`."""

from __future__ import annotations

from pathlib import Path

from skyvypack import command
from skyvypack.errors import CommandFailed, InputError
from skyvypack.progress import Progress

_REFUSED = 2


def remaster(
    folder: Path,
    source: Path,
    output: Path,
    *,
    seed: str = "",
    pool: Path | None = None,
    progress: Progress | None = None,
) -> Path:
    """Run a bundle's `installer.sh`.

    Args:
        folder: of the script and of ``installer/``.
        source: an installer ISO of Debian, or the package ``debian-installer-<release>-netboot-amd64``.
        output: the ISO to make.
        seed: folder in `folder` with further data for cloud-init, such as the build account.
        pool: folder of packages with their index, which the ISO brings along.
        progress: told of the stage ``installer``.

    Returns:
        `output`.

    Raises:
        InputError: the source is of another release or architecture or not what its checksum says, there is no room,
            or `output` exists; nothing was written.
        ToolMissing: a program is missing.
        CommandFailed: the ISO could not be made; nothing of it is left.
    """
    options = [*(("--seed", seed) if seed else ()), *(("--pool", str(pool.resolve())) if pool else ())]
    argv = ["sh", "installer.sh", *options, str(source.resolve()), str(output.resolve())]
    progress = progress or Progress()
    with progress.stage("installer", "Make the installer") as line:
        try:
            command.run(argv, cwd=folder, on_line=line)
        except CommandFailed as error:
            if error.returncode != _REFUSED:
                raise
            said = [text for text in error.tail.splitlines() if text.startswith("installer.sh: ")] or [error.tail]
            raise InputError(said[-1].removeprefix("installer.sh: ")) from error
    return output
