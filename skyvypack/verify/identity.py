"""What makes a clone somebody's own machine: read from inside, and compared."""

from __future__ import annotations

import json
import shlex
from typing import Protocol

from skyvypack.command import Done
from skyvypack.errors import ContractFailed
from skyvypack.targets import datasources

# What must differ between clones; all but the random seed must also survive a reboot.
_IDENTITY = r"""
emit() { printf '%s\t%s\n' "$1" "$2"; }
emit machine-id "$(cat /etc/machine-id)"
emit hostname "$(hostname)"
for file in /etc/ssh/ssh_host_*_key.pub; do [ -e "$file" ] && emit "$file" "$(cut -d' ' -f2 "$file")"; done
for file in /etc/ssl/private/* /etc/*/tls/*.key /etc/*/tls/*.crt; do
    [ -f "$file" ] && emit "$file" "$(sha256sum < "$file")"
done
file=/var/lib/systemd/random-seed; [ -e $file ] && emit $file "$(sha256sum < $file)"
true
"""
_CHANGES = "/var/lib/systemd/random-seed"


class Shell(Protocol):
    """What runs commands in a guest: a `Machine` or a `Link`."""

    def run(self, script: str) -> Done:
        """Run a shell command as an account with sudo."""
        ...


def require_cloud_init(guest: Shell, target: str) -> None:
    """Insist that cloud-init found its data where the target keeps it, and had no error.

    Raises:
        ContractFailed: it did not.
    """
    # The file and not `cloud-init status`, which takes ten seconds of an emulated machine to read it.
    result = json.loads(guest.run("sudo cat /run/cloud-init/result.json").stdout)["v1"]
    if result["errors"]:
        raise ContractFailed("cloud-init: " + "; ".join(map(str, result["errors"])))
    wanted = [f"DataSource{name}" for name in datasources(target) if name != "None"]
    if not any(name in str(result["datasource"]) for name in wanted):
        raise ContractFailed(f"cloud-init did not read the user-data, but {result['datasource']}")


def read_identity(guest: Shell) -> dict[str, str]:
    """Everything that must be a clone's own, by name.

    Raises:
        ContractFailed: something of it is missing.
    """
    lines = guest.run(f"sudo sh -c {shlex.quote(_IDENTITY)}").stdout.splitlines()
    found = dict(line.split("\t", 1) for line in lines)
    if empty := [name for name, value in found.items() if not value.strip()]:
        raise ContractFailed(f"the clone has no {', '.join(empty)}")
    if not any("ssh_host" in name for name in found):
        raise ContractFailed("the clone has no SSH host key")
    return found


def require_same(before: dict[str, str], after: dict[str, str]) -> None:
    """Insist that a reboot changed nothing of an identity.

    Raises:
        ContractFailed: it did.
    """
    changed = [name for name, value in before.items() if name != _CHANGES and after.get(name) != value]
    if changed:
        raise ContractFailed(f"after a reboot the clone has another {', '.join(changed)}")
