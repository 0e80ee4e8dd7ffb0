"""Why a layer could not be made: what apt, dpkg, mmdebstrap and unshare print, in one sentence with a way out."""

from __future__ import annotations

import re
from collections.abc import Sequence

_MIRROR = "check the network and mirror in the spec; --offline uses the newest layer of the cache"
_SPEC = "check packages in the spec and in its roles; a package may be named otherwise in this Debian release"
_NAMESPACES = "run as root, or let the kernel give ordinary users namespaces (kernel.unprivileged_userns_clone=1)"

# In the order of how much they say: what comes later is often only a consequence of what stands before.
_CAUSES: tuple[tuple[str, str, str], ...] = (
    (r"Unable to locate package (\S+)", "Debian has no package {0}", _SPEC),
    (r"Package '?([^\s']+)'? has no installation candidate", "Debian has no package {0}", _SPEC),
    (
        r"NO_PUBKEY (\S+)",
        "the mirror's signature cannot be checked, its key {0} is not in this host's keyring",
        "install or upgrade debian-archive-keyring",
    ),
    (
        r"The repository '(\S+) .*is not signed",
        "the mirror {0} is not signed by a key of this host's keyring",
        "check mirror in the spec; install or upgrade debian-archive-keyring",
    ),
    (
        r"Release file for (\S+) is expired",
        "the mirror's {0} is expired",
        "set mirror.snapshot if the mirror is one, and check this host's clock",
    ),
    (r"Release file for (\S+) is not valid yet", "the mirror's {0} is of the future", "set this host's clock right"),
    (r"(?:Temporary failure resolving|Could not resolve) '([^']+)'", "cannot find the mirror {0}", _MIRROR),
    (
        r"(?:Could not connect to|Unable to connect to|Connection failed to) ([^\s:]+(?::\d+)?)",
        "cannot reach {0}",
        _MIRROR,
    ),
    (r"Failed to fetch (\S+)\s+(.*)", "cannot fetch {0}: {1}", _MIRROR),
    (r"^\s*(\S+) : (?:Depends|Conflicts|PreDepends): (.+)", "package {0} cannot be installed: it needs {1}", _SPEC),
    (r"dpkg: error processing (?:package|archive) (\S+)", "package {0} failed to install", "see the log above"),
    (
        r"no line matching user \"?([^\"\s]+)\"? in (\S+)",
        "{0} has no range of ids in {1}, so cannot make a layer without root",
        "run as root: usermod --add-subuids 100000-165535 --add-subgids 100000-165535 {0}",
    ),
    (r"(newuidmap|newgidmap): (.*)", "{0} failed: {1}", "check /etc/subuid and /etc/subgid, or run as root"),
    (r"unshare: (.*not permitted.*)", "this host gives no namespaces: {0}", _NAMESPACES),
)


def diagnose(lines: Sequence[str]) -> tuple[str, str] | None:
    """The most telling cause in a failed script's output.

    Args:
        lines: what it printed.

    Returns:
        The cause and a hint, or None when nothing known was printed.
    """
    for pattern, cause, hint in _CAUSES:
        for line in lines:
            found = re.search(pattern, line)
            if found:
                return cause.format(*found.groups()).strip(), hint.format(*found.groups())
    return None
