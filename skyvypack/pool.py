"""A pool: every package of a machine in one folder with its index, for an installation without a network.

apt itself resolves and verifies, with a state of its own and no regard to this host's packages; so the pool is closed,
and as trustworthy as the mirror's signatures.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path

from skyvypack import cache as store
from skyvypack import command, mirrors
from skyvypack.errors import CommandFailed, InputError, SkyvypackError
from skyvypack.progress import Progress
from skyvypack.recipe import repositories
from skyvypack.spec.model import Spec

_STAGE = "pool"
# The whole server's packages, twice: in the cache and in the pool.
_ROOM = 2 << 30
# Inst NAME (VERSION ARCHIVE [ARCHITECTURE])
_CHOSEN = re.compile(r"^Inst (\S+) \((\S+) [^)]*\[(\w+)\]\)", re.MULTILINE)
_OFFLINE = "no package can be fetched: %s"
# Those of a base system that the installer unpacks first; named so that nothing of theirs is missing in the pool.
_BASE = (
    *("?essential", "apt", "base-files", "ca-certificates", "debian-archive-keyring", "e2fsprogs", "init", "libc-bin"),
    *("mawk", "mount", "passwd", "tzdata"),
)


def make(spec: Spec, names: Sequence[str], folder: Path, *, debs: Path, progress: Progress | None = None) -> Path:
    """Make the pool of some packages and all they depend on, without recommends.

    Args:
        spec: its release, mirror and vendors' repositories.
        names: Debian packages.
        folder: to make; also holds apt's own state while this runs.
        debs: folder of downloaded packages, kept for the next time.
        progress: told of the stage ``pool``.

    Returns:
        The folder of ``*.deb`` and ``Packages``.

    Raises:
        InputError: a package does not exist, or no mirror is known.
        SkyvypackError: the mirror cannot be read, or the disk is full.
        ToolMissing: this host has no apt.
    """
    progress = progress or Progress()
    text = mirrors.sources(spec).text
    if not text:
        raise InputError("where packages come from is not known on this host", "set `mirror:` in the spec")
    pool = folder / "pool"
    pool.mkdir(parents=True)
    debs.mkdir(parents=True, exist_ok=True)
    store.require_space(folder, _ROOM, "the packages of an installer")
    apt = apt_get(spec, text, folder, debs)
    with progress.stage(_STAGE, "Fetch every package") as line:
        try:
            command.run([*apt, "update"], on_line=line)
            wanted = ["install", "--yes", "--no-install-recommends", *_BASE, *names]
            command.run([*apt, "--download-only", *wanted], on_line=line)
            chosen = command.run([*apt, "--simulate", *wanted]).stdout
        except CommandFailed as error:
            raise _told(error) from error
        _index(pool, _files(chosen, debs))
    return pool


def apt_get(spec: Spec, text: str, folder: Path, debs: Path) -> list[str]:
    """apt-get with a configuration and a state of its own, whatever this host's release and packages are.

    Args:
        spec: its vendors' repositories.
        text: the other sources, deb822.
        folder: exists; the state goes below it, into ``apt``.
        debs: folder of downloaded packages; exists.

    Returns:
        The program with its options, for a verb.
    """
    etc = folder / "apt"
    for name in ("sources", "preferences", "lists/partial"):
        (etc / name).mkdir(parents=True)
    (debs / "partial").mkdir(exist_ok=True)
    (etc / "status").touch()
    (etc / "sources" / "debian.sources").write_text(text)
    for one in repositories(spec):
        (etc / "sources" / f"{one.name}.sources").write_text(one.sources())
        (etc / "preferences" / one.name).write_text(one.pins())
    options = {
        "APT::Architecture": "amd64",
        "APT::Architectures": "amd64",
        "APT::Sandbox::User": "root",
        "Acquire::Languages": "none",
        "Acquire::Retries": "3",
        "Dir::Cache": etc,
        "Dir::Cache::archives": debs,
        "Dir::Etc::main": "/dev/null",
        "Dir::Etc::parts": "/dev/null",
        "Dir::Etc::preferences": "/dev/null",
        "Dir::Etc::preferencesparts": etc / "preferences",
        "Dir::Etc::sourcelist": "/dev/null",
        "Dir::Etc::sourceparts": etc / "sources",
        "Dir::State": etc,
        "Dir::State::lists": etc / "lists",
        "Dir::State::status": etc / "status",
    }
    return ["apt-get", "-q", *(part for name, value in options.items() for part in ("-o", f"{name}={value}"))]


def _files(simulated: str, debs: Path) -> list[Path]:
    """The files of the packages that apt says it would install."""
    files = [
        debs / f"{name.partition(':')[0]}_{version.replace(':', '%3a')}_{architecture}.deb"
        for name, version, architecture in _CHOSEN.findall(simulated)
    ]
    missing = [file.name for file in files if not file.is_file()]
    if missing or not files:
        raise SkyvypackError(f"apt did not fetch {', '.join(missing) or 'anything'}", "try again")
    return files


def _index(pool: Path, files: Sequence[Path]) -> None:
    paragraphs = []
    for file in files:
        data = file.read_bytes()
        (pool / file.name).write_bytes(data)
        fields = command.run(["dpkg-deb", "--field", file]).stdout.rstrip("\n")
        digest = hashlib.sha256(data).hexdigest()
        paragraphs.append(f"{fields}\nFilename: ./{file.name}\nSize: {len(data)}\nSHA256: {digest}\n")
    (pool / "Packages").write_text("\n".join(paragraphs))


def _told(error: CommandFailed) -> SkyvypackError:
    complaints = [line for line in error.tail.splitlines() if line.startswith("E: ")] or [error.tail]
    unknown = [line for line in complaints if "Unable to locate package" in line or "no installation candidate" in line]
    if unknown:
        return InputError(
            _OFFLINE % "; ".join(line.removeprefix("E: ") for line in unknown), "see `packages` and roles"
        )
    return SkyvypackError(_OFFLINE % complaints[0].removeprefix("E: "), "check `mirror` in the spec and the network")
