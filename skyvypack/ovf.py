"""OVF descriptors: what VMware is told of a machine when its disk is imported.

Pure text. Sources: DMTF DSP0243 1.1 (sections, ResourceType numbers of CIM's resource allocation schema, operating
system 96 "Debian 64-Bit"; elements of an item in the order of their names); VMware's ``vmw:`` extension (firmware,
secure boot, guest id); "Virtual machine hardware versions" (VMware KB 1003746); `GuestOsIdentifier` of the vSphere
API, whose Debian ids came with API 6.5 (10), 7.0 (11), 8.0.0.1 (12) and 9.0 (13); the properties that cloud-init's
OVF datasource reads (cloudinit/sources/DataSourceOVF.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from xml.sax.saxutils import escape, quoteattr

from skyvypack.spec.model import Spec

NETWORK = "VM Network"
# ESXi 8.0; the first that knows debian12_64Guest.
HARDWARE_VERSION = 20

_FIRMWARE = {"uefi": "efi", "bios": "bios"}
# The first hardware version on which a host knows the guest id of a Debian release.
_GUESTS = ((22, 13), (20, 12), (17, 11), (13, 10))
_OVF = "http://schemas.dmtf.org/ovf/envelope/1"
_CIM = "http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2"
_STREAM = "http://www.vmware.com/interfaces/specifications/vmdk.html#streamOptimized"
# CIM's ResourceType and VMware's name for it: 6 is a SCSI controller, 20 another one for storage.
_CONTROLLERS: Mapping[str, tuple[int, str]] = {
    "pvscsi": (6, "VirtualSCSI"),
    "lsilogic": (6, "lsilogic"),
    "lsilogic-sas": (6, "lsilogicsas"),
    "nvme": (20, "vmware.nvme.controller"),
    "sata": (20, "vmware.sata.ahci"),
}
_CARDS: Mapping[str, str] = {"vmxnet3": "VmxNet3", "e1000e": "E1000e", "e1000": "E1000"}
# What a user may set when deploying, and cloud-init's OVF datasource reads. Without any of them a clone still boots.
_PROPERTIES: Mapping[str, tuple[str, str]] = {
    "instance-id": ("Instance id", "A new one makes cloud-init treat the machine as new"),
    "hostname": ("Host name", "Name of the machine"),
    "user-data": ("Encoded user-data", "base64 of what `skyvypack user-data` prints for other targets"),
}


@dataclass(frozen=True, slots=True)
class Hardware:
    """What VMware gives the machine beside CPUs, memory and firmware, which the spec says.

    Args:
        version: of the virtual hardware, such as 20 for ``vmx-20``.
        guest: VMware's guest id; empty for the newest Debian that this hardware version knows.
        secure_boot: True to let UEFI start signed boot loaders only.
        controller: what the disk hangs on: ``pvscsi``, ``lsilogic``, ``lsilogic-sas``, ``nvme`` or ``sata``.
        network_card: ``vmxnet3``, ``e1000e`` or ``e1000``.
    """

    version: int = HARDWARE_VERSION
    guest: str = ""
    secure_boot: bool = False
    controller: str = "pvscsi"
    network_card: str = "vmxnet3"


DEFAULT = Hardware()


@dataclass(frozen=True, slots=True)
class Disk:
    """The streamOptimized disk that a descriptor names.

    Args:
        file: its file name.
        size: of the file, in bytes.
        capacity: of the disk, in bytes.
    """

    file: str
    size: int
    capacity: int


def guest_id(spec: Spec, version: int) -> str:
    """VMware's guest id for a release: its own, or the newest that a hardware version knows.

    Args:
        spec: gives the release.
        version: of the virtual hardware.
    """
    for since, number in _GUESTS:
        if version >= since and number <= spec.release_number:
            return f"debian{number}_64Guest"
    return "otherLinux64Guest"


def descriptor(spec: Spec, disk: Disk, hardware: Hardware = DEFAULT) -> str:
    """The OVF descriptor of a template.

    Args:
        spec: gives name, version and machine.
        disk: what it is to be imported with.
        hardware: what VMware gives the machine.
    """
    return f"""<?xml version="1.0" encoding="UTF-8"?>
