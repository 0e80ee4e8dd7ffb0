"""Specs at random: whatever their settings, the document is HCL that every reader takes for the same.

A setting's value is drawn from its own rule, and texts without a rule from what HCL has to escape. Refused
combinations are part of the draw; most specs must come through.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import hcl2
import hypothesis.strategies as st
import pytest
import test_hcl_fmt
from pyhcl2 import nodes, parse
from target_cases import NEEDED
from test_documents_real import ENVIRONMENT

from skyvypack import assets, command, targets
from skyvypack.dialect import named
from skyvypack.errors import InputError
from skyvypack.hcl import Attribute, Block, Document, Expression
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
NOT_DRAWN = {"aws": {"profile", "role_arn", "endpoint", "kms_key", "region_kms_keys", "region", "regions"}}


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
        return st.from_regex(re.compile(rule["regex"], re.ASCII), fullmatch=True, alphabet=ASCII).map(
            lambda it: it[:60]
        )
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
        drawn = draw(values(rules[name]))
        if re.fullmatch(rules[name].get("regex", ".*"), drawn, re.DOTALL) if isinstance(drawn, str) else True:
            settings[name] = drawn
    kind = draw(st.sampled_from([*BASES, "iso", "clone", "clone"]))
    machine = Machine(draw(st.integers(1, 8)), 2048, draw(st.integers(4, 99)), draw(st.sampled_from(["bios", "uefi"])))
    base = draw(BASES[kind])
    return target, Spec(
        draw(NAMES), draw(VERSIONS), "trixie", (), base=base, machine=machine, targets={target: settings}
    )


def documents(count: int, dialect: str) -> list[tuple[str, Document]]:
    """Documents of drawn specs, each with its builder; refused specs are left out."""
    found = []
    for target, spec in test_hcl_fmt._collect(specs(), count):
        source = targets.source(target)
        try:
            found.append((source.builder(spec), source.document(spec, named(dialect))))
        except InputError:
            continue  # what is refused, and how, has tests of its own
    return found


def plain(value: Any) -> bool:
    """Whether a value holds nothing that Packer has to work out."""
    if isinstance(value, Mapping):
        return all(map(plain, value.values()))
    if isinstance(value, Sequence) and not isinstance(value, str):
        return all(map(plain, value))
    return not isinstance(value, Expression)


def leaves(blocks: Sequence[Block | Attribute]) -> Iterator[tuple[str, Any]]:
    """Every attribute with a plain value, by its name, in order."""
    for item in blocks:
        if isinstance(item, Block):
            yield from leaves(item.body)
        elif plain(item.value):
            yield item.name, as_lists(item.value)


def as_lists(value: Any) -> Any:
    """A value with lists for whatever sequence it was made of."""
    if isinstance(value, Mapping):
        return {name: as_lists(item) for name, item in value.items()}
    return list(map(as_lists, value)) if isinstance(value, Sequence) and not isinstance(value, str) else value


def pyhcl2_leaves(body: Sequence[Any]) -> Iterator[tuple[str, Any]]:
    """The same, as pyhcl2 reads them; what is no plain value is left out."""
    for item in body:
        if isinstance(item, nodes.Block):
            yield from pyhcl2_leaves(item.body)
            continue
        try:
            yield item.key.name, test_hcl_fmt.read(item.value)
        except AssertionError:
            continue


def python_hcl2_leaves(value: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """The same, as python-hcl2 reads them: it keeps quotes and escapes as they are written."""
    for name, item in value.items():
        if isinstance(item, list) and item and isinstance(item[0], dict) and "__is_block__" in str(item[0]):
            for block in item:
                yield from python_hcl2_leaves(block)
        elif isinstance(item, dict) and "__is_block__" in str(item):
            yield from python_hcl2_leaves(item)
        elif name != "__is_block__":
            yield name, python_hcl2_value(item)


def python_hcl2_value(item: Any) -> Any:
    if isinstance(item, dict):
        return {python_hcl2_value(key): python_hcl2_value(inner) for key, inner in item.items()}
    if isinstance(item, list):
        return [python_hcl2_value(inner) for inner in item]
    if isinstance(item, str) and item[:1] == '"':
        return test_hcl_fmt.unescape(item[1:-1])
    return item


def check_read_back(count: int, dialect: str) -> None:
    for _, document in documents(count, dialect):
        text = document.render()
        wanted = sorted(leaves(document.blocks), key=repr)
        assert [
            leaf for leaf in sorted(pyhcl2_leaves(parse.parse_module(text).body), key=repr) if leaf in wanted
        ] == wanted
        read = list(python_hcl2_leaves(hcl2.loads(text)))
        assert [leaf for leaf in wanted if leaf not in read] == []


def check_packer(count: int, folder: Path, dialect: str = "1.6.6", packer: Path = Path("packer")) -> None:
    """Packer validates every drawn document, and fmt leaves it alone."""
    plugins = {"PACKER_PLUGIN_PATH": str(packer.parent / "plugins"), "PACKER_CONFIG_DIR": str(folder)}
    key = folder / "seed" / "id_ed25519"
    key.parent.mkdir()
    command.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key])
    for name in ("vendor-data", "disk.raw.gz"):
        (key.parent / name).touch()
    made = documents(count, dialect)
    assert len(made) > count // 4
    for number, (name, document) in enumerate(made):
        place = folder / f"{number:03}-{name}"
        (place / "scripts").mkdir(parents=True)
        (place / "a.pkr.hcl").write_text(document.render(), encoding="utf-8")
        scripts = [f"scripts/{path.name}" for path in (assets.builders() / "shared" / "scripts").iterdir()]
        for file in ("user-data", "meta-data", *scripts):
            (place / file).touch()
        (place / "build").mkdir()
        (place / "build" / "installer.iso").touch()
        (place / "build" / "installer.iso.sha256").write_text(f"{'0' * 64}  installer.iso\n")
        given = ["-var", f"seed={key.parent}"]
        done = command.run([packer, "validate", *given, place], env=ENVIRONMENT | plugins, check=False)
        assert done.returncode == 0, f"{place}\n{done.stdout}{done.stderr}"
        done = command.run([packer, "fmt", "-check", "-diff", place], env=ENVIRONMENT | plugins, check=False)
        assert (done.returncode, done.stdout + done.stderr) == (0, "")
        shutil.rmtree(place)


@pytest.mark.parametrize("dialect", ["1.6.6", "latest"])
def test_two_readers_read_the_same(dialect: str) -> None:
    """pyhcl2 and python-hcl2 find every value that was meant, in a document of any target."""
    check_read_back(4, dialect)


@pytest.mark.tool
def test_packer_takes_random_documents(tmp_path: Path) -> None:
    """Packer 1.6.6 validates what its dialect lets pass, and fmt would change nothing."""
    check_packer(30, tmp_path)


@pytest.mark.load
@pytest.mark.parametrize("dialect", ["1.6.6", "latest"])
def test_two_readers_read_many_the_same(dialect: str) -> None:
    """The same for hundreds of specs."""
    check_read_back(300, dialect)


@pytest.mark.load
def test_packer_takes_many_random_documents(tmp_path: Path) -> None:
    """The same for hundreds of specs."""
    check_packer(800, tmp_path)
