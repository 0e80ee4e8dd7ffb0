"""The target hyperv: disks of Hyper-V."""

DATASOURCES = ("NoCloud", "ConfigDrive", "None")
