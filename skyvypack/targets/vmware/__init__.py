"""The target vmware: machines of VMware Workstation, Fusion and Player."""

DATASOURCES = ("VMware", "OVF", "NoCloud", "None")
AGENT = "open-vm-tools"
