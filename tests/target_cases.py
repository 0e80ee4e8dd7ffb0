"""Specs that between them use every builder, for goldens and for what holds of all of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from skyvypack.spec.model import Base, Machine, Spec
from skyvypack.targets import settings_rules

PLAIN = Spec("skyvyos-server", "1.0.0", "trixie", (), packages=("vim",))
ISO = Base("iso", url="https://image.example/debian-13-netinst.iso", checksum="sha256:" + "0" * 64)
BIOS = Machine(firmware="bios")


@dataclass(frozen=True, slots=True)
class Case:
    """A spec for one builder.

    Args:
        target: whose builder it is.
        base: what the spec starts from.
        old: whether 1.6.6 can express it.
        machine: of the spec.
        settings: those of the target that differ from their defaults.
    """

    target: str
    base: Base
    old: bool = True
    machine: Machine = field(default_factory=Machine)
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def spec(self) -> Spec:
        """The spec, its target's settings complete."""
        return with_settings(replace(PLAIN, base=self.base, machine=self.machine), self.target, self.settings)


def with_settings(spec: Spec, target: str, settings: Mapping[str, Any]) -> Spec:
    """A spec whose settings of a target are the defaults but for some."""
    defaults = {name: rule["default"] for name, rule in settings_rules(target).items()}
    return replace(spec, targets={target: defaults | settings})


# What cannot be left empty.
NEEDED: Mapping[str, Mapping[str, Any]] = {"proxmox": {"node": "pve1"}, "vsphere": {"cluster": "cluster1"}}

CASES: Mapping[str, Case] = {
    "proxmox-iso": Case("proxmox", ISO, machine=BIOS, settings=NEEDED["proxmox"]),
    "proxmox-iso-settings": Case(
        "proxmox",
        Base("iso", url="local:iso/debian-13.iso", checksum="sha512:" + "0" * 128),
        old=False,
        machine=Machine(4, 4096, 32, "uefi"),
        settings={
            "url": "https://pve.example:8006",
            "username": "packer@pve!bake",
            "node": "pve2",
            "pool": "templates",
            "vm_id": 9000,
            "storage": "ceph",
            "disk_type": "virtio",
            "ssd": False,
            "vlan": 42,
            "firewall": True,
            "cpu_type": "host",
            "numa": True,
            "secure_boot": True,
            "tpm": True,
            "vga": "serial0",
            "onboot": True,
            "boot_order": "order=virtio0;net0",
            "tags": ["skyvyos", "trixie"],
            "description": 'Made by "us": ${node}',
            "arguments": {"sockets": 2},
        },
    ),
    "proxmox-clone": Case("proxmox", Base("clone", source="debian-13"), settings=NEEDED["proxmox"]),
    "proxmox-clone-settings": Case(
        "proxmox",
        Base("clone", source="9001"),
        old=False,
        settings={"node": "pve1", "full_clone": False, "insecure": True, "agent": False, "tags": ["a"]},
    ),
    "vsphere-iso": Case("vsphere", ISO, settings=NEEDED["vsphere"]),
    "vsphere-iso-settings": Case(
        "vsphere",
        Base("iso", url="[nfs1]iso/debian-13.iso", checksum="sha256:" + "0" * 64),
        old=False,
        machine=Machine(8, 16384, 100, "uefi"),
        settings={
            "server": "vcenter.example",
            "username": "packer@vsphere.local",
            "insecure": True,
            "datacenter": "dc1",
            "host": "esx1.example",
            "resource_pool": "build",
            "datastore": "nfs1",
            "folder": "templates/linux",
            "network": "VLAN 42",
            "guest_os_type": "debian12_64Guest",
            "vm_version": 21,
            "cpu_cores": 4,
            "cpu_hot_add": True,
            "memory_hot_add": True,
            "disk_controller": "nvme",
            "secure_boot": True,
            "tpm": True,
            "configuration_parameters": {"disk.EnableUUID": "TRUE"},
            "content_library": "golden",
            "arguments": {"ip_wait_timeout": "1h"},
        },
    ),
    "vsphere-clone": Case("vsphere", Base("clone", source="templates/debian-13"), settings=NEEDED["vsphere"]),
    "vsphere-clone-settings": Case(
        "vsphere",
        Base("clone", source="debian-13"),
        machine=BIOS,
        settings={"cluster": "c1", "linked_clone": True, "snapshot": True, "notes": "ours"},
    ),
    "amazon-ebs": Case("aws", Base("clone", source="debian-13-amd64-*")),
    "amazon-ebs-settings": Case(
        "aws",
        Base("clone", source="ami-0123456789abcdef0"),
        old=False,
        settings={
            "region": "eu-west-1",
            "profile": "build",
            "role_arn": "arn:aws:iam::123456789012:role/build",
            "regions": ["eu-central-1", "us-east-1"],
            "instance_type": "m7i.large",
            "vpc_id": "vpc-0a",
            "subnet_tags": {"Name": "build"},
            "security_group_ids": ["sg-0a"],
            "public_ip": False,
            "instance_profile": "build",
            "volume_type": "io2",
            "iops": 4000,
            "encrypt": True,
            "kms_key": "alias/golden",
            "region_kms_keys": {"eu-central-1": "alias/golden", "us-east-1": "alias/golden"},
            "users": ["123456789012"],
            "organizations": ["arn:aws:organizations::123456789012:organization/o-a1"],
            "deprecate_at": "2030-01-01T00:00:00Z",
            "protect": True,
            "description": "A template",
            "tags": {"team": "web"},
        },
    ),
    "amazon-ebs-ssm": Case(
        "aws",
        Base("clone", source="debian-13-amd64-*"),
        settings={"access": "ssm", "instance_profile": "managed", "subnet_id": "subnet-0a", "public_ip": False},
    ),
    "amazon-ebssurrogate": Case("aws", Base(), machine=BIOS, settings={"surrogate": True}),
    "amazon-ebssurrogate-settings": Case(
        "aws", Base(), old=False, settings={"surrogate": True, "tpm": True, "throughput": 500, "imdsv2": False}
    ),
    "virtualbox-iso": Case("virtualbox", ISO),
    "virtualbox-iso-settings": Case(
        "virtualbox",
        ISO,
        machine=Machine(4, 4096, 20, "bios"),
        settings={
            "export_format": "ovf",
            "chipset": "ich9",
            "nic_type": "82545EM",
            "disk_interface": "ide",
            "graphics": "vboxsvga",
            "video_memory": 32,
            "nested_virtualization": True,
            "headless": False,
        },
    ),
    "virtualbox-ovf": Case("virtualbox", Base("clone", source="debian-13.ova")),
    "hyperv-iso": Case("hyperv", ISO),
    "hyperv-iso-settings": Case(
        "hyperv",
        ISO,
        old=False,
        settings={"switch": "build", "vlan": 42, "tpm": True, "mac_spoofing": True, "temp_path": "D:\\packer"},
    ),
    "vmware-iso": Case("vmware", ISO),
    "vmware-iso-settings": Case(
        "vmware",
        ISO,
        settings={
            "secure_boot": True,
            "nested_virtualization": True,
            "cpu_cores": 2,
            "vmx_data": {"svga.autodetect": "TRUE"},
        },
    ),
}
