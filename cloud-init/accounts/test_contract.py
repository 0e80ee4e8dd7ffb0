"""The contract of role accounts."""
