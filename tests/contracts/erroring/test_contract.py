"""A contract that cannot be imported."""

import no_such_module_anywhere  # noqa: F401


def test_is_never_reached():
    pass
