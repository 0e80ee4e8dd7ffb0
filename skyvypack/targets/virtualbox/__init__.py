"""The target virtualbox: appliances of VirtualBox."""

DATASOURCES = ("NoCloud", "OVF", "None")
# VirtualBox takes paravirtual SCSI for LSI Logic (ApplianceImplImport.cpp), which trixie's kernel for clouds has no
# driver for. It knows VMware's names of the others.
APPLIANCE = {"controller": "sata", "network_card": "e1000"}
