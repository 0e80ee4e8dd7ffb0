"""The contract of role firewall."""
