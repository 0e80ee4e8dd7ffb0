"""Asks vendors' repositories whether a bake can use them: reachable, signed by their own key, and not out of date.

apt itself is asked, in a folder of its own, so that the answer is the one that the bake would come to; it needs no
rights, and nothing of this host's apt but its proxy.
"""

from __future__ import annotations

import hashlib
import re
import tempfile
from collections.abc import Sequence
from pathlib import Path

from skyvypack import command
from skyvypack.errors import CommandFailed, SkyvypackError
from skyvypack.repositories import Repository, fingerprint

_TIMEOUT = 120.0
_HINT = "origins in the spec can say `debian` for its role; --offline uses the newest layer of the cache"
# In the order of how much they say; by gpgv (until Debian 12) and by sqv (since).
_CAUSES = (
    (r"Release file for \S+ is expired|EXPSIG", "its Release file is expired"),
    (r"Release file for \S+ is not valid yet", "its Release file is of the future: set this host's clock right"),
    (r"EXPKEYSIG|REVKEYSIG|[Kk]ey.*expired", "its key {key} is expired or revoked"),
    (r"NO_PUBKEY|Missing key|BADSIG|ERRSIG|is not bound|Policy rejected", "it is not signed by its key {key}"),
    (r"is not signed|NODATA|not have a Release file|Clearsigned file isn't valid", "it is not signed, or is none"),
    (r"Temporary failure resolving|Could not resolve", "its host cannot be found"),
    (r"Could not connect|Unable to connect|Connection failed|Connection timed out|No route", "it cannot be reached"),
    (r"40[0-9] +\S.*", "it has no such folder or file"),
)


def check(repositories: Sequence[Repository]) -> str:
    """Have apt read the lists of some repositories.

    Args:
        repositories: of the spec's roles.

    Returns:
        A digest that changes when a package of one of them does; empty without repositories, and where this host has
        no apt: there the bake's own apt asks.

    Raises:
        SkyvypackError: one cannot be reached, is not signed by its own key, or is out of date.
    """
    if not repositories or command.which("apt-get") is None:
        return ""
    digest = hashlib.sha256()
    for one in repositories:
        digest.update(_lists(one))
    return digest.hexdigest()


def _lists(one: Repository) -> bytes:
    """A digest of what the repository holds."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        (root / "parts").mkdir()
        (root / "lists" / "partial").mkdir(parents=True)
        (root / "parts" / f"{one.name}.sources").write_text(one.sources())
        (root / "status").touch()
        try:
            done = command.run(["apt-get", *_options(root), "update", "--error-on=any"], timeout=_TIMEOUT)
        except CommandFailed as error:
            raise _unusable(one, error.tail) from error
        if "W: " in done.stderr and (found := re.search("|".join(cause for cause, _ in _CAUSES), done.stderr)):
            raise _unusable(one, found[0])
        digest = hashlib.sha256()
        for path in sorted((root / "lists").glob("*_Packages*")):
            digest.update(path.name.encode() + path.read_bytes())
        return digest.digest()


def _options(root: Path) -> list[str]:
    options = {
        "Dir::Etc::SourceList": "/dev/null",
        "Dir::Etc::SourceParts": root / "parts",
        "Dir::Etc::Trusted": "/dev/null",
        "Dir::Etc::TrustedParts": "/dev/null",
        "Dir::State": root,
        "Dir::State::Lists": root / "lists",
        "Dir::State::status": root / "status",
        "Dir::Cache": root / "cache",
        "APT::Architecture": "amd64",
        "APT::Architectures": "amd64",
        # Dropping root's rights would make the folder unreadable.
        "APT::Sandbox::User": "",
        "Acquire::Check-Date": "true",
        "Acquire::Check-Valid-Until": "true",
        "Acquire::Languages": "none",
        "Acquire::Retries": "1",
        # What the host's packages hook in is for the host's own lists.
        "APT::Update::Pre-Invoke::": "",
    }
    return [word for key, value in options.items() for word in ("-o", f"{key}={value}")]


def _unusable(one: Repository, said: str) -> SkyvypackError:
    for pattern, words in _CAUSES:
        if re.search(pattern, said):
            reason = words.format(key=fingerprint(one.key))
            break
    else:
        lines = [line for line in said.strip().splitlines() if line.startswith(("E:", "Err:"))]
        reason = lines[-1] if lines else "apt-get gave up"
    return SkyvypackError(f"the repository {one.name} ({one.uri}) cannot be used: {reason}", _HINT)
