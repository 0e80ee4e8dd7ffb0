"""Where packages come from, and whether the archives changed."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from skyvypack import mirrors
from skyvypack.errors import InputError, SkyvypackError
from skyvypack.mirrors import Sources
from skyvypack.spec.model import Mirror, Spec

SPEC = Spec(name="web", version="1.0.0", debian="trixie", roles=())
MAIN, SECURITY = "http://main.example.invalid/debian", "http://main.example.invalid/debian-security"
DEB822 = f"""# the archive
Types: deb deb-src
URIs: {MAIN}
Suites: bookworm bookworm-updates
Components: main contrib
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb
URIs: {SECURITY}
Suites:
 bookworm-security
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
"""
ONE_LINE = f"""deb cdrom:[Debian]/ bookworm main
deb-src {MAIN} bookworm main
# deb http://comment.example.invalid/debian bookworm main
deb [arch=amd64 signed-by=/usr/share/keyrings/vendor.gpg] http://vendor.example.invalid/apt bookworm main
deb http://user:secret@private.example.invalid/debian bookworm main
deb [arch=amd64] {MAIN} bookworm main  # ours
deb {SECURITY} bookworm-security main
"""
EXPECTED = ((MAIN, "trixie"), (MAIN, "trixie-updates"), (SECURITY, "trixie-security"))


def apt(folder: Path, **files: str) -> Path:
    (folder / "sources.list.d").mkdir(parents=True)
    for name, text in files.items():
        (folder / name.replace("_", "/", 1).replace("_", ".")).write_text(text)
    return folder


@pytest.mark.parametrize(
    "files",
    [
        {"sources.list.d_debian_sources": DEB822},
        {"sources.list.d_debian_list": ONE_LINE},
        {"sources.list": ONE_LINE},
    ],
    ids=["deb822", "one-line", "sources.list"],
)
def test_the_hosts_mirror_is_used_for_the_wanted_release(tmp_path: Path, files: dict[str, str]) -> None:
    """A bookworm host bakes trixie from the mirror it uses itself; third parties and passwords are passed by."""
    found = mirrors.sources(SPEC, apt(tmp_path / "apt", **files))
    assert found.archives == EXPECTED
    assert "Suites: trixie trixie-updates\n" in found.text
    assert "vendor" not in found.text
    assert "secret" not in found.text


def test_a_list_of_mirrors_gives_its_first(tmp_path: Path) -> None:
    """Debian's cloud images name a file of mirrors instead of a mirror."""
    for name, url in (("main", MAIN), ("security", SECURITY)):
        (tmp_path / name).write_text(f"# {name}\n{url}\tpriority:1\nhttp://second.example.invalid\n")
    text = DEB822.replace(f"URIs: {MAIN}\n", f"URIs: mirror+file:{tmp_path}/main\n")
    text = text.replace(f"URIs: {SECURITY}\n", f"URIs: mirror+file:{tmp_path}/security\n")
    assert mirrors.sources(SPEC, apt(tmp_path / "apt", **{"sources.list.d_d_sources": text})).archives == EXPECTED


@pytest.mark.parametrize(
    "text",
    ["", DEB822.replace("Types: deb", "Enabled: no\nTypes: deb"), DEB822.partition("\n\n")[0], "nonsense\n: :\n"],
    ids=["empty", "disabled", "without security", "nonsense"],
)
def test_a_host_without_both_archives_leaves_it_to_mmdebstrap(tmp_path: Path, text: str) -> None:
    """Half a configuration would make a template without security updates."""
    assert mirrors.sources(SPEC, apt(tmp_path / "apt", **{"sources.list.d_d_sources": text})) == Sources()
    assert mirrors.sources(SPEC, tmp_path / "none") == Sources()


def test_the_specs_mirror_comes_first(tmp_path: Path) -> None:
    """What the spec says wins over the host; what it leaves out is the host's."""
    host = apt(tmp_path / "apt", **{"sources.list.d_d_sources": DEB822})
    spec = replace(SPEC, mirror=Mirror(main="http://own.example.invalid/d"))
    archives = mirrors.sources(spec, host).archives
    assert [url for url, _ in archives] == ["http://own.example.invalid/d"] * 2 + [SECURITY]


def test_half_a_mirror_that_nothing_completes_is_an_error(tmp_path: Path) -> None:
    """Without a security archive from anywhere, the spec has to name it."""
    spec = replace(SPEC, mirror=Mirror(main="http://own.example.invalid/d"))
    with pytest.raises(InputError, match=r"mirror\.security is not set"):
        mirrors.sources(spec, tmp_path)


