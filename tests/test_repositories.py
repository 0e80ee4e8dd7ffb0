"""Tests of vendors' repositories: whose packages come from where, and by which key."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from skyvypack import assets, cloudinit, recipe
from skyvypack import spec as specs
from skyvypack.errors import SpecError
from skyvypack.repositories import fingerprint
from skyvypack.spec.model import Spec

# As the vendors publish them: docs.docker.com, "Install using the apt repository"; deb.nodesource.com.
PUBLISHED = {
    "docker": ("docker.asc", "9DC858229FC7DD38854AE2D88D81803C0EBFCD88"),
    "node": ("nodesource.asc", "6F71F525282841EEDAF851B42F59B5F99B1BE0B4"),
}


def load(release: str = "trixie", **more: object) -> Spec:
    text = {"name": "a", "version": "1", "debian": release, "roles": ["docker", "node"], **more}
    return specs.loads(json.dumps(text))


def files(spec: Spec) -> dict[str, str]:
    return {file.path: file.text for role in spec.roles for file in role.files}


UPSTREAM = {"docker": "upstream", "node": "upstream"}


@pytest.mark.parametrize("role", PUBLISHED)
def test_the_keys_that_ship_are_the_vendors(role: str) -> None:
    """The fingerprint of the key in the role's files is the one the vendor publishes."""
    name, published = PUBLISHED[role]
    assert fingerprint((assets.roles() / role / "files/usr/share/keyrings" / name).read_text()) == published


@pytest.mark.parametrize("text", ["", "no key", "-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nAAAA\n=AAAA\n-----END PGP"])
def test_what_is_no_key_has_no_fingerprint(text: str) -> None:
    """Neither another text nor a key that is cut off."""
    with pytest.raises(ValueError, match="key"):
        fingerprint(text)


@pytest.mark.parametrize("release", ["trixie", "bookworm"])
def test_upstream_brings_the_vendors_packages_and_repositories(release: str) -> None:
    """Each repository is bound to a keyring of its own, and gives nothing but its own packages."""
    spec = load(release, origins=UPSTREAM)
    packages = recipe.packages(spec)
    assert {"docker-ce", "docker-compose-plugin", "containerd.io", "nodejs"} <= set(packages)
    assert {"docker.io", "docker-compose", "npm"}.isdisjoint(packages)
    written = files(spec)
    assert f"Suites: {release}\n" in written["/etc/apt/sources.list.d/docker.sources"]
    assert "Signed-By: /usr/share/keyrings/docker.asc\n" in written["/etc/apt/sources.list.d/docker.sources"]
    assert "Signed-By: /usr/share/keyrings/nodesource.asc\n" in written["/etc/apt/sources.list.d/nodesource.sources"]
    for name, host in (("docker", "download.docker.com"), ("nodesource", "deb.nodesource.com")):
        every, own = written[f"/etc/apt/preferences.d/{name}"].strip().split("\n\n")
        assert every.splitlines() == ["Package: *", f'Pin: origin "{host}"', "Pin-Priority: -1"]
        assert own.splitlines()[1:] == [f'Pin: origin "{host}"', "Pin-Priority: 990"]


def test_debian_brings_no_repository_and_no_key() -> None:
    """With the origin debian nothing of a vendor's is in the image."""
    spec = load()
    assert recipe.repositories(spec) == ()
    folders = ("/etc/apt/sources.list.d", "/etc/apt/preferences.d", "/usr/share/keyrings")
    assert not [path for path in files(spec) if path.startswith(folders)]
    assert not [path for path in recipe.layer_files(spec) if "repositories" in path]


def test_a_layer_is_made_with_the_keys_inside_the_sources() -> None:
    """The host's apt has no keyring of the image's: the key stands in the sources it reads."""
    made = recipe.layer_files(load(origins=UPSTREAM))
    sources = made["layer/repositories/docker.sources"]
    assert "Signed-By:\n -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n mQINBFit2ioB" in sources
    assert "\n\n" not in sources
    assert "Pin-Priority: 990" in made["layer/repositories/docker.pins"]


def test_apts_files_are_there_before_packages_are_installed() -> None:
    """On a base that cloud-init installs packages in, sources and keys must not be deferred until after that."""
    text = cloudinit.bake_user_data(load(origins=UPSTREAM, base={"kind": "clone", "source": "debian"}), "qemu")
    assert text.count("defer: false") == 6


def test_another_node_comes_from_its_own_repository() -> None:
    """22 and 24 can be chosen with the origin upstream, and are refused with Debian's."""
    spec = load(roles=[{"node": {"version": 24}}], origins={"node": "upstream"})
    assert "/node_24.x\n" in files(spec)["/etc/apt/sources.list.d/nodesource.sources"]
    with pytest.raises(SpecError, match=r"Debian has no Node.js 24 .*node: upstream"):
        load(roles=[{"node": {"version": 24}}])


def test_what_bookworm_lacks_is_refused_with_the_reason() -> None:
    """Both rows are told at the place where the spec chose the role, each with both ways out."""
    with pytest.raises(SpecError) as caught:
        load("bookworm")
    told = {problem.path: problem for problem in caught.value.problems}
    assert set(told) == {"roles[0].docker", "roles[1].node"}
    assert "version 1" in told["roles[0].docker"].message
    assert "compose-v1" in told["roles[0].docker"].suggestion
    assert "18" in told["roles[1].node"].message
    assert "origins: {node: upstream}" in told["roles[1].node"].suggestion


def test_a_lesser_version_is_taken_when_it_is_named() -> None:
    """With `accept`, bookworm's own packages are installed."""
    spec = load("bookworm", roles=[{"docker": {"accept": "compose-v1"}}, {"node": {"accept": "nodejs-18"}}])
    assert {"docker.io", "docker-compose", "nodejs", "npm"} <= set(recipe.packages(spec))


ROLE = """\
summary: A vendor's package
repositories:
  vendor:
    uri: {uri}
    suites: stable
    components: main
    key: {key}
    fingerprint: "{fingerprint}"
    packages: [thing]
"""
GOOD = {"uri": "https://repo.example.org/apt", "key": "/usr/share/keyrings/vendor.asc"}


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ({"fingerprint": "0" * 40}, "has the fingerprint 9DC8"),
        ({"key": "/usr/share/keyrings/other.asc"}, "is not one of the role's files"),
        ({"uri": "https://user:secret@repo.example.org/apt"}, "is not the URL of a repository"),
        ({"uri": "repo.example.org"}, "is not the URL of a repository"),
        ({"fingerprint": "9DC8"}, "40 capital hexadecimal digits"),
    ],
)
def test_a_wrong_repository_is_told(tmp_path: Path, facts: dict[str, str], message: str) -> None:
    """Another key than the pinned one, a missing key, a password in the URL: none gets as far as a bake."""
    folder = tmp_path / "roles" / "vendor"
    keyring = folder / "files/usr/share/keyrings/vendor.asc"
    keyring.parent.mkdir(parents=True)
    keyring.write_text((assets.roles() / "docker/files/usr/share/keyrings/docker.asc").read_text())
    (folder / "role.yaml").write_text(ROLE.format(**GOOD | {"fingerprint": PUBLISHED["docker"][1]} | facts))
    with pytest.raises(SpecError, match=message):
        specs.loads('{"name": "a", "version": "1", "roles": ["vendor"], "roles_path": ["roles"]}', tmp_path)
