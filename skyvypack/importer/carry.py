"""The words in which a target says what becomes of a builder's arguments, and the draft that they fill.

A target's module `reverse` maps each argument to a `Carry`. One that is in no such table is kept as it stands among
the target's `arguments`, if the newest plugin has it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from skyvypack.document import Document
from skyvypack.importer.evaluate import Unknown
from skyvypack.importer.found import Given
from skyvypack.rules import Rule, check
from skyvypack.spec.fields import RULES
from skyvypack.targets import settings_rules

Kind: TypeAlias = Literal["secret", "needed", "lost", "changed", "own"]
Place: TypeAlias = tuple[str, ...]

_NUMBER = re.compile(r"-?[0-9]{1,18}")
_SIZE = re.compile(r"([0-9]{1,18})([KMGT]?)(?:I?B)?")
_DISK_FILE = re.compile(r"\.(qcow2|raw|img|vmdk|vdi|vhdx?|ova|ovf)$", re.IGNORECASE)
_VERSIONED = re.compile(r"(.*?)[-_. ]v?([0-9]+(?:\.[0-9]+)+(?:[-+~.][0-9A-Za-z]+)*)")
_HEX = {64: "sha256", 128: "sha512"}
OWN_INSTALLER = "build/installer.iso"


class Refused(Exception):
    """Why an argument is not carried over.

    Args:
        reason: words that may follow its name, without its value.
        environment: the variable that may give it all the same; empty for none.
    """

    def __init__(self, reason: str, environment: str = "") -> None:
        super().__init__(reason)
        self.environment = environment


@dataclass(frozen=True, slots=True)
class Leftover:
    """Something that a spec does not have as the template had it.

    Args:
        kind: ``secret`` for what the environment gives, ``needed`` for what is still to be said, ``lost`` for what
            was not carried over, ``changed`` for what was, but not as it stood, and ``own`` for what the bundle sets
            by itself in another way.
        what: such as ``argument disks.disk_size``; never its value.
        file: where it stands.
        line: where it stands, from 1; 0 for none.
        reason: words that may follow `what`.
        environment: the variable that it is fed by instead; empty for none.
    """

    kind: Kind
    what: str
    file: str
    line: int
    reason: str
    environment: str = ""


@dataclass(slots=True)
class Draft:
    """A spec in the making.

    Args:
        target: whose settings are filled.
        builder: of the template's source.
    """

    target: str
    builder: str
    places: dict[Place, Any] = field(default_factory=dict)
    notes: dict[Place, str] = field(default_factory=dict)
    leftovers: list[Leftover] = field(default_factory=list)

    def put(self, place: Place, value: Any, note: str) -> None:
        """Give a place of the spec its value.

        Args:
            place: such as ``("machine", "cpus")``.
            value: as HCL has it; text stands for a number where one is wanted.
            note: where it comes from.

        Raises:
            Refused: the place takes no such value.
        """
        rule = self._rule(place)
        value = _converted(rule, value)
        _, problems = check({place[-1]: rule}, {place[-1]: value}, Document())
        if problems:
            raise Refused(f"does not fit {'.'.join(place)}: {rule['doc']}")
        self.places[place] = value
        self.notes[place] = note

    def setting(self, name: str) -> Any:
        """A setting of the target as far as it is given, else nothing."""
        return self.places.get(("targets", self.target, name))

    def put_setting(self, name: str, value: Any, note: str) -> None:
        """Give a setting of the target its value; raises `Refused`."""
        self.put(("targets", self.target, name), value, note)

    def further(self, name: str, value: Any, note: str) -> None:
        """Keep an argument as it stands.

        Args:
            name: of the argument.
            value: what it is worth.
            note: where it comes from.
        """
        place = ("targets", self.target, "arguments", name)
        self.places[place] = value
        self.notes[place] = note

    def starts_from(self, kind: str, own_firmware: str = "") -> None:
        """Say what the bake starts from, and what no argument said.

        Args:
            kind: of base.
            own_firmware: whose default is BIOS, where the template does not name a firmware; empty to leave it open.
        """
        self.put(("base", "kind"), kind, "")
        if own_firmware and ("machine", "firmware") not in self.places:
            self.put(("machine", "firmware"), "bios", f"not said: {own_firmware}'s own")

    def leave(self, kind: Kind, given: Given, reason: str, environment: str = "") -> None:
        """Note what an argument does not become."""
        self.leftovers.append(Leftover(kind, f"argument {given.path}", given.file, given.line, reason, environment))

    def _rule(self, place: Place) -> Rule:
        if place[0] == "targets":
            return settings_rules(self.target)[place[2]]
        rule: Rule = RULES[place[0]]
        return rule["schema"][place[1]] if len(place) > 1 else rule


def _converted(rule: Rule, value: Any) -> Any:
    """Packer takes text for a number and the other way round."""
    match rule.get("type"), value:
        case "integer", str() if _NUMBER.fullmatch(value):
            return int(value)
        case "integer", float() if value.is_integer():
            return int(value)
        case "boolean", "true" | "false":
            return value == "true"
        case "string", int() if not isinstance(value, bool):
            return str(value)
        case "list", str() | int():
            return [value]
    return value


Carry: TypeAlias = Callable[[Draft, Given], None]
Read: TypeAlias = Callable[[Any], Any]


def known(given: Given) -> Any:
    """The value of an argument.

    Raises:
        Refused: it is not known here, or Packer works out a part of it.
    """
    if isinstance(given.value, Unknown):
        raise Refused(given.value.why)
    if isinstance(given.value, str) and "{{" in given.value:
        raise Refused("holds a template that Packer fills in when it runs")
    return given.value


def into(*place: str, read: Read = lambda value: value, environment: str = "") -> Carry:
    """The argument is a place of the spec.

    Args:
        place: such as ``"machine", "cpus"``.
        read: makes the place's value of the argument's; raises ValueError in words.
        environment: the variable that the place is taken from when it is not given; nothing is lost by that one.
    """

    def carry(draft: Draft, given: Given) -> None:
        if environment and isinstance(given.value, Unknown):
            if given.value.environment != environment:
                raise Refused(given.value.why, environment)
            return
        value = known(given)
        if value is None or value == "":
            return
        try:
            value = read(value)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise Refused(str(error) if type(error) is ValueError else "is of another kind") from None
        draft.put(place, value, f"{given.where} {given.path}")

    return carry


def setting(name: str, read: Read = lambda value: value, environment: str = "") -> Carry:
    """The argument is a setting of the target."""

    def carry(draft: Draft, given: Given) -> None:
        into("targets", draft.target, name, read=read, environment=environment)(draft, given)

    return carry


def secret(environment: str = "") -> Carry:
    """The argument is a secret, fed by a variable of the environment; empty when there is none for it."""

    def carry(draft: Draft, given: Given) -> None:
        if given.value not in ("", None):
            reason = "is never copied" + ("" if environment else "; the bundle has no use for it")
            draft.leave("secret", given, reason, environment)

    return carry


def own(*values: Any, why: str = "the bundle sets it itself") -> Carry:
    """The bundle decides the argument.

    Args:
        values: what it writes; nothing is said when the template has one of them. None for anything.
        why: for what is said otherwise.
    """

    def carry(draft: Draft, given: Given) -> None:
        if given.value not in (*values, None):
            draft.leave("own", given, why)

    return carry


def refused(reason: str) -> Carry:
    """The argument has no place in a spec, for a reason in words."""

    def carry(draft: Draft, given: Given) -> None:
        draft.leave("lost", given, reason)

    return carry


def choice(read: Mapping[Any, Any]) -> Read:
    """A reader of some words; others are refused."""

    def convert(value: Any) -> Any:
        if value not in read:
            raise ValueError(f"has a value for which the spec has none: there are {', '.join(map(str, read))}")
        return read[value]

    return convert


def mebibytes_of_disk(draft: Draft, given: Given) -> None:
    """A disk's size in MiB, which becomes whole GiB."""
    value = known(given)
    if not _NUMBER.fullmatch(str(value)):
        raise Refused("is no number of MiB")
    whole, rest = divmod(int(value), 1024)
    draft.put(("machine", "disk"), whole + bool(rest), f"{given.where} {given.path}")
    if rest:
        draft.leave("changed", given, "is no whole number of GiB: the next larger one is taken")


