"""The JSON Schema for editors says what `load` says."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from skyvypack import assets, targets
from skyvypack.spec import init_text, json_schema
from skyvypack.spec.fields import RULES

SPECS = Path(__file__).parent / "specs"


@pytest.fixture
def schema(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.setattr(assets, "roles", lambda: SPECS / "roles")
    return json_schema()


def fits(value: Any, schema: dict[str, Any]) -> bool:
    """Whether a value fits a schema: the keywords that ours uses, and no other."""
    known = {"$schema", "title", "description", "default", "type", "properties", "additionalProperties", "required"}
    known |= {"anyOf", "enum", "pattern", "items", "propertyNames", "minimum", "maximum", "minItems", "maxItems"}
    assert schema.keys() <= known | {"minLength", "maxLength", "minProperties", "maxProperties"}
    if "anyOf" in schema and not any(fits(value, form) for form in schema["anyOf"]):
        return False
    if "enum" in schema and value not in schema["enum"]:
        return False
    kinds = schema.get("type", [])
    names = {"string": str, "integer": int, "number": (int, float), "boolean": bool, "array": list, "object": dict}
    types = names | {"null": type(None)}
    wanted = [kinds] if isinstance(kinds, str) else kinds
    right = [kind for kind in wanted if isinstance(value, types[kind]) and (kind == "boolean" or value is not True)]
    if wanted and not right:
        return False
    if isinstance(value, str):
        return re.search(schema.get("pattern", ""), value) is not None
    if isinstance(value, int | float):
        return schema.get("minimum", value) <= value <= schema.get("maximum", value)
    if isinstance(value, list):
        enough = schema.get("minItems", 0) <= len(value)
        return enough and all(fits(item, schema.get("items", {})) for item in value)
    return value is None or _mapping_fits(value, schema)


def _mapping_fits(value: dict[str, Any], schema: dict[str, Any]) -> bool:
    inside = schema.get("properties", {})
    others = schema.get("additionalProperties", {})
    size = schema.get("minProperties", 0) <= len(value) <= schema.get("maxProperties", len(value))
    return (
        size
        and all(name in value for name in schema.get("required", ()))
        and all(fits(name, schema.get("propertyNames", {})) for name in value)
        and not any(others is False for name in value if name not in inside)
        and all(fits(item, inside.get(name, others or {})) for name, item in value.items())
    )


def test_every_field_and_setting_is_described(schema: dict[str, Any]) -> None:
    """Fields, role settings and target settings are there, each with words for the editor to show."""
    assert schema["$schema"].endswith("2020-12/schema")
    assert list(schema["properties"]) == list(RULES)
    assert all(field["description"] for field in schema["properties"].values())
    qemu = schema["properties"]["targets"]["properties"]["qemu"]["properties"]
    assert qemu.keys() == targets.settings_rules("qemu").keys()
    roles = schema["properties"]["roles"]["items"]["anyOf"][2]["properties"]
    assert roles["ssh"]["properties"]["port"] == {
        "description": "TCP port sshd listens on",
        "default": 22,
        "type": "integer",
        "minimum": 1,
        "maximum": 65535,
    }
    assert json.loads(json.dumps(schema)) == schema, "plain JSON"


@pytest.mark.parametrize("path", sorted((SPECS / "good").glob("*.yaml")), ids=lambda path: path.stem)
def test_good_specs_fit(path: Path, schema: dict[str, Any]) -> None:
    """What `load` takes, the schema takes."""
    assert fits(yaml.safe_load(path.read_text(encoding="utf-8")), schema)


@pytest.mark.parametrize("name", ["unknown-names", "types", "machine", "role-settings", "least", "sizes", "users"])
def test_bad_specs_do_not(name: str, schema: dict[str, Any]) -> None:
    """What is wrong in its own shape, the schema refuses too."""
    assert not fits(yaml.safe_load((SPECS / f"bad/{name}.yaml").read_text(encoding="utf-8")), schema)


def test_init_text_fits_the_schema_of_shipped_roles() -> None:
    """The commented spec is good for the editor as well."""
    assert fits(yaml.safe_load(init_text()), json_schema())
