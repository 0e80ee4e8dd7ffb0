"""What must hold between the fields of a spec, beyond the rule of each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from skyvypack.document import Document
from skyvypack.errors import Problem

_SNAPSHOT = "{snapshot}"
_TIME = "%Y%m%dT%H%M%SZ"
# For each kind of base: the fields it takes. Every one of them is needed, and of the two checksum fields just one.
_BASE_FIELDS = {
    "bootstrap": (),
    "cloud-image": ("url", "checksum", "checksums"),
    "iso": ("url", "checksum", "checksums"),
    "clone": ("source",),
}


def cross_check(content: Mapping[str, Any], document: Document) -> list[Problem]:
    """Check what fields say together.

    Args:
        content: the fields whose own shape is right; others are left out.
        document: where they stand.

    Returns:
        Every problem.
    """
    problems = [*_users(content, document), *_packages(content, document)]
    if "base" in content:
        problems += _base(content["base"], document)
    if "installer" in content:
        problems += _installer(content, document)
    if "mirror" in content:
        problems += _snapshot(content, document)
    return problems


def _base(base: Mapping[str, str], document: Document) -> Iterator[Problem]:
    kind = base["kind"]
    takes = _BASE_FIELDS[kind]
    for name in base:
        if name != "kind" and name not in takes:
            others = ", ".join(other for other, fields in _BASE_FIELDS.items() if name in fields)
            message = f"a base of kind {kind} takes no {name}: that is for {others}"
            yield document.problem(("base", name), message, at_key=True)
    for name in ("url", "source"):
        if name in takes and not base.get(name):
            yield document.problem(("base",), f"a base of kind {kind} needs `{name}`")
    if "checksum" not in takes:
        return
    if "checksum" in base and "checksums" in base:
        yield document.problem(("base", "checksums"), "give either `checksum` or `checksums`, not both", at_key=True)
    elif not base.get("checksum") and not base.get("checksums"):
        message = f"a base of kind {kind} needs `checksum` or `checksums`: what is not verified is not used"
        yield document.problem(("base", "checksum"), message)


def _installer(content: Mapping[str, Any], document: Document) -> Iterator[Problem]:
    wish: Mapping[str, Any] = content["installer"]
    disks, layout = wish.get("disks", ()), wish.get("layout", "plain")
    wanted = 2 if layout == "raid1" else 1
    if len(disks) != wanted and (disks or wanted == 2):
        message = f"the layout {layout} takes {wanted} disk{'s' * (wanted > 1)}, not {len(disks)}"
        yield document.problem(("installer", "disks"), message)
    if wish.get("encrypt") and layout == "raid1":
        yield document.problem(("installer", "encrypt"), "a mirror of two disks cannot be encrypted: choose lvm")
    if len({*disks}) < len(disks):
        yield document.problem(("installer", "disks"), f"the disk {disks[0]} stands here twice")
    network = wish.get("network", {})
    for name in ("gateway", "nameservers") if not network.get("address") else ():
        if network.get(name):
            place = ("installer", "network", name)
            yield document.problem(place, f"`{name}` belongs to an `address`; DHCP brings its own")
    if content.get("base", {}).get("kind") != "iso":
        return
    if wish.get("encrypt"):
        message = "every clone of a template would open with one passphrase: encrypt is for the verb iso only"
        yield document.problem(("installer", "encrypt"), message)
    if layout != "plain":
        message = f"the root of a clone grows with its disk, which {layout} prevents: for the verb iso only"
        yield document.problem(("installer", "layout"), message)
    mirror = content.get("mirror", {}).get("main", "")
    if mirror and not mirror.startswith(("http:", "https:")):
        yield document.problem(("mirror", "main"), "the installer reads http: and https: only")


def _snapshot(content: Mapping[str, Any], document: Document) -> Iterator[Problem]:
    mirror: Mapping[str, str] = content["mirror"]
    moment = content.get("snapshot", "")
    timed = [name for name, url in mirror.items() if _SNAPSHOT in url]
    if moment and not timed:
        message = f"a snapshot needs a mirror whose URL holds {_SNAPSHOT}, where the time takes its place"
        yield document.problem(("snapshot",), message)
    if moment and not _is_time(moment):
        yield document.problem(("snapshot",), f"{moment} is no time: YYYYMMDDTHHMMSSZ, such as 20260131T000000Z")
    for name in () if moment or "snapshot" in content else timed:
        place = ("mirror", name)
        yield document.problem(place, f"the URL holds {_SNAPSHOT}, but the spec has no `snapshot` to put there")


def _is_time(text: str) -> bool:
    try:
        datetime.strptime(text, _TIME)
    except ValueError:
        return False
    return True


def _users(content: Mapping[str, Any], document: Document) -> Iterator[Problem]:
    names = [user["name"] for user in content.get("users", ())]
    for number, name in enumerate(names):
        if name in names[:number]:
            yield document.problem(("users", number, "name"), f"there are two users `{name}`")


def _packages(content: Mapping[str, Any], document: Document) -> Iterator[Problem]:
    packages = content.get("packages", ())
    for number, name in enumerate(packages):
        if name in packages[:number]:
            yield document.problem(("packages", number), f"the package {name} stands here twice")
