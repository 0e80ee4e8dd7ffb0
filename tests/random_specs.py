"""Specs at random: a setting's value is drawn from its own rule, and texts without a rule from what HCL escapes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import hypothesis.strategies as st
import test_hcl_fmt
from target_cases import NEEDED

from skyvypack import targets
from skyvypack.spec.model import Base, Machine, Spec

ASCII = st.characters(codec="ascii", categories=("L", "N", "P", "S"))
KEYS = st.text(ASCII, min_size=1, max_size=8)
# Go's templates are the builders' own language within a text: not HCL's, and not for a draw.
TEXTS = test_hcl_fmt.TEXTS.filter(lambda text: "{{" not in text and "\x00" not in text)
NAMES = st.from_regex(r"[a-z][a-z0-9-]{0,20}[a-z0-9]", fullmatch=True)
VERSIONS = st.from_regex(r"[0-9]{1,2}\.[0-9]{1,2}([+~][a-z0-9]{1,4})?", fullmatch=True)
CHECKSUM = "sha256:" + "0" * 64
BASES = {
    "bootstrap": st.just(Base()),
    "iso": st.sampled_from(["https://image.example/a.iso", "local:iso/a.iso", "[ds1]iso/a.iso"]).map(
        lambda url: Base("iso", url=url, checksum=CHECKSUM)
    ),
    "clone": st.sampled_from(["debian-13", "ami-0123456789abcdef0", "9000"]).map(lambda it: Base("clone", source=it)),
}
# Packer looks these up, or compares them with its own lists of regions and forms of keys.
NOT_DRAWN = {
    "aws": {"profile", "role_arn", "endpoint", "kms_key", "region_kms_keys", "region", "regions"},
    # Packer 1.6.6 asks PowerShell for it when it validates, and ends where there is none.
    "hyperv": {"nested_virtualization"},
}


def values(rule: Mapping[str, Any]) -> st.SearchStrategy[Any]:
    """What a setting's rule lets pass."""
    match rule["type"]:
        case "boolean":
            return st.booleans()
        case "integer":
            return st.integers(rule["min"], min(rule["max"], rule["min"] + 64))
        case "list":
            return st.lists(values(rule["schema"]), min_size=rule.get("minlength", 0), max_size=3, unique=True)
        case "dict":
            inner = values(rule["valuesrules"]) if "valuesrules" in rule else st.nothing()
            keys = values({"type": "string", **rule["keysrules"]}) if "keysrules" in rule else KEYS
            return st.dictionaries(keys.filter(bool), inner, max_size=3)
    if "allowed" in rule:
        return st.sampled_from(rule["allowed"])
    if "regex" in rule:
        pattern = re.compile(rule["regex"], re.ASCII)
        # A text that was cut off may fit no more, such as an ARN without its end.
        return st.from_regex(pattern, fullmatch=True, alphabet=ASCII).map(lambda it: it[:60]).filter(pattern.fullmatch)
    least = 0 if rule.get("empty", True) else 1
    return TEXTS.map(lambda text: text[: rule.get("maxlength", 60)]).filter(lambda text: len(text) >= least)


@st.composite
def specs(draw: st.DrawFn) -> tuple[str, Spec]:
    """A target and a spec for it."""
    target = draw(st.sampled_from(targets.names()))
    rules = targets.settings_rules(target)
    settings = {name: rule["default"] for name, rule in rules.items()} | NEEDED.get(target, {})
    free = sorted({*rules} - NOT_DRAWN.get(target, set()) - {"arguments", "formats"})
    for name in draw(st.lists(st.sampled_from(free), max_size=8, unique=True)):
        settings[name] = draw(values(rules[name]))
    kind = draw(st.sampled_from([*BASES, "iso", "clone", "clone"]))
    machine = Machine(draw(st.integers(1, 8)), 2048, draw(st.integers(4, 99)), draw(st.sampled_from(["bios", "uefi"])))
    base = draw(BASES[kind])
    return target, Spec(
        draw(NAMES), draw(VERSIONS), "trixie", (), base=base, machine=machine, targets={target: settings}
    )


def drawn(count: int) -> list[tuple[str, Spec]]:
    """Many examples, each a target and a spec for it."""
    found: list[tuple[str, Spec]] = test_hcl_fmt._collect(specs(), count)
    return found