def size_of_disk(draft: Draft, given: Given) -> None:
    """A disk's size with its unit, such as ``20G``; MiB without one, as QEMU's builder has it."""
    sized = _SIZE.fullmatch(str(known(given)).strip().upper())
    if not sized:
        raise Refused("is no size that can be read")
    number, unit = int(sized[1]), sized[2]
    if unit in ("G", "T"):
        draft.put(("machine", "disk"), number * (1024 if unit == "T" else 1), f"{given.where} {given.path}")
    else:
        mebibytes = number // 1024 if unit == "K" else number
        mebibytes_of_disk(draft, Given(given.path, mebibytes, given.file, given.line))


_FIRMWARE = {"bios": ("bios", False), "efi": ("uefi", False), "efi-secure": ("uefi", True)}


def firmware(draft: Draft, given: Given) -> None:
    """The firmware in VMware's words."""
    value = known(given)
    if value not in _FIRMWARE:
        raise Refused(f"is none of {', '.join(_FIRMWARE)}")
    kind, secure = _FIRMWARE[value]
    draft.put(("machine", "firmware"), kind, f"{given.where} {given.path}")
    if secure:
        draft.put_setting("secure_boot", True, f"{given.where} {given.path}")


def name(draft: Draft, given: Given) -> None:
    """The name of the machine or template: the spec's name, and its version if it ends in one."""
    text = str(known(given))
    stem = _DISK_FILE.sub("", text)
    versioned = _VERSIONED.fullmatch(stem)
    stem, version = versioned.groups() if versioned else (stem, "")
    slug = slugged(stem)
    if not slug:
        raise Refused("makes no name for a spec: small letters, digits and hyphens, a letter first")
    note = f"{given.where} {given.path}"
    draft.put(("name",), slug, note)
    if version:
        draft.put(("version",), version, note)
    if slug != stem:
        draft.leave("changed", given, f"is spelled {slug}; the bundle puts the version after it")


