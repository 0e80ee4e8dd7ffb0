"""Installers that ask nothing: Debian's own, remastered by the bundle's `installer.sh`."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from skyvypack import command, installer, runs
from skyvypack.errors import CommandFailed, InputError
from skyvypack.pool import make as make_pool
from skyvypack.progress import Progress
from skyvypack.spec.model import Base, Spec

_REFUSED = 2
_LISTS = ("SHA512SUMS", "SHA256SUMS")


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


def make(
    spec: Spec,
    source: Path,
    output: Path,
    *,
    checksum: str = "",
    offline: bool = False,
    cache: Path | None = None,
    progress: Progress | None = None,
) -> Path:
    """Make an installer that sets up a machine of its own, from USB or virtual media.

    Args:
        spec: what the machine becomes. Unless it names the disk, the installer asks before it wipes one.
        source: an installer ISO of Debian, or the package ``debian-installer-<release>-netboot-amd64``.
        output: the ISO to make; must not exist.
        checksum: ``sha256:…`` or ``sha512:…`` of the source. Without it that of the spec's base ``iso``, else the list
            ``SHA512SUMS`` or ``SHA256SUMS`` beside the source.
        offline: bring every package along; needs an ISO that holds the base system (netinst).
        cache: the cache folder; `runs.cache_folder()` by default.
        progress: told of the stages ``pool`` and ``installer``.

    Returns:
        `output`.

    Raises:
        InputError: the source is not what it should be or has no checksum, `output` exists, nobody could log in.
        SkyvypackError: a package cannot be fetched, or there is no room.
    """
    if output.exists():
        raise InputError(f"{output} exists", "choose another --output, or move it away")
    if not source.is_file():
        raise InputError(f"there is no file {source}", "give --from an installer ISO of Debian")
    if offline and source.suffix == ".deb":
        message = "a netboot installer fetches its own parts from a mirror, so it cannot work offline"
        raise InputError(message, "give --from an ISO that holds the base system, such as Debian's netinst")
    files = installer.machine_files(replace(spec, base=_base(spec, source, checksum)), offline=offline)
    cache = cache or runs.cache_folder()
    with runs.run_folder(cache) as run:
        folder = run / "installer"
        for path, text in files.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_text(text)
        pool = None
        if offline:
            names = installer.machine_packages(spec)
            pool = make_pool(spec, names, run / "packages", debs=cache / "debs", progress=progress)
        return remaster(folder, source, output, pool=pool, progress=progress)


def _base(spec: Spec, source: Path, checksum: str) -> Base:
    base = Base("iso", url=str(source))
    if checksum:
        return replace(base, checksum=_well_formed(checksum))
    if spec.base.kind == "iso" and spec.base.checksum:
        return replace(base, checksum=spec.base.checksum)
    for name in _LISTS:
        if (source.parent / name).is_file():
            return replace(base, checksums=str((source.parent / name).resolve()))
    raise InputError(
        f"{source} has no checksum: what is not verified is not used",
        f"give --checksum sha256:…, or put the {_LISTS[0]} that Debian publishes beside it",
    )


def _well_formed(checksum: str) -> str:
    if not re.fullmatch(r"sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128}", checksum):
        raise InputError(f"{checksum} is no checksum", "write sha256: or sha512: and the digest in hexadecimal digits")
    return checksum
