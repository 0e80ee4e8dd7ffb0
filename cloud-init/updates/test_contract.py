"""The contract of role updates."""
