"""OVF descriptors are what DMTF's schema, VMware's rules and other readers want."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import re
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import pytest
from simulators import disks, vcsim
from simulators.certificates import Authority

from skyvypack import ova, ovf, vmdk
from skyvypack.errors import InputError
from skyvypack.spec import loads

SPEC = loads("name: web\nversion: 1.0.0\nroles: [base]\nmachine: {cpus: 4, memory: 3072, firmware: uefi}\n")
SCHEMAS = (
    "https://schemas.dmtf.org/ovf/envelope/1/dsp8023_1.1.1.xsd",
    "https://schemas.dmtf.org/wbem/wscim/1/common.xsd",
    "https://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_VirtualSystemSettingData.xsd",
    "https://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_ResourceAllocationSettingData.xsd",
    "https://www.w3.org/2001/xml.xsd",
)
DISK = ovf.Disk("web-1.0.0.vmdk", 123, 8 << 30)
SPACE = {
    "ovf": "http://schemas.dmtf.org/ovf/envelope/1",
    "rasd": "http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_ResourceAllocationSettingData",
    "vssd": "http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_VirtualSystemSettingData",
    "vmw": "http://www.vmware.com/schema/ovf",
}
VARIANTS = [
    ovf.Hardware(),
    ovf.Hardware(version=22, secure_boot=True, controller="nvme", network_card="e1000e"),
    ovf.Hardware(version=15, controller="lsilogic-sas"),
    ovf.Hardware(controller="sata", network_card="e1000", guest="otherLinux64Guest"),
    ovf.Hardware(controller="lsilogic"),
]


def parsed(hardware: ovf.Hardware = ovf.DEFAULT, disk: ovf.Disk = DISK) -> ElementTree.Element:
    return ElementTree.fromstring(ovf.descriptor(SPEC, disk, hardware))


def test_paravirtual() -> None:
    """By default the disk hangs on pvscsi and the network card is a vmxnet3."""
    kinds = {item.findtext("rasd:ResourceSubType", None, SPACE) for item in parsed().iter(f"{{{SPACE['ovf']}}}Item")}
    assert {"VirtualSCSI", "VmxNet3"} <= kinds


def test_disk_hangs_on_its_controller() -> None:
    """The disk's parent is the controller, and the file, its size and the capacity in bytes are named."""
    root = parsed()
    items = {item.findtext("rasd:InstanceID", "", SPACE): item for item in root.iter(f"{{{SPACE['ovf']}}}Item")}
    (disk,) = [item for item in items.values() if item.findtext("rasd:ResourceType", "", SPACE) == "17"]
    assert items[disk.findtext("rasd:Parent", "", SPACE)].findtext("rasd:ResourceType", "", SPACE) == "6"
    described, file = root.find(".//ovf:Disk", SPACE), root.find(".//ovf:File", SPACE)
    assert described is not None
    assert file is not None
    assert described.get(f"{{{SPACE['ovf']}}}capacity") == str(8 << 30)
    assert described.get(f"{{{SPACE['ovf']}}}capacityAllocationUnits") == "byte"
    assert (file.get(f"{{{SPACE['ovf']}}}href"), file.get(f"{{{SPACE['ovf']}}}size")) == ("web-1.0.0.vmdk", "123")


def test_secure_boot() -> None:
    """Firmware and secure boot are VMware's Config entries, which older importers may leave out."""
    config = {
        one.get(f"{{{SPACE['vmw']}}}key"): (one.get(f"{{{SPACE['vmw']}}}value"), one.get(f"{{{SPACE['ovf']}}}required"))
        for one in parsed(ovf.Hardware(secure_boot=True)).iter(f"{{{SPACE['vmw']}}}Config")
    }
    assert config == {"firmware": ("efi", "false"), "bootOptions.efiSecureBootEnabled": ("true", "false")}


@pytest.mark.parametrize(
    ("version", "release", "guest"),
    [
        (22, "trixie", "debian13_64Guest"),
        (22, "bookworm", "debian12_64Guest"),
        (20, "trixie", "debian12_64Guest"),
        (19, "trixie", "debian11_64Guest"),
        (13, "trixie", "debian10_64Guest"),
        (11, "trixie", "otherLinux64Guest"),
    ],
)
def test_guest_id(version: int, release: str, guest: str) -> None:
    """The guest id is the release's, or the newest Debian that a host of this hardware version knows."""
    assert ovf.guest_id(dataclasses.replace(SPEC, debian=release), version) == guest  # type: ignore[arg-type]


def test_hostile_names() -> None:
    """What a name holds cannot become markup."""
    spec = dataclasses.replace(SPEC, name='<a&"b">')
    root = ElementTree.fromstring(ovf.descriptor(spec, ovf.Disk('a"&.vmdk', 1, 512)))
    assert root.findtext(".//ovf:Name", None, SPACE) == '<a&"b">'


