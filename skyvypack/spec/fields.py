"""The rules of a spec's fields, for Cerberus and for the JSON Schema."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Mapping
from typing import Any

from skyvypack.role_folders import ORIGINS, PACKAGE_NAME, RELEASES, ROLE_NAME
from skyvypack.rules import Rule, shown
from skyvypack.spec.keys import wrong_with_key

BASE_KINDS = ("bootstrap", "cloud-image", "iso", "clone")
SIZE = r"[0-9]+ ?[MGT](iB)?"
_MEBIBYTES = {"M": 1, "G": 1024, "T": 1024 * 1024}
_ACCOUNT = r"[a-z_][a-z0-9_-]{0,31}"
# Made or locked by the system itself: an entry for them would open what the template closes.
_RESERVED_ACCOUNTS = ("root", "packer")
_URL = r"[^\s'\"`\\$]+"


def size(unit: str) -> Callable[[Any], Any]:
    """A coercion of sizes such as ``2G`` to whole `unit` (``MiB`` or ``GiB``); raises ValueError in words."""

    def convert(value: Any) -> Any:
        if not isinstance(value, str):
            return value
        if not re.fullmatch(SIZE, value):
            raise ValueError(f"{shown(value)} is no size: write a number of {unit}, or such as 512M, 8G, 1T")
        number, power = re.split(r" ?(?=[MGT])", value.removesuffix("iB"))
        mebibytes = int(number[:15]) * _MEBIBYTES[power]
        whole, rest = divmod(mebibytes, _MEBIBYTES[unit[0]])
        if rest:
            raise ValueError(f"{shown(value)} is not a whole number of {unit}")
        return whole

    return convert


def _public_key(_field: str, value: Any, error: Callable[[Any, str], None]) -> None:
    wrong = wrong_with_key(value) if isinstance(value, str) else ""
    if wrong:
        error(_field, wrong)


def _account(field: str, value: str, error: Callable[[str, str], None]) -> None:
    if value in _RESERVED_ACCOUNTS:
        error(field, f"the account {value} belongs to the system; give the user another name")


def _one_role(field: int, value: Mapping[str, Any], error: Callable[[int, str], None]) -> None:
    if len(value) != 1:
        error(field, "an item names one role; its settings are indented below its name")


def _no_password(field: str, value: Any, error: Callable[[str, str], None]) -> None:
    # Cerberus asks also when the value is no text, and tells that itself.
    if isinstance(value, str) and re.match(r"[a-z+]+://[^/@]*:[^/@]*@", value, re.IGNORECASE):
        error(field, "a URL must not hold a password: it would stand in the bundle and the manifest")


def _ip_address(field: str, value: str, error: Callable[[str, str], None]) -> None:
    try:
        ipaddress.IPv4Address(value)
    except ValueError:
        error(field, f"{value} is no IPv4 address")


def _ip_interface(field: str, value: str, error: Callable[[str, str], None]) -> None:
    try:
        ipaddress.IPv4Interface(value)
    except ValueError:
        error(field, f"{value} is no IPv4 address with its prefix")


def _url(doc: str, pattern: str = _URL) -> Rule:
    return {"type": "string", "regex": pattern, "check_with": _no_password, "doc": doc}


_MIRROR_URL = r"(https?|ftp|file|copy):/" + _URL

_USER: Rule = {
    "type": "dict",
    "schema": {
        "name": {
            "type": "string",
            "required": True,
            "regex": _ACCOUNT,
            "check_with": _account,
            "doc": "login name: lower-case letters, digits, hyphens and underscores, at most 32, no digit first",
        },
        "ssh_authorized_keys": {
            "type": "list",
            "schema": {"type": "string", "check_with": _public_key},
            "doc": "OpenSSH public keys, one for each item",
        },
        "groups": {
            "type": "list",
            "schema": {"type": "string", "regex": _ACCOUNT, "doc": "name of a group"},
            "doc": "further groups",
        },
        "sudo": {"type": "boolean", "doc": "true for sudo without a password"},
        "shell": {"type": "string", "regex": r"/[A-Za-z0-9._/-]+", "doc": "login shell, an absolute path"},
        "gecos": {"type": "string", "regex": r"[^:\n,]*", "doc": "full name, without colon and comma"},
    },
}

_FILE: Rule = {
    "type": "dict",
    "schema": {
        "path": {
            "type": "string",
            "required": True,
            "regex": r"/([^/\s]+/)*[^/\s]+",
            "doc": "in the guest: an absolute path of a file",
        },
        "content": {"type": "string", "doc": "its text"},
        "source": {"type": "string", "empty": False, "doc": "a text file to take it from, relative to the spec"},
        "mode": {"type": "string", "regex": "[0-7]{3,4}", "default": "0644", "doc": "octal, in quotes"},
        "owner": {
            "type": "string",
            "regex": rf"{_ACCOUNT}:{_ACCOUNT}",
            "default": "root:root",
            "doc": "user:group; both are there by then",
        },
    },
}

_BASE: Rule = {
    "type": "dict",
    "short": "kind",
    "doc": "what a bake starts from",
    "schema": {
        "kind": {
            "type": "string",
            "required": True,
            "allowed": list(BASE_KINDS),
            "doc": "bootstrap (mmdebstrap), cloud-image (a Debian qcow2), iso (the installer) or clone (a template)",
        },
        "url": _url("of the image or ISO: a path, or a URL that Packer can read"),
        "checksums": _url("URL of the SHA512SUMS or SHA256SUMS that lists the file"),
        "checksum": {
            "type": "string",
            "regex": r"sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128}",
            "doc": "of the file: sha256: or sha512: and the digest in lower-case hexadecimal",
        },
        "source": {"type": "string", "regex": r"[^\s'\"]+", "doc": "name or id of the template to clone"},
    },
}

_MACHINE: Rule = {
    "type": "dict",
    "doc": "the virtual machine of the bake, and the defaults of its template",
    "schema": {
        "cpus": {"type": "integer", "min": 1, "max": 256, "doc": "virtual CPUs"},
        "memory": {
            "type": "integer",
            "coerce": size("MiB"),
            "min": 512,
            "max": 4 * 1024 * 1024,
            "unit": "MiB",
            "doc": "MiB, or such as 2G",
        },
        "disk": {
            "type": "integer",
            "coerce": size("GiB"),
            "min": 4,
            "max": 64 * 1024,
            "unit": "GiB",
            "doc": "GiB, or such as 8G",
        },
        "firmware": {
            "type": "string",
            "allowed": ["bios", "uefi"],
            "doc": "what the registered template boots with; the disk boots with both",
        },
    },
}

_ADDRESS = r"[0-9]{1,3}(\.[0-9]{1,3}){3}"

_NETWORK: Rule = {
    "type": "dict",
    "doc": "network of the installer and of the machine it leaves; DHCP without an address",
    "schema": {
        "interface": {
            "type": "string",
            "regex": r"[A-Za-z0-9._-]{1,15}",
            "doc": "name of the network card; without it the first one with a link",
        },
        "address": {
            "type": "string",
            "regex": _ADDRESS + r"/[0-9]{1,2}",
            "check_with": _ip_interface,
            "doc": "IPv4 address and prefix, such as 192.0.2.10/24",
        },
        "gateway": {
            "type": "string",
            "regex": _ADDRESS,
            "check_with": _ip_address,
            "doc": "IPv4 address of the default route",
        },
        "nameservers": {
            "type": "list",
            "schema": {"type": "string", "regex": _ADDRESS, "check_with": _ip_address},
            "doc": "IPv4 addresses",
        },
    },
}

_INSTALLER: Rule = {
    "type": "dict",
    "doc": "how Debian's installer sets up a machine: for base iso, and for the verb iso",
    "schema": {
        "locale": {
            "type": "string",
            "regex": r"[a-z]{2,3}_[A-Z]{2}\.UTF-8",
            "doc": "of the installer's messages, such as de_AT.UTF-8; the system's is a setting of the role base",
        },
        "keyboard": {"type": "string", "regex": r"[a-z]{2,8}(\([a-z-]+\))?", "doc": "layout, such as us or de"},
        "disks": {
            "type": "list",
            "maxlength": 2,
            "schema": {"type": "string", "regex": r"/dev/[A-Za-z0-9/._:+-]+", "doc": "a device"},
            "doc": "what is wiped without a question, such as /dev/sda or /dev/disk/by-id/…; by default the only disk",
        },
        "layout": {
            "type": "string",
            "allowed": ["plain", "lvm", "raid1"],
            "doc": "of the disk: one partition, logical volumes, or a mirror of two disks",
        },
        "encrypt": {"type": "boolean", "doc": "true for LUKS; the passphrase is asked at the machine"},
        "swap": {
            "type": "integer",
            "coerce": size("MiB"),
            "min": 0,
            "max": 1024 * 1024,
            "unit": "MiB",
            "doc": "swap space: MiB, or such as 2G; 0 for none",
        },
        "hostname": {
            "type": "string",
            "regex": r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*",
            "doc": "of the machine, with or without its domain",
        },
        "network": _NETWORK,
        "finish": {"type": "string", "allowed": ["reboot", "poweroff"], "doc": "what comes after the installation"},
        "reinstall": {
            "type": "boolean",
            "doc": "true to install unasked even where this very medium has finished before; otherwise it switches off",
        },
    },
}

RULES: Mapping[str, Rule] = {
    "name": {
        "type": "string",
        "required": True,
        "regex": r"[a-z]([a-z0-9-]{0,61}[a-z0-9])?",
        "doc": "the template's name: lower-case letters, digits and hyphens, a letter first, at most 63",
    },
    "version": {
        "type": "string",
        "required": True,
        "regex": r"[0-9A-Za-z]([0-9A-Za-z.+~-]{0,30}[0-9A-Za-z])?",
        "doc": 'the template\'s version, such as "1.0.0", in quotes: letters, digits, dots and hyphens',
    },
    "debian": {"type": "string", "allowed": list(RELEASES), "default": RELEASES[0], "doc": "Debian's release"},
    "profile": {
        "type": "string",
        "doc": "a named set of roles, to which `roles` adds; `server` when the spec names neither",
    },
    "roles": {
        "type": "list",
        "minlength": 1,
        "schema": {
            "type": "dict",
            "short": "*",
            "check_with": _one_role,
            "keysrules": {"type": "string", "regex": ROLE_NAME, "doc": "the name of a role"},
            "valuesrules": {"type": "dict", "doc": "settings of the role"},
        },
        "doc": "what the template can do: names of roles, or `name: {setting: value}`",
    },
    "roles_path": {
        "type": "list",
        "default": [],
        "schema": {"type": "string", "empty": False},
        "doc": "folders of your own roles, relative to the spec",
    },
    "origins": {
        "type": "dict",
        "default": {},
        "keysrules": {"type": "string", "regex": ROLE_NAME, "doc": "the name of a role"},
        "valuesrules": {"type": "string", "allowed": list(ORIGINS)},
        "doc": "where a role's packages come from: Debian, or the vendor's own repository",
    },
    "mirror": {
        "type": "dict",
        "default": {},
        "short": "main",
        "schema": {
            "main": _url("URL of a Debian archive, the folder that holds dists/", _MIRROR_URL),
            "security": _url("URL of the security archive", _MIRROR_URL),
        },
        "doc": "where Debian's packages come from; by default as the build host's apt is configured",
    },
    "snapshot": {
        "type": "string",
        "regex": r"[0-9]{8}T[0-9]{6}Z",
        "doc": "a time as YYYYMMDDTHHMMSSZ, which takes the place of {snapshot} in mirror",
    },
    "base": {**_BASE, "default": {"kind": "bootstrap"}},
    "machine": {**_MACHINE, "default": {}},
    "installer": {**_INSTALLER, "default": {}},
    "users": {
        "type": "list",
        "default": [],
        "schema": _USER,
        "doc": "accounts for the first boot of a clone; never in the template itself",
    },
    "packages": {
        "type": "list",
        "default": [],
        "schema": {"type": "string", "regex": PACKAGE_NAME, "doc": "the name of a Debian package"},
        "doc": "further Debian packages to install",
    },
    "files": {
        "type": "list",
        "default": [],
        "schema": _FILE,
        "doc": "further files of the template, written after those of the roles",
    },
    "commands": {
        "type": "list",
        "default": [],
        "schema": {"type": "string", "empty": False},
        "doc": "shell commands, run at the bake after those of the roles; one that fails fails the bake",
    },
    "targets": {
        "type": "dict",
        "default": {},
        "valuesrules": {"type": "dict", "doc": "settings of the target"},
        "doc": "settings for each target",
    },
}
