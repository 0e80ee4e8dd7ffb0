"""The contract of role kernel."""
