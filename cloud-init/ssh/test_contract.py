"""The contract of role ssh."""
