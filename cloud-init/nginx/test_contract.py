"""The contract of role nginx."""
