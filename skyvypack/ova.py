"""OVA: one tar of an OVF descriptor, its manifest and a streamOptimized disk, as vSphere imports it.

Source: DMTF DSP0243 1.1 (OVF: order in the archive, manifest, ResourceType numbers of CIM's resource allocation
schema, operating system 96 "Debian 64-Bit") and VMware's vmw: extension (firmware, guest id).
"""

from __future__ import annotations

import hashlib
import io
import tarfile
from pathlib import Path
from xml.sax.saxutils import escape, quoteattr

from skyvypack import disk
from skyvypack.spec.model import Spec

# ESXi 8.0; the first that knows debian12_64Guest. debian13_64Guest would need 9.0.
_HARDWARE = "vmx-20"
_GUEST = "debian12_64Guest"
_FIRMWARE = {"uefi": "efi", "bios": "bios"}
_RASD = "http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_ResourceAllocationSettingData"
_VSSD = "http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_VirtualSystemSettingData"


def write(vmdk: Path, destination: Path, spec: Spec) -> None:
    """Pack a disk as an OVA with paravirtual SCSI and network.

    Args:
        vmdk: a streamOptimized disk.
        destination: the ``.ova`` to make.
        spec: gives name, version and machine.
    """
    name = destination.stem
    capacity = int(disk.info(vmdk)["virtual-size"])
    descriptor = _descriptor(spec, name, vmdk.stat().st_size, capacity).encode()
    digests = {f"{name}.ovf": hashlib.sha256(descriptor).hexdigest(), f"{name}.vmdk": disk.sha256(vmdk)}
    manifest = "".join(f"SHA256({file})= {digest}\n" for file, digest in digests.items()).encode()
    with tarfile.open(destination, "x", format=tarfile.USTAR_FORMAT) as archive:
        for file, content in ((f"{name}.ovf", descriptor), (f"{name}.mf", manifest)):
            archive.addfile(_member(file, len(content)), io.BytesIO(content))
        with vmdk.open("rb") as handle:
            archive.addfile(_member(f"{name}.vmdk", vmdk.stat().st_size), handle)


def _member(name: str, size: int) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.size = size
    member.mode = 0o644
    return member


def _item(number: int, kind: int, title: str, **fields: str | int) -> str:
    """One piece of hardware; OVF wants its elements in the order of their names."""
    values = {"ElementName": title, "InstanceID": number, "ResourceType": kind, **fields}
    lines = "".join(f"<rasd:{key}>{escape(str(values[key]))}</rasd:{key}>" for key in sorted(values))
    return f"      <Item>{lines}</Item>\n"


def _hardware(spec: Spec) -> str:
    return "".join(
        (
            _item(1, 3, "CPUs", AllocationUnits="hertz * 10^6", VirtualQuantity=spec.machine.cpus),
            _item(2, 4, "Memory", AllocationUnits="byte * 2^20", VirtualQuantity=spec.machine.memory),
            _item(3, 6, "SCSI controller", Address=0, ResourceSubType="VirtualSCSI"),
            _item(4, 17, "Disk", AddressOnParent=0, HostResource="ovf:/disk/disk", Parent=3),
            _item(
                5,
                10,
                "Network",
                AddressOnParent=7,
                AutomaticAllocation="true",
                Connection="VM Network",
                ResourceSubType="VmxNet3",
            ),
        )
    )


def _descriptor(spec: Spec, name: str, size: int, capacity: int) -> str:
    return f"""<?xml version="1.0" encoding="UTF-8"?>
<Envelope xmlns="http://schemas.dmtf.org/ovf/envelope/1" xmlns:ovf="http://schemas.dmtf.org/ovf/envelope/1"
    xmlns:rasd="{_RASD}" xmlns:vssd="{_VSSD}" xmlns:vmw="http://www.vmware.com/schema/ovf">
  <References>
    <File ovf:id="file" ovf:href={quoteattr(name + ".vmdk")} ovf:size="{size}"/>
  </References>
  <DiskSection>
    <Info>Virtual disks</Info>
    <Disk ovf:diskId="disk" ovf:fileRef="file" ovf:capacity="{capacity}"
        ovf:format="http://www.vmware.com/interfaces/specifications/vmdk.html#streamOptimized"/>
  </DiskSection>
  <NetworkSection>
    <Info>Logical networks</Info>
    <Network ovf:name="VM Network"><Description>The network of the machine</Description></Network>
  </NetworkSection>
  <VirtualSystem ovf:id={quoteattr(spec.name)}>
    <Info>A virtual machine</Info>
    <Name>{escape(spec.name)}</Name>
    <OperatingSystemSection ovf:id="96" vmw:osType="{_GUEST}">
      <Info>{escape(spec.title)}</Info>
    </OperatingSystemSection>
    <ProductSection>
      <Info>What it is</Info>
      <Product>{escape(spec.title)}</Product>
      <Version>{escape(spec.version)}</Version>
    </ProductSection>
    <VirtualHardwareSection>
      <Info>Virtual hardware</Info>
      <System>
        <vssd:ElementName>Virtual Hardware Family</vssd:ElementName>
        <vssd:InstanceID>0</vssd:InstanceID>
        <vssd:VirtualSystemType>{_HARDWARE}</vssd:VirtualSystemType>
      </System>
{_hardware(spec)}\
      <vmw:Config ovf:required="false" vmw:key="firmware" vmw:value="{_FIRMWARE[spec.machine.firmware]}"/>
      <vmw:Config ovf:required="false" vmw:key="bootOptions.efiSecureBootEnabled" vmw:value="false"/>
    </VirtualHardwareSection>
  </VirtualSystem>
</Envelope>
"""
