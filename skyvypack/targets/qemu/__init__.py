"""The target qemu: disk files, baked on this machine."""

BUILDER = "qemu"
DATASOURCES = ("NoCloud", "ConfigDrive", "None")
