"""The spec: the user's YAML file, read and checked; its frozen form is `Spec`."""

from __future__ import annotations

from skyvypack.spec.jsonschema import json_schema
from skyvypack.spec.model import Base, Installer, Machine, Mirror, Network, Spec, User
from skyvypack.spec.reader import init_text, load, loads

__all__ = [
    "Base",
    "Installer",
    "Machine",
    "Mirror",
    "Network",
    "Spec",
    "User",
    "init_text",
    "json_schema",
    "load",
    "loads",
]