def test_a_snapshot_is_fresh_without_asking(tmp_path: Path) -> None:
    """A snapshot cannot change: nobody is asked, and the time is the snapshot's."""
    mirror = Mirror("http://a.example.invalid/{snapshot}", "http://b.example.invalid/{snapshot}", "20250801T120000Z")
    found = mirrors.sources(replace(SPEC, mirror=mirror), tmp_path)
    assert found.archives[0] == ("http://a.example.invalid/20250801T120000Z", "trixie")
    assert mirrors.freshness(found) == mirrors.Freshness("20250801T120000Z", 1754049600)


def test_a_snapshot_of_one_archive_alone_does_not_stand_still(tmp_path: Path) -> None:
    """When security is of today, the layer has to be checked against it."""
    mirror = Mirror("http://a.example.invalid/{snapshot}", "http://b.example.invalid/", "20250801T120000Z")
    assert mirrors.sources(replace(SPEC, mirror=mirror), tmp_path).snapshot == ""


class Quiet(SimpleHTTPRequestHandler):
    """Serves a folder without a word."""

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def archive(tmp_path: Path) -> Iterator[tuple[Path, Sources]]:
    """An archive on loopback: its InRelease file, and sources that name it."""
    root = tmp_path / "archive"
    release = root / "dists" / "trixie" / "InRelease"
    release.parent.mkdir(parents=True)
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(root))) as server:
        thread = threading.Thread(target=server.serve_forever, args=[0.02])
        thread.start()
        url = f"http://127.0.0.1:{server.server_port}/"
        yield release, Sources("text", ((url, "trixie"),))
        server.shutdown()
        thread.join()


def in_release(date: str = "Sat, 02 Aug 2025 10:00:00 UTC", package: str = "a", sources: str = "0") -> str:
    return (
        f"Origin: Debian\nDate: {date}\nSHA256:\n {package * 64}  123 main/binary-amd64/Packages.xz\n"
        f" {sources * 64}  99 main/source/Sources.xz\n"
    )


def test_only_changed_packages_make_an_archive_new(
    archive: tuple[Path, Sources], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Signing again, or a change to what no layer takes, keeps a layer; a changed list of packages does not."""
    monkeypatch.setattr(mirrors, "_APT_HELPER", Path("/nonexistent"))
    release, sources = archive
    release.write_text(in_release())
    first = mirrors.freshness(sources)
    assert first.epoch == 1754128800
    release.write_text(in_release(date="Sun, 03 Aug 2025 10:00:00 UTC", sources="1"))
    assert mirrors.freshness(sources).digest == first.digest
    release.write_text(in_release(package="b"))
    assert mirrors.freshness(sources).digest != first.digest


def test_a_page_that_is_no_release_is_refused(archive: tuple[Path, Sources], monkeypatch: pytest.MonkeyPatch) -> None:
    """A captive portal's page does not count as an archive."""
    monkeypatch.setattr(mirrors, "_APT_HELPER", Path("/nonexistent"))
    release, sources = archive
    release.write_text("<html>sign in</html>")
    with pytest.raises(SkyvypackError, match="has no Debian release trixie"):
        mirrors.freshness(sources)


@pytest.mark.parametrize("helper", ["/nonexistent", pytest.param("/usr/lib/apt/apt-helper", marks=pytest.mark.tool)])
def test_a_missing_file_and_a_dead_mirror_name_the_host(
    archive: tuple[Path, Sources], monkeypatch: pytest.MonkeyPatch, helper: str
) -> None:
    """Whichever downloader is used, the message says which mirror and why, and the hint what to do."""
    monkeypatch.setattr(mirrors, "_APT_HELPER", Path(helper))
    _, sources = archive
    with pytest.raises(SkyvypackError, match=r"cannot read the Debian mirror 127\.0\.0\.1:\d+: .*404") as missing:
        mirrors.freshness(sources)
    assert "--offline" in missing.value.hint
    dead = Sources("text", (("http://me:secret@127.0.0.1:9/debian", "trixie"),))
    with pytest.raises(SkyvypackError, match=r"mirror 127\.0\.0\.1:9: .?\w") as unreachable:
        mirrors.freshness(dead)
    assert "secret" not in str(unreachable.value)


@pytest.mark.tool
def test_apts_own_downloader_gives_the_same_answer(
    archive: tuple[Path, Sources], monkeypatch: pytest.MonkeyPatch
) -> None:
    """apt-helper and urllib agree on what an archive holds."""
    release, sources = archive
    release.write_text(in_release())
    by_apt = mirrors.freshness(sources)
    monkeypatch.setattr(mirrors, "_APT_HELPER", Path("/nonexistent"))
    assert mirrors.freshness(sources) == by_apt


def test_an_unknown_archive_counts_as_new_every_day() -> None:
    """mmdebstrap's default mirror cannot be asked beforehand, so its layers last until midnight UTC."""
    found = mirrors.freshness(Sources())
    assert len(found.digest) == len("2025-08-02")
    assert found.epoch % 86400 == 0
