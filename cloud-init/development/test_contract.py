"""The contract of role development."""

import pytest


@pytest.mark.once
@pytest.mark.requirement("TLS-1")
def test_a_program_is_built_from_a_makefile(host):
    """make, gcc, g++ and pkg-config work together."""
    script = """
        set -e
        folder=$(mktemp -d)
        trap 'rm -rf $folder' EXIT
        cd $folder
        echo '#include <stdio.h>\nint main(void) { return puts("built") < 0; }' >hello.c
        make -s hello
        ./hello
        g++ --version | head -n 1
        pkg-config --version
    """
    assert host.check_output(script).split()[0] == "built"


@pytest.mark.once
@pytest.mark.requirement("TLS-1")
def test_git_keeps_a_change(host):
    """A commit can be made and read back."""
    script = """
        set -e
        folder=$(mktemp -d)
        trap 'rm -rf $folder' EXIT
        git init -q $folder
        git -C $folder -c user.name=a -c user.email=a@example.org commit -q --allow-empty -m kept
        git -C $folder log --format=%s
    """
    assert host.check_output(script) == "kept"


@pytest.mark.once
@pytest.mark.requirement("TLS-1")
def test_editor_and_http_client_are_there(host):
    """vim and curl run."""
    assert host.run("vim --version && curl --version").rc == 0
