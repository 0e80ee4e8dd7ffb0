"""Tells whether a text is an OpenSSH public key, without ever repeating it."""

from __future__ import annotations

import base64
import binascii

# How many length-prefixed fields each type's blob holds (RFC 4253 6.6, RFC 5656 3.1, RFC 8709 4, PROTOCOL.u2f).
# DSA is absent: OpenSSH 9.8 and later refuse it.
_FIELDS = {
    "ssh-ed25519": 2,
    "ssh-rsa": 3,
    "ecdsa-sha2-nistp256": 3,
    "ecdsa-sha2-nistp384": 3,
    "ecdsa-sha2-nistp521": 3,
    "sk-ssh-ed25519@openssh.com": 3,
    "sk-ecdsa-sha2-nistp256@openssh.com": 4,
}
_ED25519_BYTES = 32


def wrong_with_key(text: str) -> str:
    """What is wrong with a line of `authorized_keys`; empty when it is a public key.

    Args:
        text: type, base64 and perhaps a comment, on one line, without options.
    """
    if "PRIVATE KEY" in text or text.startswith("PuTTY-User-Key"):
        return "this is a private key: keep it secret, and give the public one, from the file that ends in .pub"
    if "\n" in text.strip():
        return "a key is one line; give several keys as several items of the list"
    kind, _, rest = text.strip().partition(" ")
    if kind not in _FIELDS:
        return f"not an OpenSSH public key: it must begin with one of {', '.join(_FIELDS)}"
    encoded = rest.strip().partition(" ")[0]
    try:
        fields = _fields(base64.b64decode(encoded, validate=True))
    except (binascii.Error, ValueError):
        return f"not an OpenSSH public key: what follows {kind} is damaged or cut short"
    if fields[0] != kind.encode():
        return f"not an OpenSSH public key: it says {kind}, but holds a key of another type"
    whole = len(fields) == _FIELDS[kind] and all(fields)
    if not whole or (kind == "ssh-ed25519" and len(fields[1]) != _ED25519_BYTES):
        return f"not an OpenSSH public key: what follows {kind} is damaged or cut short"
    return ""


def _fields(blob: bytes) -> list[bytes]:
    """The length-prefixed fields of a key's blob (RFC 4251 section 5, `string`)."""
    fields = []
    while blob:
        size = int.from_bytes(blob[:4], "big")
        if len(blob) < 4 + size or len(blob) < 4:
            raise ValueError("cut short")
        fields.append(blob[4 : 4 + size])
        blob = blob[4 + size :]
    if not fields:
        raise ValueError("empty")
    return fields
