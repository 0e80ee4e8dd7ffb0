"""What `scan` looks for: where only a build leaves files, and what files must not say.

A path rule's pattern is matched against a whole path; a folder's path ends in a slash there, and an empty file is
never matched. If the pattern has a group, that folder is what is reported, once for everything in it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

BUILD_ACCOUNT = "packer"

Spared = Literal["nothing", "packages", "packages and roles"]

_LOCKED = ("!", "*", "!*", "!!")


@dataclass(frozen=True, slots=True)
class PathRule:
    """A place where nothing may be.

    Args:
        what: what lies there, for the finding.
        pattern: of the whole path.
        spared: whose files may be there all the same.
    """

    what: str
    pattern: re.Pattern[str]
    spared: Spared = "nothing"


@dataclass(frozen=True, slots=True)
class TextRule:
    """Something that a file must not say.

    Args:
        what: what it says, for the finding.
        path: pattern of the whole paths of the files to read.
        text: what is looked for in them.
        spared: whose files may say it all the same.
    """

    what: str
    path: re.Pattern[str]
    text: re.Pattern[str]
    spared: Spared = "nothing"


def _path(what: str, *patterns: str, spared: Spared = "nothing") -> PathRule:
    return PathRule(what, re.compile("|".join(patterns), re.DOTALL), spared)


_HISTORIES = r"bash|zsh|sh|ash|dash|fish|ksh|python|node_repl|mysql|mariadb|psql|sqlite|rediscli|mongo|lua|irb|php"
_SECRETS = (
    r"\.netrc|\.git-credentials|\.pypirc|\.pgpass|\.my\.cnf|\.s3cfg|\.vault-token|\.aws/credentials|\.azure/[^/]+"
    r"|\.docker/config\.json|\.kube/config|\.config/gh/hosts\.yml|\.config/gcloud/[^/]+"
)
_ACCOUNT_PLACES = (
    r"home|var/mail|var/spool/mail|var/spool/cron/crontabs|var/lib/sudo/(?:lectured|ts)|var/lib/systemd/linger"
)

# The first rule that matches a path is the one that is reported.
PATH_RULES: tuple[PathRule, ...] = (
    _path("of the build account", rf"(/(?:{_ACCOUNT_PLACES})/{BUILD_ACCOUNT})(?:/.*)?"),
    _path("SSH host key", r"/etc/ssh/ssh_host_[^/]+"),
    _path("authorized key", r".*/authorized_keys2?", r"/etc/ssh/authorized_keys(?:\.d)?/[^/]+"),
    _path(
        "DHCP lease",
        r"/var/lib/(?:dhcp|dhclient|dhcpcd|systemd/network)/.*[^/]",
        r"/run/systemd/netif/.*[^/]",
        r"/var/lib/NetworkManager/[^/]*lease[^/]*",
    ),
    _path("state of cloud-init", r"(/var/lib/cloud/instances/[^/]+)/.*", r"/run/cloud-init/.*[^/]"),
    _path("state of cloud-init", r"/var/lib/cloud/.*[^/]", spared="packages and roles"),
    _path(
        "network configuration that cloud-init wrote",
        r"/etc/netplan/50-cloud-init\.yaml",
        r"/etc/systemd/network/\d+-cloud-init-[^/]+",
        r"/etc/network/interfaces\.d/50-cloud-init[^/]*",
        r"/etc/NetworkManager/system-connections/cloud-init-[^/]+",
        r"/etc/udev/rules\.d/70-persistent-net\.rules",
        spared="packages and roles",
    ),
    _path(
        "backup of the accounts",
        r"/etc/(?:passwd|shadow|group|gshadow|subuid|subgid)[-~]",
        r"/var/backups/(?:passwd|shadow|group|gshadow)\.bak",
    ),
    _path("seed or secret of this one machine", r"/var/lib/systemd/(?:random-seed|credential\.secret)"),
    _path("identity of this one machine", r"/etc/docker/key\.json", r"/var/lib/dbus/machine-id"),
    _path("history", rf".*/\.(?:{_HISTORIES})_history", r".*/\.(?:lesshst|viminfo|wget-hsts)", r".*/fish_history"),
    _path("credentials", rf".*/(?:{_SECRETS})", spared="packages"),
    _path("credentials", r"/etc/apt/auth\.conf(?:\.d/[^/]+)?", r"/etc/letsencrypt/(?:accounts|archive|keys)/.*[^/]"),
    _path("TLS key of no package", r"/etc/(?:ssl/private/.*[^/]|[^/]+/tls/.*\.key)", spared="packages"),
    _path("sudoers entry of no role or package", r"/etc/sudoers\.d/.*[^/]", spared="packages and roles"),
    _path("apt's lists or downloads", r"/var/lib/apt/lists/.*[^/]", r"/var/cache/apt/(?:.*\.deb|[^/]*\.bin)"),
    _path("core dump", r".*/core(?:\.\d+)?", spared="packages"),
    _path("core dump", r"/var/(?:crash|lib/systemd/coredump)/.*[^/]"),
    _path("journal of the build", r"(/var/log/journal/[^/]+)/.*"),
    _path("log of the build", r"/var/log/.*[^/]", spared="packages and roles"),
    _path("left in a temporary folder", r"/(?:var/)?tmp/.*[^/]"),
    _path("left in root's home", r"/root/(?!\.bashrc$|\.profile$).*[^/]", spared="packages and roles"),
)

TEXT_RULES: tuple[TextRule, ...] = (
    TextRule(
        "password in a URL",
        re.compile(r"/etc/apt/.*|/etc/(?:environment|npmrc|pip\.conf|wgetrc|gitconfig)", re.DOTALL),
        re.compile(r"://[^/\s:@]+:[^/\s@]+@"),
    ),
    TextRule("token of npm", re.compile(r".*/\.?npmrc"), re.compile(r"_(?:auth(?:Token)?|password)\s*="), "packages"),
    TextRule(
        "password in debconf", re.compile(r"/var/cache/debconf/passwords\.dat"), re.compile(r"^Value: \S", re.MULTILINE)
    ),
    TextRule(
        "name servers of the build",
        re.compile(r"/etc/resolv\.conf|/etc/\.resolv\.conf\.systemd-resolved\.bak"),
        re.compile(r"^\s*(?:nameserver|search|domain)\s", re.MULTILINE),
        "packages and roles",
    ),
)

_ACCOUNTS = re.compile(r"/etc/(?:passwd|shadow|group|gshadow|subuid|subgid)")
_SUDOERS = re.compile(r"/etc/sudoers(?:\.d/[^/]+)?")


def is_read(path: str) -> bool:
    """True when some rule asks for this file's content."""
    return (
        path == "/etc/machine-id"
        or any(pattern.fullmatch(path) for pattern in (_ACCOUNTS, _SUDOERS))
        or any(rule.path.fullmatch(path) for rule in TEXT_RULES)
    )


