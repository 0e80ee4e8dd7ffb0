"""The target hyperv: disks of Hyper-V."""

DATASOURCES = ("NoCloud", "ConfigDrive", "None")
AGENT = "hyperv-daemons"
