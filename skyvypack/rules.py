"""Checks values against rules and says what is wrong in human words.

Rules are Cerberus rules, of which a role's or builder's YAML may use those in `ALLOWED_RULES`, and three of ours:

``doc``
    what the value is for; shown in messages, the reference and the JSON Schema.
``unit``
    of a number, such as ``MiB``.
``short``
    for a mapping: a single value stands for a mapping with only this key; ``*``: a text stands for a mapping with
    only itself as key, and nothing below.
"""

from __future__ import annotations

import datetime
import difflib
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from skyvypack.document import Document, Path
from skyvypack.errors import Problem

Rule = Mapping[str, Any]

TYPES = {
    "string": "text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "list": "a list",
    "dict": "a mapping",
}
_FOUND = (
    (type(None), "nothing"),
    (bool, "a yes-or-no value"),
    (int, "a whole number"),
    (float, "a number"),
    (str, "text"),
    (list, "a list"),
    (dict, "a mapping"),
    (datetime.date, "a date"),
    (bytes, "binary data"),
)
_LONGEST_SHOWN = 60
_UNKNOWN = 0x03
_CUSTOM = 0x00


def shown(value: Any) -> str:
    """A value as a message shows it: short, on one line, and never a private key."""
    text = str(value)
    if "PRIVATE KEY" in text or text.startswith("PuTTY-User-Key"):
        return "a private key (not shown)"
    text = " ".join(text.split())
    return f"`{text[:_LONGEST_SHOWN]}…`" if len(text) > _LONGEST_SHOWN else f"`{text}`"


def nearest(word: Any, words: Iterable[Any]) -> str:
    """``did you mean `x`?`` for the known word that looks most like this one, or nothing."""
    near = difflib.get_close_matches(str(word), [str(known) for known in words], 1)
    return f"did you mean `{near[0]}`?" if near else ""


def check(rules: Mapping[str, Rule], value: Any, document: Document, path: Path = ()) -> tuple[Any, list[Problem]]:
    """Check a mapping against the rules of its keys, and fill in defaults.

    Args:
        rules: rule of each key; other keys are errors.
        value: what was written.
        document: where it stands.
        path: where in the document.

    Returns:
        The mapping with short forms spelled out and defaults filled in, and every problem, one for each value.
    """
    # Cerberus takes long to import, and rules that nothing is checked against do not need it.
    from skyvypack.validator import validator_of

    whole = {"type": "dict", "schema": rules}
    spelled = _spell_out(whole, value)
    if not isinstance(spelled, dict):
        return spelled, [document.problem(path, f"expected a mapping, found {_found(value)}")]
    validator = validator_of(rules)
    validator.validate(spelled)
    problems: dict[str, Problem] = {}
    already = {problem.path for problem in document.problems}
    # A value that could not be converted also has the wrong type: only the first is worth telling.
    for error in sorted(_leaves(validator._errors), key=lambda error: error.rule != "coerce"):
        problem = _problem(error, rules, document, path)
        if problem.path not in already:
            problems.setdefault(problem.path, problem)
    return validator.document, list(problems.values())


def _spell_out(rule: Rule, value: Any) -> Any:
    """Write short forms in full: `base: iso` is `base: {kind: iso}`, and `qemu:` with nothing after it `qemu: {}`."""
    kind = rule.get("type")
    if value is None and not rule.get("nullable"):
        value = {"dict": {}, "list": []}.get(str(kind))
    short = rule.get("short")
    if short == "*" and isinstance(value, str):
        value = {value: None}
    elif short and short != "*" and isinstance(value, str | int | float):
        value = {short: value}
    if isinstance(value, dict) and kind == "dict":
        fields, others = rule.get("schema", {}), rule.get("valuesrules", {})
        return {key: _spell_out(fields.get(key, others), item) for key, item in value.items()}
    if isinstance(value, list) and kind == "list":
        return [_spell_out(rule.get("schema", {}), item) for item in value]
    return value


def _leaves(errors: Iterable[Any]) -> Iterator[Any]:
    for error in errors:
        if error.child_errors:
            yield from _leaves(error.child_errors)
        else:
            yield error


def _problem(error: Any, rules: Mapping[str, Rule], document: Document, path: Path) -> Problem:
    below: Any = rules
    for step in error.schema_path if error.code == _UNKNOWN else error.schema_path[:-1]:
        below = below[step] if isinstance(below, Mapping) and step in below else {}
    place = (*path, *error.document_path)
    at_key = error.code == _UNKNOWN or "keysrules" in error.schema_path[-2:]
    if error.code == _UNKNOWN:
        return document.problem(place, "unknown key", nearest(place[-1], below), at_key=True)
    suggestion = ""
    if error.rule == "allowed":
        suggestion = nearest(error.value, error.constraint)
    elif error.rule == "type" and "text" in _expected(below) and place in document.written:
        suggestion = f'write "{document.written[place]}", in quotes'
    return document.problem(place, _message(error, below, document.written.get(place)), suggestion, at_key=at_key)


