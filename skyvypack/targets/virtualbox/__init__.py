"""The target virtualbox: appliances of VirtualBox."""

DATASOURCES = ("NoCloud", "OVF", "None")