def inspect(path: str, text: str, placed: str) -> Iterator[str]:
    """What is wrong with a file whose format is known.

    Args:
        path: of the file.
        text: what it says.
        placed: the text that a role gave it, empty when no role did.
    """
    if path == "/etc/machine-id" and text.strip() not in ("", "uninitialized"):
        yield "machine id"
    if _ACCOUNTS.fullmatch(path):
        yield from _accounts(path, [line.split(":") for line in text.splitlines()])
    if _SUDOERS.fullmatch(path):
        allowed = frozenset(placed.splitlines())
        for line in text.splitlines():
            if line not in allowed and not line.lstrip().startswith("#"):
                yield from _sudoers(line)


def _accounts(path: str, lines: list[list[str]]) -> Iterator[str]:
    for fields in lines:
        if BUILD_ACCOUNT in fields[0:1] or (path in ("/etc/group", "/etc/gshadow") and _is_member(fields)):
            yield "build account"
        yield from _password(path, fields)


def _is_member(fields: list[str]) -> bool:
    return any(BUILD_ACCOUNT in field.split(",") for field in fields[2:])


def _password(path: str, fields: list[str]) -> Iterator[str]:
    if len(fields) < 2 or path in ("/etc/subuid", "/etc/subgid"):
        return
    name, password = fields[:2]
    if not password and path in ("/etc/passwd", "/etc/shadow"):
        yield f"no password needed for {name}"
    elif password and password not in (*_LOCKED, "x"):
        yield f"password hash of {name}"


def _sudoers(line: str) -> Iterator[str]:
    if "NOPASSWD" in line:
        yield f"sudo without a password: {line.strip()}"
    elif re.search(rf"\b{BUILD_ACCOUNT}\b", line):
        yield f"sudo for the build account: {line.strip()}"
