"""`bootentry.py`: the variables by which UEFI's firmware starts an installed system first."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from fixture_types import FakeTool

from skyvypack import assets, command

SCRIPT = assets.builders() / "shared" / "installer" / "initrd" / "skyvyos" / "bootentry.py"
VENDOR = "8be4df61-93ca-11d2-aa0d-00e098032b8c"
# HD(2,GPT,764a9e7c-0001-0203-0405-060708090a0b,0x1000,0x20000)/\EFI\BOOT\BOOTX64.EFI, put together by hand from the
# UEFI specification.
ENTRY = bytes.fromhex(
    "07000000"  # attributes of the variable
    "01000000 5e00 53006b007900760079004f0053000000"  # active, length of the paths, title
    "04012a00 02000000 0010000000000000 0000020000000000 7c9e4a76010003020405060708090a0b 0202"
    "04043000 5c004500460049005c0042004f004f0054005c0042004f004f0054005800360034002e004500460049000000"
    "7fff0400"
)


@pytest.fixture
def root(tmp_path: Path, fake_tool: FakeTool) -> Path:
    """A machine whose firmware starts a disc (0001), then the network (0000)."""
    block = tmp_path / "sys" / "class" / "block" / "vda2"
    block.mkdir(parents=True)
    for name, value in {"partition": 2, "start": 4096, "size": 131072}.items():
        (block / name).write_text(f"{value}\n")
    variables = tmp_path / "sys" / "firmware" / "efi" / "efivars"
    variables.mkdir(parents=True)
    (variables / f"Boot0000-{VENDOR}").write_bytes(b"\7\0\0\0network")
    (variables / f"Boot0001-{VENDOR}").write_bytes(b"\7\0\0\0disc")
    (variables / f"BootOrder-{VENDOR}").write_bytes(b"\7\0\0\0\1\0\0\0")
    fake_tool("blkid", "echo 764a9e7c-0001-0203-0405-060708090a0b")
    return tmp_path


def run(root: Path) -> dict[str, bytes]:
    command.run([sys.executable, SCRIPT, "/dev/vda2"], env={"SKYVYOS_ROOT": str(root)})
    found = (root / "sys" / "firmware" / "efi" / "efivars").iterdir()
    return {path.name.removesuffix(f"-{VENDOR}"): path.read_bytes() for path in found}


def test_the_new_system_comes_first(root: Path) -> None:
    """An entry of its own, with the next free number, stands before those that the firmware had."""
    variables = run(root)
    assert variables["Boot0002"] == ENTRY
    assert variables["BootOrder"] == b"\7\0\0\0\2\0\1\0\0\0"


def test_another_installation_takes_the_same_entry(root: Path) -> None:
    """Firmware has little room: installing once more leaves one entry, and it is still the first."""
    assert run(root) == run(root)


def test_firmware_without_an_order(root: Path) -> None:
    """What never had anything to start has no order, either."""
    (root / "sys" / "firmware" / "efi" / "efivars" / f"BootOrder-{VENDOR}").unlink()
    assert run(root)["BootOrder"] == b"\7\0\0\0\2\0"
