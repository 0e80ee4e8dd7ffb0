"""The target vsphere: templates of a vCenter."""

DATASOURCES = ("VMware", "OVF", "NoCloud", "None")
AGENT = "open-vm-tools"
