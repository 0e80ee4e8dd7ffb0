"""The contract of role logging."""