<Envelope xmlns="{_OVF}" xmlns:ovf="{_OVF}"
    xmlns:rasd="{_CIM}/CIM_ResourceAllocationSettingData"
    xmlns:vssd="{_CIM}/CIM_VirtualSystemSettingData" xmlns:vmw="http://www.vmware.com/schema/ovf">
  <References>
    <File ovf:id="file" ovf:href={quoteattr(disk.file)} ovf:size="{disk.size}"/>
  </References>
  <DiskSection>
    <Info>Virtual disks</Info>
    <Disk ovf:diskId="disk" ovf:fileRef="file" ovf:capacity="{disk.capacity}"
        ovf:capacityAllocationUnits="byte" ovf:format="{_STREAM}"/>
  </DiskSection>
  <NetworkSection>
    <Info>Logical networks</Info>
    <Network ovf:name="{NETWORK}"><Description>The network of the machine</Description></Network>
  </NetworkSection>
{_system(spec, hardware)}</Envelope>
"""


def _system(spec: Spec, hardware: Hardware) -> str:
    guest = hardware.guest or guest_id(spec, hardware.version)
    secure = str(hardware.secure_boot).lower()
    return f"""  <VirtualSystem ovf:id={quoteattr(spec.name)}>
    <Info>A virtual machine</Info>
    <Name>{escape(spec.name)}</Name>
    <OperatingSystemSection ovf:id="96" vmw:osType={quoteattr(guest)}>
      <Info>{escape(spec.title)}</Info>
    </OperatingSystemSection>
    <VirtualHardwareSection ovf:transport="com.vmware.guestInfo">
      <Info>Virtual hardware</Info>
      <System>
        <vssd:ElementName>Virtual Hardware Family</vssd:ElementName>
        <vssd:InstanceID>0</vssd:InstanceID>
        <vssd:VirtualSystemIdentifier>{escape(spec.name)}</vssd:VirtualSystemIdentifier>
        <vssd:VirtualSystemType>vmx-{hardware.version}</vssd:VirtualSystemType>
      </System>
{_items(spec, hardware)}\
      <vmw:Config ovf:required="false" vmw:key="firmware" vmw:value="{_FIRMWARE[spec.machine.firmware]}"/>
      <vmw:Config ovf:required="false" vmw:key="bootOptions.efiSecureBootEnabled" vmw:value="{secure}"/>
    </VirtualHardwareSection>
    <ProductSection>
      <Info>What it is, and what a deployment may set</Info>
      <Product>{escape(spec.title)}</Product>
      <Version>{escape(spec.version)}</Version>
      <Category>cloud-init</Category>
{_properties()}\
    </ProductSection>
  </VirtualSystem>
"""


def _properties() -> str:
    return "".join(
        f'      <Property ovf:key="{key}" ovf:type="string" ovf:userConfigurable="true" ovf:value="">\n'
        f"        <Label>{label}</Label>\n        <Description>{about}</Description>\n      </Property>\n"
        for key, (label, about) in _PROPERTIES.items()
    )


def _items(spec: Spec, hardware: Hardware) -> str:
    machine = spec.machine
    kind, name = _CONTROLLERS[hardware.controller]
    card = _CARDS[hardware.network_card]
    network = {"AutomaticAllocation": "true", "Connection": NETWORK, "ResourceSubType": card}
    return "".join(
        (
            _item(1, 3, "CPUs", AllocationUnits="hertz * 10^6", VirtualQuantity=machine.cpus),
            _item(2, 4, "Memory", AllocationUnits="byte * 2^20", VirtualQuantity=machine.memory),
            _item(3, kind, "Disk controller", Address=0, ResourceSubType=name),
            _item(4, 17, "Disk", AddressOnParent=0, HostResource="ovf:/disk/disk", Parent=3),
            _item(5, 10, "Network", AddressOnParent=7, **network),
        )
    )


def _item(number: int, kind: int, title: str, **fields: str | int) -> str:
    values = {"ElementName": title, "InstanceID": number, "ResourceType": kind, **fields}
    lines = "".join(f"<rasd:{key}>{escape(str(values[key]))}</rasd:{key}>" for key in sorted(values))
    return f"      <Item>{lines}</Item>\n"
