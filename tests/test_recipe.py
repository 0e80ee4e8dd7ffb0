"""What a layer is made from."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from skyvypack import assets, recipe
from skyvypack.roles import Role
from skyvypack.spec.model import Machine, Mirror, Spec

SPEC = Spec(name="web", version="1.0.0", debian="trixie", roles=())
MIRROR = Mirror("http://main.example.invalid/{snapshot}/", "http://sec.example.invalid/{snapshot}/", "20250801T120000Z")


def role(name: str, *packages: str) -> Role:
    return Role(name, "", Path(), packages=dict.fromkeys(packages, "needed"))


def test_packages_are_those_of_roles_and_spec_and_what_packer_needs() -> None:
    """Every package a role or the spec names is in the layer, once, and so is what Packer's boot needs."""
    spec = replace(SPEC, roles=(role("a", "nginx", "sudo"), role("b", "nginx")), packages=("htop",))
    named = recipe.packages(spec)
    assert {"nginx", "htop", "sudo", "openssh-server", "cloud-init", "systemd-resolved"} <= set(named)
    assert list(named) == sorted(set(named))


@pytest.mark.parametrize(
    ("debian", "kernel"), [("trixie", "linux-image-cloud-amd64"), ("bookworm", "linux-image-amd64")]
)
def test_each_release_gets_the_kernel_that_drives_all_disks(debian: str, kernel: str) -> None:
    """bookworm's kernel for clouds has no AHCI, so it gets the general one."""
    named = recipe.packages(replace(SPEC, debian=debian))  # type: ignore[arg-type]
    assert [name for name in named if name.startswith("linux-image")] == [kernel]


def test_a_kernel_of_the_users_choice_is_the_only_one() -> None:
    """A second kernel would boot instead of the chosen one, or only take space."""
    named = recipe.packages(replace(SPEC, packages=("linux-image-amd64",)))
    assert [name for name in named if name.startswith("linux-image")] == ["linux-image-amd64"]


def test_settings_say_release_and_disk_size() -> None:
    """The script's settings are the spec's release and its disk in GiB; without a snapshot there is no fixed time."""
    files = recipe.layer_files(replace(SPEC, machine=Machine(disk=20)))
    assert files["layer/settings.env"] == "SUITE=trixie\nDISK_GIB=20\n"
    assert files["layer.sh"] == (assets.builders() / "shared" / "layer.sh").read_text()


def test_without_a_mirror_no_archive_is_named() -> None:
    """Default mirrors are inherited: nothing we write names one."""
    files = recipe.layer_files(SPEC)
    assert set(files) == {"layer.sh", "layer/packages.txt", "layer/settings.env"}
    assert "http" not in "".join(files.values())


def test_a_snapshot_fixes_sources_and_time() -> None:
    """With a snapshot both archives are of that moment, may be expired, and the disk is dated by it."""
    files = recipe.layer_files(replace(SPEC, mirror=MIRROR))
    sources = files["layer/apt.sources"]
    assert "URIs: http://main.example.invalid/20250801T120000Z/\nSuites: trixie trixie-updates\n" in sources
    assert "URIs: http://sec.example.invalid/20250801T120000Z/\nSuites: trixie-security\n" in sources
    assert sources.count("Check-Valid-Until: no\n") == sources.count(f"Signed-By: {recipe.KEYRING}\n") == 2
    assert "EPOCH=1754049600\n" in files["layer/settings.env"]


def test_layer_files_depend_on_the_spec_alone() -> None:
    """The same spec gives the same text, so the same key."""
    assert recipe.layer_files(replace(SPEC, mirror=MIRROR)) == recipe.layer_files(replace(SPEC, mirror=MIRROR))


def test_the_script_is_posix_sh() -> None:
    """sh accepts layer.sh, and it refuses to run without exactly one folder."""
    script = assets.builders() / "shared" / "layer.sh"
    assert subprocess.run(["sh", "-n", script], check=False).returncode == 0
    for arguments in ([], ["one", "two"], ["--nonsense"]):
        done = subprocess.run(["sh", script, *arguments], capture_output=True, text=True, check=False)
        assert done.returncode == 2
        assert "usage: sh layer.sh OUTPUT_FOLDER" in done.stderr


def test_the_script_does_not_touch_what_exists(tmp_path: Path) -> None:
    """An output folder that is there already is left as it is."""
    script = assets.builders() / "shared" / "layer.sh"
    (tmp_path / "mine").write_text("kept")
    done = subprocess.run(["sh", script, tmp_path], capture_output=True, text=True, check=False)
    assert (done.returncode, [path.name for path in tmp_path.iterdir()]) == (2, ["mine"])