def _message(error: Any, rule: Rule, written: str | None) -> str:
    doc = rule.get("doc", "")
    value = shown(error.value if written is None else written)
    match error.rule:
        case "required":
            return f"this key is missing: {doc}" if doc else "this key is missing"
        case "type":
            return f"expected {_expected(rule)}, found {_found(error.value, written)}"
        case "nullable":
            return f"expected {_expected(rule)}, found nothing"
        case "empty":
            return "must not be empty"
        case "allowed":
            return f"{value} is not one of {', '.join(str(word) for word in error.constraint)}"
        case "min" | "max":
            limit = f"{error.constraint} {rule.get('unit', '')}".rstrip()
            return f"{value} is too {'small: at least' if error.rule == 'min' else 'large: at most'} {limit}"
        case "minlength" | "maxlength":
            return f"too {'short: at least' if error.rule == 'minlength' else 'long: at most'} {error.constraint}"
        case "regex":
            return f"{value} does not fit: {doc or error.constraint}"
    if error.code == _CUSTOM or error.rule == "coerce":
        return str(error.info[-1])
    return f"{value} breaks the rule {error.rule}: {error.constraint}"


def _expected(rule: Rule) -> str:
    kinds = rule.get("type", "a value")
    words = [TYPES.get(kind, kind) for kind in ([kinds] if isinstance(kinds, str) else kinds)]
    return " or ".join((["text"] if "short" in rule else []) + words)


def _found(value: Any, written: str | None = None) -> str:
    kind = next((words for known, words in _FOUND if isinstance(value, known)), type(value).__name__)
    return f"{kind}, {shown(written)}" if written else kind


_LIMITS: dict[str, Rule] = {
    "min": {"type": "number", "doc": "smallest value"},
    "max": {"type": "number", "doc": "largest value"},
    "minlength": {"type": "integer", "min": 0, "doc": "fewest characters or items"},
    "maxlength": {"type": "integer", "min": 0, "doc": "most characters or items"},
    "allowed": {"type": "list", "minlength": 1, "doc": "the only values"},
    "regex": {"type": "string", "doc": "a regular expression that the whole text must match"},
    "unit": {"type": "string", "doc": "of a number"},
    "empty": {"type": "boolean", "doc": "whether it may be empty"},
    "nullable": {"type": "boolean", "doc": "whether it may be left without a value"},
    "required": {"type": "boolean", "doc": "whether it must be given"},
    "short": {"type": "string", "doc": "the key a single value stands for"},
}
ALLOWED_RULES: Mapping[str, Rule] = {
    "type": {"type": ["string", "list"], "required": True, "doc": f"one or more of {', '.join(TYPES)}"},
    "doc": {"type": "string", "empty": False, "doc": "what the value is for"},
    "default": {"nullable": True, "doc": "the value when none is given"},
    "schema": {"type": "dict", "doc": "rule of a list's items, or of each key of a mapping"},
    "keysrules": {"type": "dict", "doc": "rule of a mapping's keys"},
    "valuesrules": {"type": "dict", "doc": "rule of a mapping's values"},
    **_LIMITS,
}


def check_settings_rules(rules: Any, document: Document, path: Path = ()) -> list[Problem]:
    """Check the rules that a role or builder gives for its settings.

    Args:
        rules: rule of each setting by name; each needs `type`, `doc` and a `default` that fits it.
        document: where they stand.
        path: where in the document.

    Returns:
        Every problem.
    """
    problems = _rules_problems(rules, document, path)
    if problems:
        return problems
    for name, rule in rules.items():
        place = (*path, name)
        if not re.fullmatch(r"[a-z][a-z0-9_]*", name) or hasattr(dict, name):
            # `settings.items` in a template would be Python's method, not the setting.
            problems.append(document.problem(place, f"{shown(name)} cannot be the name of a setting", at_key=True))
        lacking = [key for key in ("default", "doc") if key not in rule]
        problems += [document.problem(place, f"a setting needs `{key}`") for key in lacking]
    defaults = {name: rule["default"] for name, rule in rules.items() if "default" in rule}
    # Their path is that of the setting, and so leads to the place of its rule.
    return problems + check(rules, defaults, document, path)[1]


def _rules_problems(rules: Any, document: Document, path: Path) -> list[Problem]:
    """Check each rule of a mapping, and the rules within it."""
    each = {"type": "dict", "schema": ALLOWED_RULES}
    names = {} if not isinstance(rules, dict) else dict.fromkeys(rules, each)
    problems = check(names, rules, document, path)[1]
    if problems:
        return problems
    for name, rule in rules.items():
        place = (*path, name)
        kinds = [rule["type"]] if isinstance(rule["type"], str) else rule["type"]
        for kind in kinds:
            if kind not in TYPES:
                message = f"{shown(kind)} is not one of {', '.join(TYPES)}"
                problems.append(document.problem((*place, "type"), message, nearest(kind, TYPES)))
        try:
            re.compile(rule.get("regex", ""))
        except re.error as error:
            problems.append(document.problem((*place, "regex"), f"not a regular expression: {error}"))
        inner = {key: rule[key] for key in ("keysrules", "valuesrules") if key in rule}
        if "schema" in rule and "list" in kinds:
            inner["schema"] = rule["schema"]
        elif "schema" in rule:
            problems += _rules_problems(rule["schema"], document, (*place, "schema"))
        problems += _rules_problems(inner, document, place) if inner else []
    return problems
