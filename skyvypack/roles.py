"""Roles: one capability of SkyvyOS each, a folder with `role.yaml`, `files/` and `test_contract.py`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Port:
    """A TCP or UDP port that a role answers on from outside."""

    port: int
    protocol: str
    role: str
    reason: str


@dataclass(frozen=True, slots=True)
class RoleFile:
    """A configuration file, rendered.

    Args:
        path: absolute, in the guest.
        text: its content.
        mode: octal, such as ``0644``.
        owner: ``user:group``.
    """

    path: str
    text: str
    mode: str = "0644"
    owner: str = "root:root"


@dataclass(frozen=True, slots=True)
class Services:
    """Units by name, each with the reason."""

    enable: Mapping[str, str] = field(default_factory=dict)
    disable: Mapping[str, str] = field(default_factory=dict)
    mask: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Role:
    """A role as a spec uses it: settings complete, templates rendered.

    Args:
        name: its folder's name.
        summary: one line.
        folder: where it was read from.
        requires: names of roles applied before it.
        packages: Debian packages with the reason for each.
        settings: complete, checked.
        ports: what it answers on from outside.
        services: what runs at boot.
        files: its configuration files.
        commands: shell lines run at bake.
    """

    name: str
    summary: str
    folder: Path
    requires: tuple[str, ...] = ()
    packages: Mapping[str, str] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    ports: tuple[Port, ...] = ()
    services: Services = field(default_factory=Services)
    files: tuple[RoleFile, ...] = ()
    commands: tuple[str, ...] = ()