def schema_in(folder: Path) -> Path:
    """DMTF's schema, so that it finds beside it what it imports; skips the test where nobody has fetched them."""
    kept = Path(os.environ.get("SKYVYPACK_OVF_SCHEMA") or Path.home() / ".cache/skyvypack-tests/ovf-schema")
    missing = [url for url in SCHEMAS if not (kept / url.rpartition("/")[2]).is_file()]
    if missing:
        pytest.skip(f"DMTF's schemas may not be passed on; fetch them into {kept}: {' '.join(missing)}")
    for url in SCHEMAS:
        name = url.rpartition("/")[2]
        text = re.sub(r'schemaLocation="[^"]*/', 'schemaLocation="', (kept / name).read_text())
        (folder / name).write_text(text)
    return folder / SCHEMAS[0].rpartition("/")[2]


@pytest.mark.tool
@pytest.mark.parametrize("hardware", VARIANTS, ids=lambda hardware: f"vmx-{hardware.version}-{hardware.controller}")
def test_dmtf_schema(hardware: ovf.Hardware, tmp_path: Path) -> None:
    """Every descriptor is valid by DMTF's schema DSP8023."""
    schema = schema_in(tmp_path)
    file = tmp_path / "web.ovf"
    file.write_text(ovf.descriptor(SPEC, DISK, hardware))
    argv = ["xmllint", "--noout", "--nonet", "--schema", schema, file]
    done = subprocess.run(argv, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    broken = file.read_text().replace("<Info>Virtual disks</Info>", "")
    file.write_text(broken)
    assert subprocess.run(argv, capture_output=True).returncode == 3


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    path = tmp_path / "web-1.0.0.ova"
    disks.write_ova(path, SPEC, b"content" * 1000)
    return path


def test_locate(archive: Path) -> None:
    """The disk inside an OVA is found where it is."""
    offset, size = ova.locate(archive)
    assert archive.read_bytes()[offset : offset + size] == disks.vmdk(b"content" * 1000)
    assert vmdk.read(archive, offset, size) == vmdk.Extent(1 << 20, 1 << 16)


def test_manifest(archive: Path, tmp_path: Path) -> None:
    """The manifest comes second and names the digests of descriptor and disk."""
    with tarfile.open(archive) as opened:
        assert opened.getnames() == ["web-1.0.0.ovf", "web-1.0.0.mf", "web-1.0.0.vmdk"]
        opened.extractall(tmp_path, filter="data")
    for line in (tmp_path / "web-1.0.0.mf").read_text().splitlines():
        name, digest = line.removeprefix("SHA256(").split(")= ")
        assert hashlib.sha256((tmp_path / name).read_bytes()).hexdigest() == digest


@pytest.mark.parametrize("content", [b"", b"nothing", b"x" * 20480])
def test_no_ova(tmp_path: Path, content: bytes) -> None:
    """What is no OVA is refused in words."""
    path = tmp_path / "web.ova"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"is no OVA|holds 0 disks"):
        ova.locate(path)


def test_too_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that the archive's format cannot hold is refused before anything is written."""
    monkeypatch.setattr(ova, "LARGEST", 100)
    source = tmp_path / "web.vmdk"
    source.write_bytes(disks.vmdk(b"x"))
    with pytest.raises(InputError, match="an OVA can hold 100"):
        ova.write(source, tmp_path / "web.ova", SPEC)
    assert not (tmp_path / "web.ova").exists()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[vcsim.Server]:
    folder = tmp_path / "vcsim"
    folder.mkdir()
    with vcsim.running(Authority(folder)) as running:
        yield running


@pytest.mark.tool
def test_second_reader(archive: Path, server: vcsim.Server) -> None:
    """govc reads the descriptor and imports it: the machine has the hardware that the spec says."""

    def govc(*argv: str | Path) -> str:
        env = os.environ | server.environment
        done = subprocess.run([vcsim.program("govc"), *argv], env=env, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    network = json.loads(govc("import.spec", archive))["NetworkMapping"]
    assert [one["Name"] for one in network] == [ovf.NETWORK]
    options = archive.with_suffix(".json")
    options.write_text(json.dumps({"NetworkMapping": [{"Name": ovf.NETWORK, "Network": "VM Network"}]}))
    govc("import.ova", "-ds=LocalDS_0", "-pool=DC0_C0/Resources", "-name=web", f"-options={options}", archive)
    (machine,) = json.loads(govc("vm.info", "-json", "web"))["virtualMachines"]
    config = machine["config"]
    assert (config["guestId"], config["version"]) == ("debian12_64Guest", "vmx-20")
    assert (config["hardware"]["numCPU"], config["hardware"]["memoryMB"]) == (4, 3072)
    listed = govc("device.ls", "-vm=web")
    assert {"ParaVirtualSCSIController", "VirtualVmxnet3", "VirtualDisk"} <= set(listed.split())
    capacities = [one["capacityInKB"] for one in config["hardware"]["device"] if "capacityInKB" in one]
    assert capacities == [1024]
