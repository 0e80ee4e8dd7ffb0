"""`iso.make` and the verb: what is refused before anything is made, and what the installer of a machine holds."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner
from fixture_types import FakeTool

from skyvypack import iso, pool
from skyvypack.cli.app import cli
from skyvypack.errors import InputError, SkyvypackError
from skyvypack.spec import loads

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ0qG0eVvF8oJtT5qYq0pP3mX3kM0y2r9Xv5k3d2b1aZ someone@example.org"
TEXT = f"""
name: web
version: 1.0.0
debian: trixie
roles: [base]
mirror: {{main: "http://mirror.example/debian", security: "http://mirror.example/security"}}
users: [{{name: admin, ssh_authorized_keys: ["{KEY}"]}}]
"""
SPEC = loads(TEXT)
CHECKSUM = "sha256:" + "0" * 64
INSTALLED = """
Inst libc6 (2.41-12 Debian-Security:13/stable-security, Debian:13.8/stable [amd64]) [libc-bin:amd64 ]
Inst dmsetup (2:1.02.205-2 Debian:13.8/stable [amd64]) []
Inst tzdata (2026a-0 Debian:13.8/stable [all])
"""


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "debian.iso"
    path.write_bytes(b"an iso")
    return path


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({}, "has no checksum: what is not verified is not used"),
        ({"checksum": "md5:0"}, "md5:0 is no checksum"),
        ({"output": "debian.iso"}, "debian.iso exists"),
        ({"source": "none.iso"}, "there is no file"),
        ({"source": "net.deb", "offline": True, "checksum": CHECKSUM}, "it cannot work offline"),
    ],
)
def test_refused(tmp_path: Path, source: Path, options: dict[str, object], reason: str) -> None:
    """Nothing is started and nothing written for what cannot work."""
    (tmp_path / "net.deb").write_bytes(b"a package")
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    wish = {"source": source.name, "output": "out.iso"} | options
    places = {name: tmp_path / str(wish.pop(name)) for name in ("source", "output")}
    with pytest.raises(InputError, match=reason):
        iso.make(SPEC, places["source"], places["output"], **wish)  # type: ignore[arg-type]
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize(
    ("extra", "disks"),
    [("", "it asks before it wipes"), ("\ninstaller: {disks: [/dev/sda]}", "wipes /dev/sda WITHOUT")],
)
def test_verb(
    tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch, fake_tool: FakeTool, extra: str, disks: str
) -> None:
    """It says what became of it, and plainly whether a disk is wiped without a question."""
    fake_tool("sh", f'for last; do :; done; cp installer/source.env {tmp_path}/told; printf iso > "$last"')
    (tmp_path / "s.yaml").write_text(TEXT + extra)
    monkeypatch.chdir(tmp_path)
    options = ["--spec", "s.yaml", "--from", "debian.iso", "-o", "out.iso", "--checksum", CHECKSUM]
    done = CliRunner().invoke(cli, ["iso", *options])
    assert disks in done.stdout.replace("It asks", "it asks")
    assert f"CHECKSUM={CHECKSUM}\n" in (tmp_path / "told").read_text()
    (tmp_path / "out.iso").unlink()
    told = json.loads(CliRunner().invoke(cli, ["iso", *options, "--json"]).stdout)
    assert (told["file"], told["size"], told["asks_for_disk"]) == ("out.iso", 3, not extra)


def test_a_list_of_checksums_beside_the_source(tmp_path: Path, source: Path, fake_tool: FakeTool) -> None:
    """Debian publishes SHA512SUMS in the folder of its ISOs: kept together, no checksum need be given."""
    fake_tool("sh", f'for last; do :; done; cp installer/source.env {tmp_path}/told; printf iso > "$last"')
    (tmp_path / "SHA512SUMS").write_text("")
    iso.make(SPEC, source, tmp_path / "out.iso")
    assert f"CHECKSUMS={tmp_path}/SHA512SUMS\n" in (tmp_path / "told").read_text()


def fake_apt(fake_tool: FakeTool, folder: Path, complaint: str = "") -> None:
    """An apt-get that fetches nothing and would install three packages."""
    (folder / "simulated").write_text(INSTALLED)
    fail = f"echo '{complaint}' >&2; exit 100" if complaint else ":"
    fake_tool("apt-get", f'case "$*" in *--simulate*) cat {folder}/simulated ;; *install*) {fail} ;; esac')
    fake_tool("dpkg-deb", 'echo "Package: $(basename "$2")"')


def test_pool_holds_what_apt_would_install(tmp_path: Path, fake_tool: FakeTool) -> None:
    """Each package is there with its digest, epoch and architecture in its name as apt writes them."""
    fake_apt(fake_tool, tmp_path)
    debs = tmp_path / "debs"
    debs.mkdir()
    names = ("libc6_2.41-12_amd64.deb", "dmsetup_2%3a1.02.205-2_amd64.deb", "tzdata_2026a-0_all.deb")
    for name in names:
        (debs / name).write_text(name)
    made = pool.make(SPEC, ["dmsetup"], tmp_path / "run", debs=debs)
    assert {path.name for path in made.iterdir()} == {*names, "Packages"}
    index = (made / "Packages").read_text().split("\n\n")
    assert [entry.splitlines()[1] for entry in index] == [f"Filename: ./{name}" for name in names]
    assert all("SHA256: " in entry and "Size: " in entry for entry in index)


@pytest.mark.parametrize(
    ("complaint", "kind", "reason"),
    [
        ("E: Unable to locate package nginxx", InputError, "Unable to locate package nginxx"),
        ("E: Failed to fetch http://mirror.example/x  404  Not Found", SkyvypackError, "404  Not Found"),
    ],
)
def test_pool_that_cannot_be(
    tmp_path: Path, fake_tool: FakeTool, complaint: str, kind: type[SkyvypackError], reason: str
) -> None:
    """An unknown package is the spec's mistake, an archive that fails is not; apt's own words are kept."""
    fake_apt(fake_tool, tmp_path, complaint)
    with pytest.raises(SkyvypackError, match=reason) as caught:
        pool.make(SPEC, ["nginxx"], tmp_path / "run", debs=tmp_path / "debs")
    assert type(caught.value) is kind


def test_no_space_for_a_pool(tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An offline ISO is not begun on a disk too small for its packages: nothing is fetched, no folder is left."""
    cache = tmp_path / "cache"
    free = shutil.disk_usage(tmp_path)._replace(free=1 << 20)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: free)
    with pytest.raises(SkyvypackError, match=r"not enough space in .* for the packages of an installer: 0\.0 GiB free"):
        iso.make(SPEC, source, tmp_path / "out.iso", checksum=CHECKSUM, offline=True, cache=cache)
    assert not (tmp_path / "out.iso").exists()
    assert not [path for path in (cache / "runs").iterdir() if path.is_dir()]


def test_a_package_that_did_not_arrive(tmp_path: Path, fake_tool: FakeTool) -> None:
    """A pool is whole or is not made."""
    fake_apt(fake_tool, tmp_path)
    with pytest.raises(SkyvypackError, match="apt did not fetch libc6"):
        pool.make(SPEC, ["dmsetup"], tmp_path / "run", debs=tmp_path / "debs")
