"""Repositories of vendors, beside Debian's: each signed by a key of its own that ships with its role. Pure.

A repository gives only the packages that its role names: apt's pins leave it out for every other package, so that a
vendor can never replace a part of Debian.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from dataclasses import dataclass
from urllib.parse import urlsplit

SOURCES_FOLDER = "/etc/apt/sources.list.d"
PINS_FOLDER = "/etc/apt/preferences.d"
_ARMOR = re.compile(
    r"-----BEGIN PGP PUBLIC KEY BLOCK-----\n(?:[^\n]+: [^\n]*\n)*\n(?P<body>[A-Za-z0-9+/=\n]+?)"
    r"\n=[A-Za-z0-9+/]{4}\n-----END PGP PUBLIC KEY BLOCK-----"
)
_PUBLIC_KEY = 6


@dataclass(frozen=True, slots=True)
class Repository:
    """A vendor's apt repository.

    Args:
        name: of its files in the guest.
        uri: of the folder that holds ``dists/``.
        suites: separated by blanks.
        components: separated by blanks.
        keyring: path in the guest of the file that holds its key.
        key: the key, ASCII-armoured.
        packages: the only packages that are taken from it.
    """

    name: str
    uri: str
    suites: str
    components: str
    keyring: str
    key: str
    packages: tuple[str, ...]

    @property
    def host(self) -> str:
        """What apt calls the origin: the host's name, without a port; empty for a folder."""
        return urlsplit(self.uri).hostname or ""

    def sources(self, signed_by: str = "") -> str:
        """Its sources in deb822 form.

        Args:
            signed_by: path of its keyring; without it the key itself stands in the text.
        """
        inside = "".join(f"\n {line or '.'}" for line in self.key.strip().splitlines())
        return (
            f"Types: deb\nURIs: {self.uri}\nSuites: {self.suites}\nComponents: {self.components}\n"
            f"Architectures: amd64\nSigned-By:{f' {signed_by}' if signed_by else inside}\n"
        )

    def pins(self) -> str:
        """Its apt preferences: nothing comes from it but its own packages, and these from nowhere else first."""
        wanted = (("*", -1), (" ".join(self.packages), 990))
        pin = f'Pin: origin "{self.host}"'
        return "\n".join(f"Package: {names}\n{pin}\nPin-Priority: {priority}\n" for names, priority in wanted)

    def files(self) -> tuple[tuple[str, str], ...]:
        """What makes apt know it, each a path and its text: the sources, bound to its own keyring, and the pins."""
        sources = (f"{SOURCES_FOLDER}/{self.name}.sources", self.sources(self.keyring))
        return sources, (f"{PINS_FOLDER}/{self.name}", self.pins())


def fingerprint(key: str) -> str:
    """The fingerprint (version 4, 40 capital hexadecimal digits) of the first key in an ASCII-armoured text.

    It is the SHA-1 of the key packet's body behind 0x99 and its length: RFC 4880, 12.2. That ties the file to what a
    vendor publishes; that the key signed a repository is for apt to find out.

    Raises:
        ValueError: it is no armoured public key.
    """
    found = _ARMOR.search(key)
    if not found:
        raise ValueError("is no ASCII-armoured public key")
    try:
        body = _key_packet(base64.b64decode(found["body"], validate=False))
    except (binascii.Error, IndexError) as error:
        raise ValueError("is a damaged public key") from error
    return hashlib.sha1(b"\x99" + len(body).to_bytes(2, "big") + body, usedforsecurity=False).hexdigest().upper()


def _key_packet(packets: bytes) -> bytes:
    """The body of the first packet, of either format: RFC 4880, 4.2."""
    head = packets[0]
    new = bool(head & 0x40)
    tag = head & 0x3F if new else head >> 2 & 0x0F
    if not head & 0x80 or tag != _PUBLIC_KEY:
        raise ValueError("is no public key")
    if not new:
        size = 1 << (head & 3)
        return packets[1 + size : 1 + size + int.from_bytes(packets[1 : 1 + size], "big")]
    if packets[1] < 192:
        return packets[2 : 2 + packets[1]]
    return packets[3 : 3 + ((packets[1] - 192 << 8) + packets[2] + 192)]
