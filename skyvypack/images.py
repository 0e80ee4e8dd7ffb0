"""Cloud images: fetched once, verified against the publisher's checksum, kept by it."""

from __future__ import annotations

import hashlib
import http.client
import os
import re
from pathlib import Path
from typing import IO
from urllib.error import URLError
from urllib.parse import unquote, urlsplit
from urllib.request import urlopen

from skyvypack import cache as store
from skyvypack.errors import InputError, SkyvypackError
from skyvypack.progress import Event, Progress
from skyvypack.spec.model import Base

_ALGORITHMS = {64: "sha256", 128: "sha512"}
_CHUNK = 1 << 20
_TIMEOUT = 60.0
_LARGEST_LIST = 1 << 20


def fetch(base: Base, *, cache: Path, progress: Progress, offline: bool = False) -> Path:
    """A cloud image, verified, in the cache; it is kept from being pruned while this process lives.

    Args:
        base: its ``url`` (a path, ``file:`` or ``http(s):``) and ``checksum`` or ``checksums``.
        cache: the cache folder.
        progress: told of the stage ``image``.
        offline: take the newest verified image of this URL, and ask nobody.

    Raises:
        InputError: the checksum is malformed, missing in the list, or not the image's.
        SkyvypackError: something cannot be read, or the disk is full.
    """
    folder = cache / "images"
    folder.mkdir(parents=True, exist_ok=True)
    place = hashlib.sha256(base.url.encode()).hexdigest()[:16]
    if offline:
        known = sorted(folder.glob(f"{place}-*"), key=lambda path: path.stat().st_mtime)
        if not known or not _hold(known[-1]):
            raise SkyvypackError(f"{base.url} is not in the cache", "run once without --offline")
        return known[-1]
    algorithm, wanted = _checksum(base)
    image = folder / f"{place}-{algorithm}-{wanted}{Path(urlsplit(base.url).path).suffix}"
    while not _hold(image):
        with store.exclusive(store.half_path(image)):
            if not image.exists():
                _download(base.url, image, algorithm, wanted, progress)
    return image


def _hold(image: Path) -> bool:
    """Lock an image for use. The lock stays open on purpose: nobody says when it was read for the last time."""
    descriptor = store.hold(image)
    if not image.exists():
        os.close(descriptor)
        return False
    return True


def _checksum(base: Base) -> tuple[str, str]:
    """Algorithm and hexadecimal digest that the image must have."""
    if base.checksum:
        algorithm, _, digest = base.checksum.partition(":")
        return _checked(algorithm, digest.lower(), base.checksum)
    name = unquote(urlsplit(base.url).path).rpartition("/")[2]
    with _open(base.checksums) as answer:
        text = answer.read(_LARGEST_LIST).decode(errors="replace")
    for line in text.splitlines():
        digest, _, entry = line.strip().partition(" ")
        if entry.strip().removeprefix("*").removeprefix("./") == name:
            return _checked(_ALGORITHMS.get(len(digest), "unknown"), digest.lower(), digest)
    raise InputError(f"{base.checksums} does not list {name}", "check base.url and base.checksums")


def _checked(algorithm: str, digest: str, given: str) -> tuple[str, str]:
    length = next((length for length, known in _ALGORITHMS.items() if known == algorithm), 0)
    if not re.fullmatch(f"[0-9a-f]{{{length}}}", digest) or not length:
        raise InputError(f"{given} is no checksum", "write sha512: or sha256: and the digest in hexadecimal digits")
    return algorithm, digest


def _download(url: str, image: Path, algorithm: str, wanted: str, progress: Progress) -> None:
    half = store.half_path(image)
    title = f"Fetch {url.rpartition('/')[2]}"
    try:
        with progress.stage("image", title), half.open("wb") as target, _open(url) as source:
            size = _size(source)
            store.require_space(half.parent, size, "an image")
            with store.space_errors(half.parent, "an image", size):
                digest, got = _copy(source, target, size, algorithm, progress)
            if size and got < size:
                raise SkyvypackError(f"{url} ended after {got} of {size} bytes", "try again")
            if digest != wanted:
                raise InputError(
                    f"{url} is not what its checksum says: {algorithm} {digest}, expected {wanted}",
                    "a mirror may be half-way through an update: try again, or check base in the spec",
                )
        half.rename(image)
    finally:
        half.unlink(missing_ok=True)


def _copy(source: IO[bytes], target: IO[bytes], size: int, algorithm: str, progress: Progress) -> tuple[str, int]:
    """Copy a stream; returns its hexadecimal digest and its length in bytes."""
    digest, got = hashlib.new(algorithm), 0
    while chunk := _read(source):
        digest.update(chunk)
        target.write(chunk)
        got += len(chunk)
        if size:
            progress.report(Event("advance", "image", fraction=got / size))
    target.flush()
    os.fsync(target.fileno())
    return digest.hexdigest(), got


def _read(source: IO[bytes]) -> bytes:
    try:
        return source.read(_CHUNK)
    except http.client.IncompleteRead as error:
        return error.partial
    except (TimeoutError, ConnectionError) as error:
        raise SkyvypackError(f"the download stopped: {error}", "try again") from error


def _size(source: IO[bytes]) -> int:
    """Length of a stream in bytes, 0 when it does not say."""
    headers = getattr(source, "headers", None)
    if headers is not None:
        return int(headers.get("Content-Length") or 0)
    return os.fstat(source.fileno()).st_size


def _open(url: str) -> IO[bytes]:
    """A path or a URL, for reading."""
    try:
        if urlsplit(url).scheme in ("http", "https", "file"):
            answer: IO[bytes] = urlopen(url, timeout=_TIMEOUT)
            return answer
        return Path(url).expanduser().open("rb")
    except (OSError, ValueError, http.client.HTTPException) as error:
        reason = error.reason if isinstance(error, URLError) else error
        raise SkyvypackError(f"cannot read {url}: {reason}", "check base in the spec and the network") from error
