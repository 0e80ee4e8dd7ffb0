"""The JSON Schema of a spec, for editors: made of the rules that `load` checks by."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from skyvypack import targets
from skyvypack.profiles import profiles
from skyvypack.role_folders import catalog
from skyvypack.rules import Rule
from skyvypack.spec.fields import RULES, SIZE

Schema = dict[str, Any]

_TYPES = {"dict": "object", "list": "array"}
# By Cerberus' name of a limit: its JSON Schema name for numbers, texts and lists alike, or by type.
_NUMBER_LIMITS = {"min": "minimum", "max": "maximum"}
_LENGTHS = {
    "string": {"minlength": "minLength", "maxlength": "maxLength"},
    "list": {"minlength": "minItems", "maxlength": "maxItems"},
    "dict": {"minlength": "minProperties", "maxlength": "maxProperties"},
}


def json_schema() -> Schema:
    """The JSON Schema (draft 2020-12) of a spec that uses shipped roles and targets.

    Roles from a `roles_path` are let pass: a schema for editors cannot know them.
    """
    schema = _mapping(RULES)
    schema["properties"]["profile"]["enum"] = list(profiles())
    schema["properties"]["roles"] = _roles() | _about(RULES["roles"])
    schema["properties"]["targets"]["properties"] = {
        name: _mapping(targets.settings_rules(name)) | {"type": ["object", "null"]} for name in targets.names()
    }
    schema["properties"]["targets"]["additionalProperties"] = False
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "skyvypack spec",
        "description": "One golden template of SkyvyOS Server",
        **schema,
    }


def _roles() -> Schema:
    roles = catalog()
    nothing: Schema = {"type": ["object", "null"]}
    settings = {name: {"description": role.summary} | _mapping(role.settings) | nothing for name, role in roles.items()}
    named: Schema = {"type": "object", "properties": settings, "additionalProperties": nothing}
    items = [{"enum": list(roles)}, {"type": "string"}, named | {"minProperties": 1, "maxProperties": 1}]
    return {"type": "array", "minItems": 1, "items": {"anyOf": items}}


def _mapping(rules: Mapping[str, Rule]) -> Schema:
    schema: Schema = {
        "type": "object",
        "properties": {name: _value(rule) for name, rule in rules.items()},
        "additionalProperties": False,
    }
    required = [name for name, rule in rules.items() if rule.get("required")]
    return schema | ({"required": required} if required else {})


def _about(rule: Rule) -> Schema:
    words = f"{rule.get('doc', '')} ({rule['unit']})" if "unit" in rule else rule.get("doc", "")
    about = {"description": words} if words else {}
    return about | ({"default": rule["default"]} if "default" in rule else {})


def _value(rule: Rule) -> Schema:
    kinds = rule.get("type", list(_TYPES))
    forms = [_form(kind, rule) for kind in ([kinds] if isinstance(kinds, str) else kinds)]
    short = rule.get("short")
    if short:
        forms.append({"type": "string"} if short == "*" else _value(rule["schema"][short]))
    if "coerce" in rule:
        forms.append({"type": "string", "pattern": f"^({SIZE})$"})
    if rule.get("nullable") or rule.get("type") in ("dict", "list"):
        # `users:` with nothing after it is an empty list.
        forms.append({"type": "null"})
    return _about(rule) | (forms[0] if len(forms) == 1 else {"anyOf": forms})


def _form(kind: str, rule: Rule) -> Schema:
    schema: Schema = {"type": _TYPES.get(kind, kind)}
    names = {**_NUMBER_LIMITS, **_LENGTHS.get(kind, {})}
    schema |= {name: rule[limit] for limit, name in names.items() if limit in rule}
    if "allowed" in rule:
        schema["enum"] = list(rule["allowed"])
    if kind == "string" and "regex" in rule:
        schema["pattern"] = f"^({rule['regex']})$"
    if kind == "list" and "schema" in rule:
        schema["items"] = _value(rule["schema"])
    if kind == "dict":
        schema |= _mapping(rule["schema"]) if "schema" in rule else {}
        if "valuesrules" in rule:
            schema["additionalProperties"] = _value(rule["valuesrules"])
        if "keysrules" in rule:
            schema["propertyNames"] = _value(rule["keysrules"])
    return schema
