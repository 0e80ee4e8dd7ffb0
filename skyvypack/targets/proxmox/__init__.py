"""The target proxmox: templates of a Proxmox VE cluster."""

DATASOURCES = ("NoCloud", "ConfigDrive", "None")
AGENT = "qemu-guest-agent"
