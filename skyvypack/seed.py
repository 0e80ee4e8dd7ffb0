"""NoCloud seeds and ephemeral keys: what a guest reads at its first boot, and how we get in."""

from __future__ import annotations

from pathlib import Path

from skyvypack import command
from skyvypack.errors import InputError

LABEL = "cidata"


def make(folder: Path, user_data: str, meta_data: str, network_config: str | None = None) -> Path:
    """Make a NoCloud seed: an ISO that cloud-init finds by its label.

    Args:
        folder: where the ISO and the files in it are written; made if it is missing.
        user_data: text that begins with ``#cloud-config``.
        meta_data: YAML with at least ``instance-id``.
        network_config: cloud-init's network configuration; None leaves it to cloud-init (DHCP).

    Returns:
        The ISO.

    Raises:
        InputError: `folder` already holds a seed.
        ToolMissing: xorriso is not installed.
        CommandFailed: xorriso failed.
    """
    image = folder / "seed.iso"
    if image.exists():
        raise InputError(f"there is a seed already: {image}")
    texts = {"user-data": user_data, "meta-data": meta_data}
    if network_config is not None:
        texts["network-config"] = network_config
    tree = folder / "seed"
    tree.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        (tree / name).write_text(text)
    command.run(["xorriso", "-as", "mkisofs", "-quiet", "-output", image, "-volid", LABEL, "-joliet", "-rock", tree])
    return image


def keypair(folder: Path) -> tuple[Path, str]:
    """Make an Ed25519 key without a passphrase, for one run.

    Args:
        folder: where ``id_ed25519`` is written; made if it is missing.

    Returns:
        The private key's file, and the public key as a line of ``authorized_keys`` without its newline.

    Raises:
        InputError: `folder` already holds a key.
        ToolMissing: ssh-keygen is not installed.
    """
    private = folder / "id_ed25519"
    if private.exists():
        raise InputError(f"there is a key already: {private}")
    folder.mkdir(parents=True, exist_ok=True)
    command.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "skyvypack", "-f", private])
    return private, private.with_suffix(".pub").read_text().strip()
