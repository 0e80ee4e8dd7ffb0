"""The contract of role apparmor."""

import json

import pytest


@pytest.mark.requirement("AA-1")
def test_profiles_are_loaded_and_enforced(host, settings, roles):
    """AppArmor is on; profiles are enforced; nothing that has a profile runs without it."""
    assert host.check_output("cat /sys/module/apparmor/parameters/enabled") == "Y"
    status = json.loads(host.check_output("aa-status --json"))
    enforced = {name for name, mode in status["profiles"].items() if mode == "enforce"}
    assert enforced
    if "docker" in roles:
        assert "docker-default" in enforced
    processes = [process for found in status["processes"].values() for process in found]
    assert [process for process in processes if process["status"] != "enforce"] == []
    for profile in settings["disable"]:
        assert host.file(f"/etc/apparmor.d/disable/{profile}").is_symlink


@pytest.mark.once
@pytest.mark.requirement("AA-1")
def test_a_profile_really_confines(host):
    """A program cannot read any more what a profile denies it."""
    script = """
        folder=$(mktemp -d /var/tmp/skyvyos-contract.XXXXXX)
        trap 'apparmor_parser -R $folder/profile; rm -rf $folder' EXIT
        echo readable >$folder/file
        cp /bin/cat $folder/cat
        echo "profile skyvyos-contract $folder/cat { /** mr, deny $folder/file r, }" >$folder/profile
        $folder/cat $folder/file
        apparmor_parser -a $folder/profile
        $folder/cat $folder/file 2>&1
    """
    before, after = host.run(script).stdout.splitlines()
    assert before == "readable"
    assert "Permission denied" in after
