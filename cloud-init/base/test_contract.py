"""The contract of role base."""
