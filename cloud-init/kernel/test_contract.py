"""The contract of role kernel."""

import re

import pytest

FILE = "/etc/sysctl.d/99-skyvyos-security.conf"


@pytest.fixture(scope="module")
def wanted(host):
    lines = host.check_output(f"grep -E '^[a-z]' {FILE}").splitlines()
    return {key.strip(): value.split() for key, _, value in (line.partition("=") for line in lines)}


@pytest.mark.requirement("KRN-1", "RES-1", "COR-1")
def test_every_key_of_the_file_is_live(host, wanted, roles):
    """The kernel has every value of the file, after everything that boots has had its chance to change it."""
    assert "docker" not in roles or host.service("docker").is_running
    output = host.check_output(f"sysctl -e {' '.join(wanted)}").splitlines()
    live = {key.strip(): value.split() for key, _, value in (line.partition("=") for line in output)}
    assert live == wanted


@pytest.mark.requirement("KRN-1", "RES-1")
def test_the_file_protects_what_it_must(wanted, settings):
    """The keys that the requirements name are in the file."""
    must = {
        "net.ipv4.ip_forward": "1" if settings["ip_forward"] else "0",
        "net.ipv4.tcp_syncookies": "1",
        "net.ipv4.conf.all.rp_filter": str(settings["reverse_path_filter"]),
        "net.ipv4.conf.all.accept_redirects": "0",
        "net.ipv4.conf.all.accept_source_route": "0",
        "net.ipv6.conf.all.accept_redirects": "0",
        "net.ipv4.icmp_echo_ignore_broadcasts": "1",
        "kernel.yama.ptrace_scope": "1",
        "kernel.kptr_restrict": "2",
        "kernel.dmesg_restrict": "1",
        "kernel.unprivileged_bpf_disabled": "1",
        "fs.protected_hardlinks": "1",
        "fs.protected_symlinks": "1",
        "fs.suid_dumpable": "0",
        "vm.swappiness": str(settings["swappiness"]),
    }
    must |= {key.replace("/", "."): str(value) for key, value in settings["sysctl"].items()}
    assert {key: " ".join(wanted.get(key, [])) for key in must} == must


@pytest.mark.requirement("KRN-1")
def test_blocked_modules_do_not_load(host, settings):
    """Asked for a module that is blocked, modprobe does nothing, and says so."""
    names = settings["blocked_modules"]
    # What the module needs is loaded, then its own line, the last one, is a command in its place.
    script = f"for name in {' '.join(names)}; do modprobe --show-depends $name | tail -n 1; done"
    plans = host.check_output(script).splitlines()
    assert [plan.strip() for plan in plans] == ["install /bin/true"] * len(names)


@pytest.mark.requirement("KRN-1")
def test_no_program_runs_from_shared_memory(host):
    """/dev/shm takes data only."""
    assert "noexec" in host.check_output("findmnt -no OPTIONS /dev/shm").split(",")


@pytest.mark.requirement("RES-2", "COR-1")
def test_limits_hold_for_logins_and_services(host, settings):
    """Processes, open files and cores are limited in this login and in a service started now."""
    wanted = [str(settings["max_processes"]), str(settings["max_open_files"]), "0"]
    show = "; ".join(f"prlimit --{kind} -o HARD --noheadings" for kind in ("nproc", "nofile", "core"))
    service = host.check_output(f"systemd-run --quiet --pipe --wait sh -c '{show}'").split()
    login = host.check_output(f"su - nobody -s /bin/sh -c '{show}'").split()
    assert service == wanted
    assert login == wanted


@pytest.mark.once
@pytest.mark.requirement("COR-1")
def test_a_crash_leaves_no_core(host):
    """A program that is killed by a segmentation fault leaves no file, whatever its limit."""
    script = """
        folder=$(mktemp -d) && cd $folder
        sh -c 'ulimit -c unlimited 2>/dev/null; kill -SEGV $$' || :
        ls -A; cd / && rm -rf $folder; find /var/lib/systemd/coredump -type f 2>/dev/null || :
    """
    assert host.check_output(script) == ""
    coredump = host.check_output("cat /etc/systemd/coredump.conf.d/skyvyos.conf")
    assert re.search("^Storage=none$", coredump, re.M)
