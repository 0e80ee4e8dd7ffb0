"""The contract of role python."""

import pytest


@pytest.mark.once
@pytest.mark.requirement("PY-1")
def test_python_is_new_enough_and_has_its_tools(host):
    """Python 3.11 or later with pip and setuptools."""
    script = "import sys, setuptools; print(*sys.version_info[:2], setuptools.__version__ > '')"
    major, minor, tools = host.check_output(f'python3 -c "{script}"').split()
    assert (int(major), int(minor)) >= (3, 11)
    assert tools == "True"
    assert host.run("python3 -m pip --version").rc == 0


@pytest.mark.once
@pytest.mark.requirement("PY-1")
def test_an_environment_can_be_made(host):
    """venv makes one, and the wheel that gives it a pip of its own is there."""
    script = """
        folder=$(mktemp -d)
        trap 'rm -rf $folder' EXIT
        python3 -m venv --without-pip $folder
        $folder/bin/python -c 'import ensurepip, sys; print(sys.prefix != sys.base_prefix, ensurepip.version())'
    """
    inside, version = host.check_output(script).split()
    assert inside == "True"
    assert version[0].isdigit()
