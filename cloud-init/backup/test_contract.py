"""The contract of role backup."""

import pytest

BEGIN = """
    set -e
    folder=$(mktemp -d)
    trap 'rm -rf $folder' EXIT
    export HOME=$folder BORG_BASE_DIR=$folder
    mkdir $folder/data
    echo kept >$folder/data/file
"""


@pytest.mark.once
@pytest.mark.requirement("TLS-1")
def test_borg_saves_and_restores(host):
    """What went into an archive comes out of it."""
    script = "cd $folder; borg init -e none repo; borg create repo::one data; rm -r data; borg extract repo::one"
    assert host.check_output(f"{BEGIN} {script}; cat data/file") == "kept"


@pytest.mark.once
@pytest.mark.requirement("TLS-1")
def test_duplicity_saves_and_restores(host):
    """What went into a backup comes out of it."""
    script = "duplicity full --no-encryption $folder/data file://$folder/backup >/dev/null"
    script += "; duplicity restore --no-encryption file://$folder/backup $folder/out >/dev/null"
    assert host.check_output(f"{BEGIN} {script}; cat $folder/out/file") == "kept"


@pytest.mark.once
@pytest.mark.requirement("TLS-1")
def test_rsync_copies(host):
    """A folder is copied."""
    assert host.check_output(f"{BEGIN} rsync -a $folder/data/ $folder/copy/; cat $folder/copy/file") == "kept"
