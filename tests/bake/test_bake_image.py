"""A bake that starts from a published image instead of a layer, with a real guest."""

from __future__ import annotations

import os
from pathlib import Path

import images
import loopback
import pytest

import skyvypack
from skyvypack import command, disk

pytestmark = pytest.mark.boot

# Its one package is installed inside the guest, as all would be on an image of Debian's.
SPEC = """\
name: from-image
version: 1.0.0
roles: [base, network, ssh, firewall, accounts, kernel, updates, logging, nginx]
packages: [ncdu]
base: {{kind: cloud-image, url: "{url}/debian.qcow2", checksums: "{url}/SHA512SUMS"}}
machine: {{disk: {disk}}}
"""


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """A folder as a publisher has it: an image that boots by itself and runs cloud-init, and its checksums."""
    template = os.environ.get("SKYVYPACK_TEST_DISK")
    if not template:
        pytest.skip("SKYVYPACK_TEST_DISK names no finished qcow2 disk to publish as an image")
    folder = tmp_path / "published"
    folder.mkdir()
    raw = tmp_path / "image.raw"
    disk.convert(Path(template), raw, "raw", source_format="qcow2")
    # As Debian's image has it: sshd by its defaults. Packer 1.6.6 knows none of the algorithms that ours is left with.
    images.debugfs(raw, "rm /etc/ssh/sshd_config.d/00-skyvyos.conf", start=disk.root(raw).offset)
    disk.convert(raw, folder / "debian.qcow2", "qcow2", source_format="raw")
    raw.unlink()
    command.run(["sh", "-c", "sha512sum debian.qcow2 > SHA512SUMS"], cwd=folder)
    return folder


def test_template_is_baked_from_a_published_image_and_proven(image: Path, tmp_path: Path) -> None:
    """The image is fetched and checked, its guest installs what is missing, and a clone keeps the contract.

    A second bake finds that nothing changed, and asks for the list of checksums only.
    """
    size = disk.info(image / "debian.qcow2")["virtual-size"] >> 30
    with loopback.serving(image) as (url, requests):
        spec = skyvypack.loads(SPEC.format(url=url, disk=size + 1))
        wishes = {"output": tmp_path / "output", "cache": tmp_path / "cache"}
        result = skyvypack.bake(spec, verify=False, **wishes)
        (qcow2,) = (file.path for file in result.artifact.files)
        report = skyvypack.verify(spec, qcow2, report_folder=tmp_path / "report", firmware=("uefi",))
        assert requests == ["/SHA512SUMS", "/debian.qcow2", "/SHA512SUMS"]
        assert skyvypack.bake(spec, verify=False, **wishes).unchanged
    assert report.passed, [check for check in report.checks if check.outcome == "failed"]
    assert "ncdu" in {package["name"] for package in result.artifact.manifest["packages"]}
    assert requests[3:] == ["/SHA512SUMS"]
