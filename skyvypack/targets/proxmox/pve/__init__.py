"""Proxmox VE through its API: what the target's registrar is made of. Effects; imported only when it is used."""
