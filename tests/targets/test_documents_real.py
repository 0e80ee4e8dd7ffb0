"""Every golden document against the real Packer, and the preseed against debconf."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
import regenerate_goldens
from target_cases import CASES

from skyvypack import command
from skyvypack.bundle import Bundle
from skyvypack.render import render
from skyvypack.spec import load
from skyvypack.write import write

# No secret: nobody is asked.
ENVIRONMENT = {
    "CHECKPOINT_DISABLE": "1",
    "PROXMOX_URL": "https://pve.example:8006/api2/json",
    "PROXMOX_USERNAME": "packer@pve",
    "PROXMOX_PASSWORD": "x",
    "VSPHERE_SERVER": "vcenter.example",
    "VSPHERE_USER": "packer",
    "VSPHERE_PASSWORD": "x",
    "AWS_REGION": "eu-west-1",
    "AWS_ACCESS_KEY_ID": "x",
    "AWS_SECRET_ACCESS_KEY": "x",
}
SPECS = sorted((Path(__file__).parents[2] / "examples").glob("*.yaml"))
EXAMPLES = [path for path in SPECS if "# Render it: " in path.read_text()]
OLD = [name for name, case in CASES.items() if case.old]


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A build's key: Packer looks whether it is one."""
    path = tmp_path_factory.mktemp("key") / "id_ed25519"
    command.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", path])
    return path


def written(bundle: Bundle, folder: Path, key: Path) -> Path:
    """A bundle as it is after prepare.sh."""
    write(bundle, folder)
    (folder / "build").mkdir()
    shutil.copy(key, folder / "build")
    for name in ("disk.raw.gz", "installer.iso"):
        (folder / "build" / name).touch()
    (folder / "build" / "installer.iso.sha256").write_text(f"{'0' * 64}  installer.iso\n")
    (folder / "build" / "vendor-data").write_text(bundle.files["vendor-data.in"])
    return folder


def target_of(example: Path) -> str:
    """The target that an example's first lines render it for."""
    (target,) = re.findall(r"^# Render it: .*--spec examples/\S+ --target (\w+)$", example.read_text(), re.MULTILINE)
    return str(target)


@pytest.mark.tool
@pytest.mark.parametrize("name", OLD)
def test_packer_accepts_it(tmp_path: Path, key: Path, name: str) -> None:
    """Packer 1.6.6 validates the document of each builder, without a plugin, a network or a warning."""
    case = CASES[name]
    folder = written(render(case.spec, case.target, "1.6.6"), tmp_path / "bundle", key)
    done = command.run(["packer", "validate", folder], env=ENVIRONMENT)
    assert done.stdout + done.stderr == ""


@pytest.mark.tool
@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_packer_accepts_the_example(tmp_path: Path, key: Path, example: Path) -> None:
    """Packer 1.6.6 validates the bundle that the example's first lines say how to render.

    A list of checksums would be downloaded: a checksum takes its place.
    """
    folder = written(render(load(example), target_of(example), "1.6.6"), tmp_path / "bundle", key)
    document = (folder / "skyvyos.pkr.hcl").read_text()
    given = ["-var", "iso_checksum=sha256:" + "0" * 64] if 'variable "iso_checksum"' in document else []
    command.run(["packer", "validate", *given, folder], env=ENVIRONMENT)


@pytest.mark.tool
@pytest.mark.parametrize("missing", ["PROXMOX_URL", "PROXMOX_USERNAME", "PROXMOX_PASSWORD"])
def test_what_is_missing_is_said(tmp_path: Path, key: Path, missing: str) -> None:
    """Without a value from the environment, validation says which one."""
    folder = written(render(CASES["proxmox-iso"].spec, "proxmox", "1.6.6"), tmp_path / "bundle", key)
    done = command.run(["packer", "validate", folder], env=ENVIRONMENT | {missing: ""}, check=False)
    assert done.returncode == 1
    assert (missing if missing != "PROXMOX_PASSWORD" else "password must be specified") in done.stdout


@pytest.mark.tool
def test_secrets_stay_out_of_packers_words(tmp_path: Path, key: Path) -> None:
    """A password that comes by the environment is in nothing that Packer prints while it validates."""
    folder = written(render(CASES["proxmox-iso"].spec, "proxmox", "1.6.6"), tmp_path / "bundle", key)
    secret = ENVIRONMENT | {"PROXMOX_PASSWORD": "canary-5Gq8", "PACKER_LOG": "1", "PROXMOX_URL": "not a url\x7f"}
    done = command.run(["packer", "validate", folder], env=secret, check=False)
    assert "canary-5Gq8" not in done.stdout + done.stderr


@pytest.mark.tool
@pytest.mark.parametrize("name", ["proxmox-iso", "vsphere-iso"])
def test_debconf_reads_the_preseed(tmp_path: Path, name: str) -> None:
    """The answers to the installer are in debconf's own syntax."""
    bundle = regenerate_goldens.bundles()[f"{name}-1.6.6"]
    (tmp_path / "preseed.cfg").write_text(bundle.files["installer/initrd/preseed.cfg"])
    done = command.run(["debconf-set-selections", "--checkonly", tmp_path / "preseed.cfg"])
    assert done.stdout + done.stderr == ""
