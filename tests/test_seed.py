"""Seeds and keys, as made by the host's own programs."""

import re
import stat
import subprocess

import pytest

from skyvypack import seed
from skyvypack.errors import InputError, ToolMissing

pytestmark = pytest.mark.tool


def _unpacked(image, folder):
    argv = ["xorriso", "-osirrox", "on", "-indev", image, "-extract", "/", folder]
    subprocess.run(argv, capture_output=True, check=True)
    return {path.name: path.read_text() for path in folder.iterdir()}


def test_seed_holds_the_texts_under_the_label_that_cloud_init_looks_for(tmp_path):
    """The ISO is labelled cidata and gives back user-data and meta-data byte for byte."""
    image = seed.make(tmp_path, "#cloud-config\nhostname: grün\n", "instance-id: one\n")
    with image.open("rb") as file:
        file.seek(16 * 2048 + 40)
        assert file.read(32).rstrip() == b"cidata"
    texts = {"user-data": "#cloud-config\nhostname: grün\n", "meta-data": "instance-id: one\n"}
    assert _unpacked(image, tmp_path / "out") == texts


def test_network_config_is_added_when_given(tmp_path):
    """A seed holds network-config only when there is one."""
    image = seed.make(tmp_path, "#cloud-config\n", "instance-id: one\n", "version: 2\n")
    assert _unpacked(image, tmp_path / "out")["network-config"] == "version: 2\n"


def test_keypair_is_private_ed25519_without_a_passphrase(tmp_path):
    """Only the owner reads the key; the public text is one line that belongs to it."""
    private, public = seed.keypair(tmp_path / "keys")
    assert stat.S_IMODE(private.stat().st_mode) == 0o600
    assert re.fullmatch(r"ssh-ed25519 [A-Za-z0-9+/=]+ skyvypack", public)
    derived = subprocess.run(["ssh-keygen", "-y", "-P", "", "-f", private], capture_output=True, text=True, check=True)
    assert derived.stdout.split()[:2] == public.split()[:2]


def test_nothing_is_overwritten(tmp_path):
    """A second key or seed in the same folder is refused and leaves the first as it was."""
    private, _ = seed.keypair(tmp_path)
    image = seed.make(tmp_path, "#cloud-config\n", "instance-id: one\n")
    before = private.read_bytes(), image.read_bytes()
    with pytest.raises(InputError):
        seed.keypair(tmp_path)
    with pytest.raises(InputError):
        seed.make(tmp_path, "#cloud-config\n", "instance-id: two\n")
    assert (private.read_bytes(), image.read_bytes()) == before


def test_missing_programs_are_named(tmp_path, monkeypatch):
    """Without xorriso or ssh-keygen the error names the program and how to get it."""
    monkeypatch.setattr("skyvypack.command.which", lambda _: None)
    with pytest.raises(ToolMissing, match="xorriso") as seedless:
        seed.make(tmp_path, "#cloud-config\n", "instance-id: one\n")
    assert "doctor" in seedless.value.hint
    with pytest.raises(ToolMissing, match="ssh-keygen"):
        seed.keypair(tmp_path)
