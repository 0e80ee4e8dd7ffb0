"""Where Debian's packages come from: the spec, else this host's own apt configuration, else mmdebstrap's default."""

from __future__ import annotations

import hashlib
import re
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http.client import HTTPException
from pathlib import Path
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import urlopen

from skyvypack import command, recipe
from skyvypack.errors import CommandFailed, InputError, SkyvypackError
from skyvypack.spec.model import Spec

_APT = Path("/etc/apt")
_APT_HELPER = Path("/usr/lib/apt/apt-helper")
_TIMEOUT = 60.0
_RELEASES = "bullseye|bookworm|trixie|forky|sid|unstable|testing|stable|oldstable"
_MAIN = re.compile(rf"(?:{_RELEASES})(?:-updates)?")
_SECURITY = re.compile(rf"(?:{_RELEASES})-security")
_ONE_LINE = re.compile(r"deb\s+(?:\[(?P<options>[^]]*)\]\s*)?(?P<uri>\S+)\s+(?P<suite>\S+)\s+(?P<components>.+)")
_INDEX = re.compile(r"^ ([0-9a-f]{64}) +\d+ (main/binary-(?:amd64|all)/Packages\.xz)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Sources:
    """The apt sources of one layer.

    Args:
        text: deb822; empty for mmdebstrap's own default.
        archives: ``(URL, suite)`` of each, Debian's main suite first; empty when unknown.
        snapshot: ``YYYYMMDDTHHMMSSZ`` when the archives are of one moment.
    """

    text: str = ""
    archives: tuple[tuple[str, str], ...] = ()
    snapshot: str = ""


@dataclass(frozen=True, slots=True)
class Freshness:
    """What the archives hold right now.

    Args:
        digest: changes when a package of the archives does, and not when they are only signed again.
        epoch: seconds since 1970 of the main suite's last release; the time a layer is dated by.
    """

    digest: str
    epoch: int


@dataclass(frozen=True, slots=True)
class _Entry:
    """One source of the host's apt."""

    uri: str
    suites: tuple[str, ...]
    components: tuple[str, ...]
    signed_by: str

    @property
    def is_debian(self) -> bool:
        """A third party's repository may be named after a release, but it is signed by a key of its own.

        A URL with a password in it is nobody's default mirror: it would be in every clone.
        """
        parts = urlsplit(self.uri)
        ours = not self.signed_by or "debian-archive" in self.signed_by
        return ours and "main" in self.components and parts.scheme in ("http", "https") and "@" not in parts.netloc


def sources(spec: Spec, apt: Path = _APT) -> Sources:
    """The apt sources of a spec's layer.

    Args:
        spec: whose ``mirror`` is asked first.
        apt: the folder of this host's apt configuration.

    Raises:
        InputError: the spec names one archive, and the other is known neither from it nor from the host.
    """
    mirror = spec.mirror
    host_main, host_security = _host(apt)
    main, security = mirror.main or host_main, mirror.security or host_security
    if not (main and security):
        if mirror.main or mirror.security:
            missing = "security" if mirror.main else "main"
            raise InputError(f"mirror.{missing} is not set, and this host's apt knows no such archive", "set both")
        return Sources()
    # Only archives that are both of that moment stand still.
    snapshot = mirror.snapshot if "{snapshot}" in main and "{snapshot}" in security else ""
    text = recipe.apt_sources(spec.debian, main, security, mirror.snapshot)
    main, security = (url.replace("{snapshot}", mirror.snapshot) for url in (main, security))
    suites = ((main, spec.debian), (main, f"{spec.debian}-updates"), (security, f"{spec.debian}-security"))
    return Sources(text, suites, snapshot)


def freshness(wanted: Sources) -> Freshness:
    """Ask the archives what they hold now; nothing is asked of a snapshot, whose answer cannot change.

    Of archives that are unknown (mmdebstrap's default) it is taken that they change once a day.

    Raises:
        SkyvypackError: an archive cannot be reached or is none; the message names its host.
    """
    taken = recipe.epoch(wanted.snapshot)
    if taken is not None:
        return Freshness(wanted.snapshot, taken)
    if not wanted.archives:
        today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        return Freshness(today.date().isoformat(), int(today.timestamp()))
    releases = _fetch([f"{url.rstrip('/')}/dists/{suite}/InRelease" for url, suite in wanted.archives])
    digest = hashlib.sha256()
    for (url, suite), release in zip(wanted.archives, releases, strict=True):
        indexes = sorted(_INDEX.findall(release))
        if not indexes:
            raise SkyvypackError(f"{url} has no Debian release {suite}", "check mirror in the spec")
        digest.update(f"{suite} {indexes}\n".encode())
    return Freshness(digest.hexdigest(), _date(releases[0]))


def _date(release: str) -> int:
    found = re.search(r"^Date: (.+)$", release, re.MULTILINE)
    return int(parsedate_to_datetime(found[1]).timestamp()) if found else 0


def _fetch(urls: list[str]) -> list[str]:
    """Texts of some URLs, by apt's own downloader where there is one: it knows the host's proxies and certificates."""
    if not _APT_HELPER.exists():
        return [_download(url) for url in urls]
    with tempfile.TemporaryDirectory() as folder:
        targets = [Path(folder) / str(number) for number in range(len(urls))]
        pairs = [part for url, target in zip(urls, targets, strict=True) for part in (url, str(target))]
        try:
            command.run([_APT_HELPER, "-o", "Acquire::Retries=1", "download-file", *pairs], timeout=_TIMEOUT)
        except CommandFailed as error:
            found = re.search(r"^E: Failed to fetch (\S+)\s+(.+)$", error.tail, re.MULTILINE)
            raise _unreachable(*(found.groups() if found else (urls[0], error.tail.strip()))) from error
        return [target.read_text(errors="replace") for target in targets]


def _download(url: str) -> str:
    try:
        with urlopen(url, timeout=_TIMEOUT) as answer:
            return str(answer.read().decode(errors="replace"))
    except HTTPError as error:
        error.close()
        raise _unreachable(url, str(error)) from error
    except (OSError, HTTPException) as error:
        # What HTTPException says may quote a password.
        text = "not an answer" if isinstance(error, HTTPException) else str(getattr(error, "reason", error))
        raise _unreachable(url, text) from error


def _unreachable(url: str, reason: str) -> SkyvypackError:
    return SkyvypackError(
        f"cannot read the Debian mirror {urlsplit(url).netloc.rpartition('@')[2]}: {reason}",
        "check the network and mirror in the spec; --offline uses the newest layer of the cache",
    )


def _host(apt: Path) -> tuple[str, str]:
    """URLs of Debian's main and security archives in a host's apt configuration; empty where it has none."""
    main = security = ""
    for entry in _entries(apt):
        if entry.is_debian:
            main = main or (entry.uri if any(map(_MAIN.fullmatch, entry.suites)) else "")
            security = security or (entry.uri if any(map(_SECURITY.fullmatch, entry.suites)) else "")
    return main, security


def _entries(apt: Path) -> Iterator[_Entry]:
    parts = apt / "sources.list.d"
    for path in [apt / "sources.list", *sorted(parts.glob("*.list")), *sorted(parts.glob("*.sources"))]:
        try:
            text = path.read_text(errors="replace")
        except OSError:
            continue
        yield from _deb822(text) if path.suffix == ".sources" else _one_line(text)


def _one_line(text: str) -> Iterator[_Entry]:
    for line in text.splitlines():
        found = _ONE_LINE.fullmatch(line.partition("#")[0].strip())
        if found:
            key = re.search(r"signed-by=(\S+)", found["options"] or "")
            yield _Entry(
                _mirror(found["uri"]), (found["suite"],), tuple(found["components"].split()), key[1] if key else ""
            )


def _deb822(text: str) -> Iterator[_Entry]:
    for stanza in re.split(r"\n\s*\n", re.sub(r"(?m)^#.*\n?", "", text)):
        fields = {
            key.lower(): value.strip() for key, value in re.findall(r"(?m)^([\w-]+):((?:.*)(?:\n[ \t]+.*)*)", stanza)
        }
        if "deb" in fields.get("types", "").split() and fields.get("enabled", "yes").lower() != "no":
            suites, components = fields.get("suites", "").split(), fields.get("components", "").split()
            for uri in fields.get("uris", "").split()[:1]:
                yield _Entry(_mirror(uri), tuple(suites), tuple(components), fields.get("signed-by", ""))


def _mirror(uri: str) -> str:
    """The first mirror of a list (``mirror+file:``, as Debian's cloud images have it); any other URL as it is."""
    if not uri.startswith("mirror+file:"):
        return uri
    try:
        lines = Path(uri.removeprefix("mirror+file:")).read_text().splitlines()
    except OSError:
        return ""
    return next((line.split()[0] for line in lines if line.strip() and not line.startswith("#")), "")
