"""The contract of role permissions."""

import pytest

WANTED = {
    "/etc/passwd": "644 root:root",
    "/etc/group": "644 root:root",
    "/etc/shadow": "640 root:shadow",
    "/etc/gshadow": "640 root:shadow",
    "/etc/crontab": "600 root:root",
    "/etc/cron.d": "700 root:root",
    "/etc/cron.hourly": "700 root:root",
    "/etc/cron.daily": "700 root:root",
    "/etc/cron.weekly": "700 root:root",
    "/etc/cron.monthly": "700 root:root",
    "/etc/ssh/sshd_config": "600 root:root",
    "/etc/sudoers": "440 root:root",
    "/etc/default/grub": "600 root:root",
    "/boot/grub/grub.cfg": "600 root:root",
    "/root": "700 root:root",
}


@pytest.mark.requirement("FS-1")
def test_sensitive_files_are_not_for_everybody(host):
    """Accounts, scheduled tasks, sshd's and the boot loader's configuration have the owner and mode they should."""
    shown = host.check_output(f"stat -c '%n %a %U:%G' {' '.join(WANTED)}").splitlines()
    assert dict(line.split(" ", 1) for line in shown) == WANTED
    assert host.check_output("find /etc/ssh/sshd_config.d /etc/sudoers.d -type f -perm /027") == ""


@pytest.mark.requirement("FS-1")
def test_homes_are_closed_to_others(host):
    """Every home folder is 0750 or less and belongs to its account."""
    for line in host.check_output("find /home -mindepth 1 -maxdepth 1 -printf '%f %m %u\n'").splitlines():
        name, mode, owner = line.split()
        assert int(mode, 8) & 0o027 == 0, line
        assert owner == name


@pytest.mark.once
@pytest.mark.requirement("FS-1")
def test_nothing_is_writable_by_everybody_or_belongs_to_nobody(host):
    """No world-writable file, no such folder without the sticky bit, and no file without an owner."""
    # What is in an image of Docker's is the image's. Owners are compared here: find asks for the name of each file's
    # owner, or compares each with every number that it is given.
    skipped = "find / -xdev \\( -path /var/lib/docker -o -path /var/lib/containerd \\) -prune -o"
    script = f"""
        {{ {skipped} \\( -type f -perm -0002 -o -type d -perm -0002 ! -perm -1000 \\) -printf 'open %p\n' \\
            -o -printf '%U %G\n' || echo incomplete; }} | awk '!seen[$0]++'
    """
    users, groups = (numbers(host, database) for database in ("passwd", "group"))
    foreign = []
    lines = host.check_output(script).splitlines()
    assert "0 0" in lines, "nothing was looked at"
    assert "incomplete" not in lines, "not everything could be looked at"
    for line in lines:
        first, _, rest = line.partition(" ")
        assert first != "open", f"writable by everybody: {rest}"
        if first not in users or rest not in groups:
            foreign.append(f"-uid {first} -gid {rest}")
    assert not foreign, host.check_output(f"{skipped} \\( {' -o '.join(foreign)} \\) -print | head -n 20")


def numbers(host, database):
    """The numbers of all accounts or groups."""
    return {line.split(":")[2] for line in host.check_output(f"getent {database}").splitlines()}
