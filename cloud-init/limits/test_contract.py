"""The contract of role limits."""

import pytest


@pytest.mark.requirement("RES-3")
def test_what_the_machine_cannot_do_without_is_spared(host, roles):
    """The OOM killer looks for another victim than these processes."""
    units = ["ssh", "systemd-journald", "systemd-networkd", "systemd-resolved", "systemd-logind"]
    units += ["docker", "containerd"] if "docker" in roles else []
    units += ["nginx"] if "nginx" in roles else []
    units += ["rsyslog"] if "logging" in roles else []
    script = "for unit; do cat /proc/$(systemctl show -P MainPID $unit.service)/oom_score_adj; done"
    scores = [int(score) for score in host.check_output(f"set -- {' '.join(units)}; {script}").split()]
    assert [unit for unit, score in zip(units, scores, strict=True) if score >= 0] == []


@pytest.mark.requirement("RES-2", "COR-1")
def test_services_of_users_have_the_limits_too(host, roles, clone):
    """The user's own systemd gives its services the limits of the role kernel."""
    kernel = roles["kernel"]
    script = f"""
        uid=$(id -u {clone.user})
        systemctl start user@$uid.service
        runuser -u {clone.user} -- env XDG_RUNTIME_DIR=/run/user/$uid \\
            systemctl --user show -p DefaultLimitCORE,DefaultLimitNOFILE,DefaultLimitNPROC
    """
    shown = host.check_output(script)
    assert set(shown.split()) == {
        "DefaultLimitCORE=0",
        f"DefaultLimitNOFILE={kernel['max_open_files']}",
        f"DefaultLimitNPROC={kernel['max_processes']}",
    }


@pytest.mark.once
@pytest.mark.requirement("RES-2")
def test_the_limit_of_open_files_is_where_it_should_be(host, roles):
    """A service cannot open as many files as the limit says, and can open some hundred fewer."""
    most = roles["kernel"]["max_open_files"]
    opening = "import os\nfor n in range({}): os.open('/dev/null', os.O_RDONLY)"
    for files, works in ((most - 500, True), (most + 1, False)):
        command = f'python3 -c "{opening.format(files)}"'
        done = host.run(f"systemd-run --quiet --pipe --wait --collect {command}")
        assert (done.rc == 0) == works, done.stderr
        assert works or "Too many open files" in done.stderr
