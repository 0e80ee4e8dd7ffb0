"""Bundles: goldens, what is in them, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import regenerate_goldens

from skyvypack import assets, targets
from skyvypack.dialect import LATEST
from skyvypack.errors import InputError
from skyvypack.render import render
from skyvypack.spec.model import Base, Spec

SPEC = Spec("web", "1.0.0", "trixie", ())
IMAGE = Base("cloud-image", url="https://image.example/d.qcow2", checksum="sha256:" + "0" * 64)
BUNDLES = regenerate_goldens.bundles()


def with_settings(**settings: Any) -> Spec:
    defaults = {name: rule["default"] for name, rule in targets.settings_rules("qemu").items()}
    return replace(SPEC, targets={"qemu": defaults | settings})


def hcl(spec: Spec, dialect: str = "1.6.6") -> str:
    return render(spec, "qemu", dialect).files["skyvyos.pkr.hcl"]


@pytest.mark.parametrize("name", BUNDLES)
def test_golden(name: str) -> None:
    """A bundle is what was last reviewed, file by file; `nox -s golden` writes it anew."""
    folder = regenerate_goldens.GOLDENS / name
    kept = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    made = regenerate_goldens.goldens(BUNDLES[name])
    assert kept == {*made}
    for path, text in made.items():
        assert text == (folder / path).read_text(), path


def test_no_golden_without_a_bundle() -> None:
    """A golden folder that nothing renders any more would be checked by nobody."""
    assert {path.name for path in regenerate_goldens.GOLDENS.iterdir()} == {*BUNDLES}


def test_scripts_are_copies() -> None:
    """The scripts of a bundle are those of `builders/shared`, unchanged."""
    files = render(SPEC).files
    scripts = {path for path in files if path.endswith(".sh")}
    assert {"prepare.sh", "layer.sh", "scripts/wait.sh", "scripts/bootloader.sh", "scripts/seal.sh"} == scripts
    for path in scripts:
        assert files[path] == (assets.builders() / "shared" / path).read_text()


def test_a_cloud_image_needs_no_layer() -> None:
    """Debian's image brings a boot loader and packages: no kernel line, no layer recipe."""
    files = render(replace(SPEC, base=IMAGE)).files
    assert not {path for path in files if "layer" in path or "bootloader" in path}
    assert "-kernel" not in files["skyvyos.pkr.hcl"]
    assert IMAGE.checksum in files["skyvyos.pkr.hcl"]


def test_same_spec_same_bundle() -> None:
    """Rendering is a function of its arguments."""
    assert render(SPEC).digest == render(SPEC).digest
    assert render(SPEC, "qemu", "latest") == render(SPEC, "qemu", LATEST)
    assert render(SPEC, "qemu", "latest").digest != render(SPEC).digest


def test_a_base_the_target_has_not() -> None:
    """A base the target cannot start from is refused, naming those it can."""
    with pytest.raises(InputError, match="base clone is not available for the target qemu") as caught:
        render(replace(SPEC, base=Base("clone", source="y")))
    assert caught.value.hint == "available: bootstrap, cloud-image, iso"


def test_unknown_target_and_dialect() -> None:
    """No such target, no such version: the caller's mistake."""
    with pytest.raises(InputError, match="there is no target"):
        render(SPEC, "qemo")
    with pytest.raises(InputError, match="no Packer version"):
        render(SPEC, "qemu", "1.2.3")


def test_settings_are_honoured() -> None:
    """Every setting of the target that Packer is told about is in the document."""
    text = hcl(with_settings(accelerator="kvm", cpu_model="qemu64,+aes", disk_interface="ide", ssh_timeout="90s"))
    assert '  default     = "kvm"\n' in text
    assert '["-cpu", "qemu64,+aes"]' in text
    assert 'disk_interface   = "ide"\n' in text
    assert '  default     = "90s"\n' in text
    assert 'net_device   = "vmxnet3"\n' in hcl(with_settings(net_device="vmxnet3"))


def test_arguments_are_literal() -> None:
    """A further argument is taken as text: it cannot reach into the document."""
    assert r'http_directory = "\u0024{var.seed}"' in hcl(with_settings(arguments={"http_directory": "${var.seed}"}))


@pytest.mark.parametrize(
    ("arguments", "message", "hint"),
    [
        ({"iso_url": "x"}, "sets iso_url, which the bundle sets itself", "leave it out"),
        ({"qemuargs": [], "memory": 1}, "sets memory, qemuargs, which", "leave it out"),
        ({"qemu_img_args": {}}, "sets qemu_img_args, which", "leave it out"),
        ({"vtpm": True}, "builder qemu of Packer 1.6.6 has no vtpm", "1.0.7 has it, with Packer 1.7.0 or newer"),
        ({"efi_boot": True, "efi_firmware_vars": "x"}, "has no efi_firmware_vars", "1.0.7 has it"),
        ({"efi_boot": False}, "has no efi_boot", "1.0.7 has it"),
        ({"boot_wai": "1s"}, "has no boot_wai", "did you mean boot_wait?"),
        ({"disk_additional_size": "4G"}, r"takes list\(string\), not '4G'", ""),
    ],
)
def test_arguments_that_cannot_be(arguments: dict[str, Any], message: str, hint: str) -> None:
    """An argument that is ours, or that this Packer does not have, is refused before Packer sees it."""
    with pytest.raises(InputError, match=message) as caught:
        hcl(with_settings(arguments=arguments))
    assert hint in caught.value.hint


def test_todays_names_in_an_older_packer() -> None:
    """CPU model, topology and UEFI are arguments of today's plugin and QEMU options for 1.6.6."""
    spec = with_settings(arguments={"sockets": 1, "threads": 2, "efi_boot": True, "efi_firmware_code": "/fw"})
    old, new = hcl(spec), hcl(spec, "latest")
    for option in ('["-cpu", "max"]', '["-smp", "cpus=2,sockets=1,threads=2"]', '["-bios", "/fw"]'):
        assert option in old
        assert option not in new
    for name in ("cpu_model", "sockets", "threads", "efi_boot", "efi_firmware_code"):
        assert f"  {name} " not in old
        assert f"  {name} " in new


def test_no_option_replaces_packers_own() -> None:
    """In 1.6.6 a -drive or -device in qemuargs takes the place of Packer's: disk, CD or network card are gone."""
    for bundle in BUNDLES.values():
        for option in ("-drive", "-device", "-boot", "-m", "-name"):
            assert f'["{option}"' not in bundle.files["skyvyos.pkr.hcl"]


@pytest.mark.parametrize("dialect", regenerate_goldens.DIALECTS)
def test_ssh_is_forwarded_on_loopback_unless_bridged(dialect: str) -> None:
    """Packer's own forward listens on every address; ours does not, and a guest on a bridge has none at all."""
    assert '["-netdev", "user,id=user.0,hostfwd=tcp:127.0.0.1:{{ .SSHHostPort }}-:22"]' in hcl(SPEC, dialect)
    assert "-netdev" not in hcl(with_settings(arguments={"net_bridge": "br0"}), dialect)


def test_readme_fits_the_bundle() -> None:
    """The bundle's README names the commands that this Packer has and the files that are there."""
    for name, bundle in BUNDLES.items():
        text = bundle.files["README.md"]
        assert ("packer init ." in text) == name.endswith("latest")
        assert ("layer.sh" in text) == ("layer.sh" in bundle.files)
        assert "\n\n\n" not in text
