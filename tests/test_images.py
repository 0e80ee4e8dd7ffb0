"""Cloud images: fetched, verified, kept."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import loopback
import pytest

from skyvypack import cache as store
from skyvypack import images
from skyvypack.errors import InputError, SkyvypackError
from skyvypack.progress import Event, Progress
from skyvypack.spec.model import Base

CONTENT = b"QFI\xfb" + b"image" * 500_000
SHA512 = hashlib.sha512(CONTENT).hexdigest()
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def site(tmp_path: Path) -> Iterator[tuple[str, Path, list[str]]]:
    """A server on loopback: its URL, its folder and the paths it was asked for."""
    folder = tmp_path / "site"
    folder.mkdir()
    (folder / "debian.qcow2").write_bytes(CONTENT)
    (folder / "SHA512SUMS").write_text(f"{'0' * 128}  other.qcow2\n{SHA512}  debian.qcow2\n")
    with loopback.serving(folder, CONTENT[: len(CONTENT) // 2]) as (url, requests):
        yield url, folder, requests


def get(base: Base, cache: Path, *, offline: bool = False, progress: Progress | None = None) -> Path:
    return images.fetch(base, cache=cache, progress=progress or Progress(), offline=offline)


def kept(cache: Path) -> list[Path]:
    return list((cache / "images").iterdir())


def test_an_image_is_fetched_once_and_verified_by_the_publishers_list(
    site: tuple[str, Path, list[str]], tmp_path: Path
) -> None:
    """The list is asked each time, the image only when it is another one; progress ends at the whole."""
    url, _, requests = site
    base = Base("cloud-image", f"{url}/debian.qcow2", f"{url}/SHA512SUMS")
    events: list[Event] = []
    image = get(base, tmp_path, progress=Progress(events.append))
    assert image.read_bytes() == CONTENT
    assert image.suffix == ".qcow2"
    assert [event.fraction for event in events if event.kind == "advance"][-1] == 1
    assert get(base, tmp_path) == image
    assert requests == ["/SHA512SUMS", "/debian.qcow2", "/SHA512SUMS"]


def test_a_new_image_of_the_same_name_is_fetched(site: tuple[str, Path, list[str]], tmp_path: Path) -> None:
    """``latest`` moves on: another checksum is another image."""
    url, folder, _ = site
    base = Base("cloud-image", f"{url}/debian.qcow2", f"{url}/SHA512SUMS")
    first = get(base, tmp_path)
    (folder / "debian.qcow2").write_bytes(b"new")
    (folder / "SHA512SUMS").write_text(f"{hashlib.sha512(b'new').hexdigest()} *./debian.qcow2\n")
    second = get(base, tmp_path)
    assert (first.read_bytes(), second.read_bytes()) == (CONTENT, b"new")
    assert get(base, tmp_path, offline=True) == second


@pytest.mark.parametrize("checksum", [f"sha512:{SHA512}", f"sha256:{SHA256.upper()}"], ids=["sha512", "sha256"])
@pytest.mark.parametrize("scheme", ["", "file://"], ids=["path", "file"])
def test_a_local_image_is_verified_too(
    site: tuple[str, Path, list[str]], tmp_path: Path, checksum: str, scheme: str
) -> None:
    """A path and a file URL are copied and checked by a digest in the spec; no server is asked."""
    _, folder, requests = site
    image = get(Base("cloud-image", f"{scheme}{folder}/debian.qcow2", checksum=checksum), tmp_path)
    assert image.read_bytes() == CONTENT
    assert requests == []


def test_a_wrong_image_is_refused_and_not_kept(site: tuple[str, Path, list[str]], tmp_path: Path) -> None:
    """What does not match its checksum leaves nothing behind that a later run could take."""
    url, folder, _ = site
    (folder / "debian.qcow2").write_bytes(CONTENT + b"!")
    base = Base("cloud-image", f"{url}/debian.qcow2", f"{url}/SHA512SUMS")
    with pytest.raises(InputError, match="is not what its checksum says"):
        get(base, tmp_path)
    assert kept(tmp_path) == []
    with pytest.raises(SkyvypackError, match="is not in the cache"):
        get(base, tmp_path, offline=True)


def test_a_download_that_breaks_off_is_told_and_not_kept(site: tuple[str, Path, list[str]], tmp_path: Path) -> None:
    """Half an image is not called a wrong one: the message says how much came."""
    url, _, _ = site
    with pytest.raises(SkyvypackError, match=rf"ended after \d+ of {len(CONTENT)} bytes"):
        get(Base("cloud-image", f"{url}/broken.qcow2", checksum=f"sha512:{SHA512}"), tmp_path)
    assert kept(tmp_path) == []


def test_an_image_missing_in_the_list_is_refused(site: tuple[str, Path, list[str]], tmp_path: Path) -> None:
    """Without an entry nothing is downloaded."""
    url, folder, requests = site
    (folder / "SHA512SUMS").write_text(f"{SHA512}  debian.qcow2.old\n")
    with pytest.raises(InputError, match=r"does not list debian\.qcow2"):
        get(Base("cloud-image", f"{url}/debian.qcow2", f"{url}/SHA512SUMS"), tmp_path)
    assert requests == ["/SHA512SUMS"]


@pytest.mark.parametrize("checksum", ["sha512:abc", "md5:" + "0" * 32, "0" * 128, "sha256:" + "g" * 64])
def test_a_malformed_checksum_is_refused(tmp_path: Path, checksum: str) -> None:
    """Only complete SHA-256 and SHA-512 digests are accepted, with their name."""
    with pytest.raises(InputError, match="is no checksum"):
        get(Base("cloud-image", "/x.qcow2", checksum=checksum), tmp_path)


@pytest.mark.parametrize("path", ["/none.qcow2", "/SHA1SUMS"])
def test_what_cannot_be_read_is_named(site: tuple[str, Path, list[str]], tmp_path: Path, path: str) -> None:
    """A missing image, a missing list, a missing file and a dead server each name what could not be read."""
    url, folder, _ = site
    for place in (url, str(folder), "http://127.0.0.1:9"):
        base = Base("cloud-image", f"{place}/none.qcow2", checksum=f"sha512:{SHA512}")
        if path != "/none.qcow2":
            base = Base("cloud-image", f"{place}/debian.qcow2", f"{place}{path}")
        with pytest.raises(SkyvypackError, match=f"cannot read {place}{path}"):
            get(base, tmp_path)


def test_an_image_in_use_is_not_pruned(site: tuple[str, Path, list[str]], tmp_path: Path) -> None:
    """An image that this process fetched stays, whatever the limit."""
    url, _, _ = site
    image = get(Base("cloud-image", f"{url}/debian.qcow2", checksum=f"sha512:{SHA512}"), tmp_path)
    assert store.prune(tmp_path, 0) == []
    assert image.exists()
