"""These are data: contracts that test_verify.py hands to a child pytest, never tests of this suite."""

collect_ignore_glob = ["*"]
