"""A contract without a check."""
