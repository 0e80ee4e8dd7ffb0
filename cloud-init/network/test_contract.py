"""The contract of role network."""