def slugged(text: str) -> str:
    """A text in the letters of a spec's name; empty when none is left."""
    slug = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
    return re.sub(r"^[^a-z]+", "", slug)[:63].rstrip("-")


def image(draft: Draft, given: Given) -> None:
    """The URL of an image or installer, or the first of several."""
    value = known(given)
    urls = value if isinstance(value, list) else [value]
    if not urls or not isinstance(urls[0], str):
        raise Refused("is no URL")
    if urls[0].endswith(OWN_INSTALLER):
        raise Refused("is the installer that prepare.sh made: name Debian's own image")
    if ("base", "url") in draft.places:
        return
    draft.put(("base", "url"), urls[0], f"{given.where} {given.path}")
    if urls[1:]:
        draft.leave("lost", given, "names further places of the image; a spec has one")


def checksum(draft: Draft, given: Given) -> None:
    """The checksum of the image: a digest, or ``file:`` and the URL of a list."""
    value = str(known(given)).strip()
    note = f"{given.where} {given.path}"
    kind, _, digest = value.rpartition(":")
    if value.startswith("file:"):
        if not value.endswith(f"{OWN_INSTALLER}.sha256"):
            draft.put(("base", "checksums"), value.removeprefix("file:"), note)
        return
    kind = kind or _HEX.get(len(digest), "")
    if kind not in _HEX.values():
        raise Refused("is no sha256 or sha512, and what is not verified is not used")
    draft.put(("base", "checksum"), f"{kind}:{digest.lower()}", note)


# How Packer gets into the guest, and how the guest is switched off: the bundle has an account of its own.
_OWN_ACCOUNT = "the bundle makes an account of its own, and removes it"
COMMUNICATOR: Mapping[str, Carry] = {
    "communicator": own("ssh"),
    "ssh_username": own("packer", why=_OWN_ACCOUNT),
    "ssh_password": secret(),
    "ssh_private_key_file": own("./build/id_ed25519", why=_OWN_ACCOUNT),
    "ssh_private_key": secret(),
    "ssh_timeout": setting("ssh_timeout"),
    "ssh_wait_timeout": setting("ssh_timeout"),
}
SHUTDOWN: Mapping[str, Carry] = {
    "shutdown_command": own("sudo sh /tmp/skyvypack-seal.sh"),
    "shutdown_timeout": own("15m"),
}
_ANSWERED = "the bundle's installer has its answers with it"
# What an installer is given and told.
INSTALLATION: Mapping[str, Carry] = {
    "http_directory": own("./build/http", why=_ANSWERED),
    "boot_wait": own("5s", why=_ANSWERED),
    "boot_command": own(why=_ANSWERED),
    "boot_keygroup_interval": own(why=_ANSWERED),
}
CLOUD_INIT_DISC: Mapping[str, Carry] = {
    "cd_files": own(["./user-data", "./meta-data", "./build/vendor-data"]),
    "cd_label": own("cidata"),
}
IMAGE: Mapping[str, Carry] = {"iso_url": image, "iso_urls": image, "iso_checksum": checksum, "iso_checksum_type": own()}
