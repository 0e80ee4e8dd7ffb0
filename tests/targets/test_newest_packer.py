"""Every document of the newest dialect against the newest Packer and its plugins, built by `nox -s packer_latest`."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import regenerate_goldens
from target_cases import CASES
from test_documents_real import ENVIRONMENT, EXAMPLES, key, target_of, written
from test_random_specs import check_packer

from skyvypack import command
from skyvypack.dialect import LATEST
from skyvypack.render import render
from skyvypack.spec import load

__all__ = ["key"]

pytestmark = [pytest.mark.newest, pytest.mark.tool]


@pytest.fixture(scope="module")
def packer() -> Path:
    """The newest Packer."""
    folder = os.environ.get("SKYVYPACK_TEST_PACKER", "")
    if not folder:
        pytest.skip("nox -s packer_latest builds the newest Packer, and runs this")
    return Path(folder) / "packer"


def environment(packer: Path, folder: Path) -> dict[str, str]:
    return ENVIRONMENT | {"PACKER_PLUGIN_PATH": str(packer.parent / "plugins"), "PACKER_CONFIG_DIR": str(folder)}


def test_it_is_the_one_we_write_for(packer: Path, tmp_path: Path) -> None:
    """What was built is the version that `latest` stands for."""
    assert (
        command.run([packer, "version"], env=environment(packer, tmp_path)).stdout.strip() == f"Packer v{LATEST.name}"
    )


@pytest.mark.parametrize("name", CASES)
def test_it_accepts_each_builder(packer: Path, tmp_path: Path, key: Path, name: str) -> None:
    """It validates the document of each builder and warns of nothing."""
    case = CASES[name]
    folder = written(render(case.spec, case.target, "latest"), tmp_path / "bundle", key)
    done = command.run([packer, "validate", folder], env=environment(packer, tmp_path), check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, "The configuration is valid.\n")


@pytest.mark.parametrize("name", regenerate_goldens.specs())
def test_it_accepts_what_is_baked_here(packer: Path, tmp_path: Path, key: Path, name: str) -> None:
    """The documents of the builder qemu, too; an argument that only 1.6.6 calls by its name may be warned of."""
    folder = written(render(regenerate_goldens.specs()[name], "qemu", "latest"), tmp_path / "bundle", key)
    declared = 'variable "disk_checksum"' in (folder / "skyvyos.pkr.hcl").read_text()
    given = ["-var", "disk_checksum=sha256:" + "0" * 64] if declared else []
    done = command.run([packer, "validate", *given, folder], env=environment(packer, tmp_path), check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Error" not in done.stdout + done.stderr


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_it_accepts_each_example(packer: Path, tmp_path: Path, key: Path, example: Path) -> None:
    """What a user copies is valid; a list of checksums, which would be downloaded, is replaced."""
    folder = written(render(load(example), target_of(example), "latest"), tmp_path / "bundle", key)
    document = (folder / "skyvyos.pkr.hcl").read_text()
    given = ["-var", "iso_checksum=sha256:" + "0" * 64] if 'variable "iso_checksum"' in document else []
    command.run([packer, "validate", *given, folder], env=environment(packer, tmp_path))


def test_its_fmt_leaves_every_document_alone(packer: Path, tmp_path: Path) -> None:
    """Of both dialects: people reformat old documents with a new Packer."""
    for name, bundle in regenerate_goldens.bundles().items():
        (tmp_path / f"{name}.pkr.hcl").write_text(bundle.files["skyvyos.pkr.hcl"])
    done = command.run([packer, "fmt", "-check", "-diff", tmp_path], env=environment(packer, tmp_path), check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_it_takes_random_documents(packer: Path, tmp_path: Path) -> None:
    """It validates what is drawn at random, and its fmt would change nothing."""
    check_packer(60, tmp_path, "latest", packer)
