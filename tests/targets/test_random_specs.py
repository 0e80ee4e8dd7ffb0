"""Specs at random: whatever their settings, the document is HCL that every reader takes for the same.

A setting's value is drawn from its own rule, and texts without a rule from what HCL has to escape. Refused
combinations are part of the draw; most specs must come through.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import hcl2
import pytest
import test_hcl_fmt
from pyhcl2 import nodes, parse
from random_specs import drawn
from test_documents_real import ENVIRONMENT

from skyvypack import assets, command, targets
from skyvypack.dialect import named
from skyvypack.errors import InputError
from skyvypack.hcl import Attribute, Block, Document, Expression


def documents(count: int, dialect: str) -> list[tuple[str, Document]]:
    """Documents of drawn specs, each with its builder; refused specs are left out."""
    found = []
    for target, spec in drawn(count):
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
