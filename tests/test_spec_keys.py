"""Public keys: real ones of every type pass, and no other text does."""

from __future__ import annotations

import base64

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from skyvypack.spec.keys import wrong_with_key

OPENSSH = (serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)


def field(content: bytes) -> bytes:
    return len(content).to_bytes(4, "big") + content


def line(kind: str, *fields: bytes) -> str:
    blob = field(kind.encode()) + b"".join(field(content) for content in fields)
    return f"{kind} {base64.b64encode(blob).decode()}"


def real_keys() -> list[str]:
    private = [
        ed25519.Ed25519PrivateKey.generate(),
        rsa.generate_private_key(65537, 1024),
        *(ec.generate_private_key(curve()) for curve in (ec.SECP256R1, ec.SECP384R1, ec.SECP521R1)),
    ]
    return [key.public_key().public_bytes(*OPENSSH).decode() for key in private]


def test_real_keys_pass() -> None:
    """Keys of all types, made by another implementation, pass with and without a comment."""
    security = [
        line("sk-ssh-ed25519@openssh.com", bytes(32), b"ssh:"),
        line("sk-ecdsa-sha2-nistp256@openssh.com", b"nistp256", bytes(65), b"ssh:"),
    ]
    for key in [*real_keys(), *security]:
        assert wrong_with_key(key) == ""
        assert wrong_with_key(f"{key} someone@example two words\n") == ""


def test_damaged_keys_do_not() -> None:
    """A key cut short, lengthened or labelled as another type is refused without being repeated."""
    for key in real_keys():
        kind, encoded = key.split()
        blob = base64.b64decode(encoded)
        other = "ssh-rsa" if kind != "ssh-rsa" else "ssh-ed25519"
        cut = [base64.b64encode(blob[:size]).decode() for size in (0, 3, 4, 10, len(blob) - 1)]
        longer = base64.b64encode(blob + field(b"x")).decode()
        for wrong in [f"{kind} {text}" for text in [*cut, longer, encoded[:-5], f"!{encoded}"]] + [
            f"{other} {encoded}"
        ]:
            told = wrong_with_key(wrong)
            assert told.startswith("not an OpenSSH public key")
            assert encoded[-12:] not in told
    assert wrong_with_key(line("ssh-ed25519", bytes(31)))


@pytest.mark.parametrize("text", ["", " ", "ssh-dss AAAA", "no-pty ssh-ed25519 AAAA", "hunter2", "ssh-ed25519"])
def test_what_is_no_key(text: str) -> None:
    """Other text, options before a key, and types that OpenSSH gave up are refused without being repeated."""
    told = wrong_with_key(text)
    assert told.startswith("not an OpenSSH public key")
    assert "hunter2" not in told


@pytest.mark.parametrize(
    "form", [serialization.PrivateFormat.OpenSSH, serialization.PrivateFormat.PKCS8], ids=["openssh", "pkcs8"]
)
def test_private_key_is_named_as_such(form: serialization.PrivateFormat) -> None:
    """Who pastes a private key is told so."""
    key = ed25519.Ed25519PrivateKey.generate()
    text = key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()).decode()
    told = wrong_with_key(text)
    assert "this is a private key" in told
    assert text.splitlines()[1] not in told
