"""What a booted clone shows of itself, to tell an installed system from a baked one by what runs in it."""

from __future__ import annotations

import re
from pathlib import Path

from skyvypack import seed
from skyvypack.accelerator import choose
from skyvypack.cloudinit import first_boot_user_data
from skyvypack.link import Access
from skyvypack.machine import Machine, wait
from skyvypack.spec import Spec
from skyvypack.spec.model import User

_USER = "skyvy-verify"
_BOOT_SECONDS = 120.0
_KINDS = ("port", "running", "unit file", "active")
# systemctl gives up after 25 s, and a busy host may need longer.
_SCRIPT = r"""
export SYSTEMD_BUS_TIMEOUT=240
sudo ss -Hltunp | awk '{ print "port " $1 " " $5 "\t" $7 }'
sudo sysctl -a 2> /dev/null | sed 's/ = /\t/; s/^/running /'
systemctl list-unit-files --no-legend --plain | awk '{ print "unit file " $1 "\t" $2 }'
systemctl list-units --no-legend --plain --type=service,socket,timer,mount --state=active |
    awk '{ print "active " $1 "\t" $3 }'
"""
# Counters, names and what the kernel makes of the moment, of the memory that is free early in a boot and of the clock;
# nobody sets them, and what a file sets is among the facts that are read offline.
_OF_THE_MOMENT = re.compile(
    r"running (fs\.(dentry|file-nr|inode|quota|epoll|fanotify\.max_user_marks|inotify\.max_user_watches)|"
    r"kernel\.(random\.|ns_last|pty\.nr|hostname|sched_domain|threads-max|perf_event_max_sample_rate|perf_cpu)|"
    r"net\.(netfilter\.nf_conntrack_count|ipv4\.(tcp_fastopen_key|(tcp|udp)_mem))|"
    r"user\.max_|vm\.(min_free|lowmem|user_reserve))"
    r"|active (user|session|run-|systemd-fsck|blockdev)|port udp .*:546|port \S+ \[fe80"
)


def live(name: str, disk: Path, spec: Spec, folder: Path) -> dict[str, str]:
    """Listening ports with their programs, kernel settings and units of a clone of a disk, by what they are about."""
    folder.mkdir()
    key, public = seed.keypair(folder)
    user_data = first_boot_user_data(spec, hostname="clone", users=(User(_USER, (public,), sudo=True),))
    disc = seed.make(folder, user_data, "instance-id: clone\nlocal-hostname: clone\n")
    accelerator = choose(None, cache=folder)
    with Machine(
        name, disk, folder / "machine", accelerator=accelerator, access=Access(_USER, key, 22), seed=disc
    ) as machine:
        wait(machine.connecting(_BOOT_SECONDS))
        wait(machine.settling(_BOOT_SECONDS))
        lines = machine.run(_SCRIPT, timeout=600.0).stdout.splitlines()
    # Two machines that tell nothing do not differ either.
    assert all(any(line.startswith(f"{kind} ") for line in lines) for kind in _KINDS)
    facts = dict(line.partition("\t")[::2] for line in lines if not _OF_THE_MOMENT.match(line))
    return {about: re.sub(r"(pid|fd)=\d+", r"\1", value) for about, value in facts.items()}
