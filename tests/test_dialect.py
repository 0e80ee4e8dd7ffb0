"""What a Packer version accepts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from skyvypack import assets, dialect
from skyvypack.dialect import LATEST, Dialect, named, parse
from skyvypack.errors import InputError, ToolMissing
from skyvypack.hcl import Attribute, Block, Document, Ref, Value

OLD = named("1.6.6")


def source(name: str, value: Value) -> Block:
    return Block("source", ["qemu", "x"], [Attribute(name, value)])


@pytest.mark.parametrize(
    ("printed", "version"),
    [
        ("Packer v1.6.6\n", (1, 6, 6)),
        ("Packer v1.11.2-dev (abcdef)\n\nYour version of Packer is out of date! The latest is 1.12.0.", (1, 11, 2)),
    ],
)
def test_parse(printed: str, version: dialect.Version) -> None:
    """The version is read from what `packer version` prints, also when it prints more."""
    assert parse(printed) == Dialect(version)


@pytest.mark.parametrize("printed", ["", "skipping 1.6.6", "/usr/share/dict/words: 1.2.3", "Packer v1.5.6"])
def test_parse_refuses(printed: str) -> None:
    """An older Packer, and another program of that name, are said to be so."""
    with pytest.raises(ToolMissing):
        parse(printed)


@pytest.mark.parametrize("name", ["", "1.6", "1.6.5", "newest", "v1.7.0", "1.7.0 "])
def test_named_refuses(name: str) -> None:
    """A version that is none, or too old, is the caller's mistake."""
    with pytest.raises(InputError, match="no Packer version"):
        named(name)


def test_latest() -> None:
    """`latest` is the newest version we have facts about."""
    assert named("latest") == LATEST
    assert LATEST.version == max(LATEST.version, *dialect.FEATURES.values())


def test_features() -> None:
    """1.6.6 has none of the later features, 1.7.0 those of its own, the newest all."""
    assert not any(OLD.has(feature) for feature in dialect.FEATURES)
    assert named("1.7.0").has("required_plugins")
    assert not named("1.7.0").has("shell-env")
    assert all(LATEST.has(feature) for feature in dialect.FEATURES)


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("disk_image", True, True),
        ("cpu_model", False, True),
        ("qemu_img_args", True, True),
        ("qemu_img_args.create", True, True),
        ("qemu_img_args.nope", False, False),
        ("nope.create", False, False),
    ],
)
def test_accepts(name: str, old: bool, new: bool) -> None:
    """Arguments, blocks and what is in blocks are known by version."""
    assert OLD.accepts("qemu", name) is old
    assert LATEST.accepts("qemu", name) is new


def test_refusal_names_the_version_that_can() -> None:
    """An argument that came later is refused with the plugin and Packer version that have it."""
    with pytest.raises(InputError) as caught:
        OLD.check(source("vtpm", True))
    assert caught.value.message == "builder qemu of Packer 1.6.6 has no vtpm"
    assert caught.value.hint == "plugin github.com/hashicorp/qemu 1.0.7 has it, with Packer 1.7.0 or newer"
    LATEST.check(source("vtpm", True))


def test_refusal_of_a_slip() -> None:
    """A misspelt argument is refused with the nearest one."""
    with pytest.raises(InputError, match="did you mean disk_size"):
        LATEST.check(source("disk_sise", "8G"))


def test_refusal_of_what_was_removed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An argument that a plugin dropped is refused with the version that did."""
    folder = tmp_path / "odd"
    folder.mkdir()
    table = {"plugin": "example.org/odd", "version": "2.0.0", "arguments": {}, "blocks": {}}
    (folder / "arguments-2.0.0.json").write_text(json.dumps(table))
    since = {"plugin": "example.org/odd", "first_version_of": {}, "removed_in": {"gone": "1.9.0"}}
    (folder / "since.json").write_text(json.dumps(since))
    monkeypatch.setattr(assets, "builders", lambda: tmp_path)
    with pytest.raises(InputError, match=r"plugin example.org/odd 1\.9\.0 removed it"):
        LATEST.require("odd", "gone")


@pytest.mark.parametrize(
    ("name", "value", "fits"),
    [
        ("cpus", 2, True),
        ("cpus", "2", False),
        ("cpus", True, False),
        ("headless", True, True),
        ("headless", "yes", False),
        ("format", "raw", True),
        ("format", 1, False),
        ("format", Ref("var.x"), True),
        ("format", None, True),
        ("cd_files", ["a", Ref("var.x")], True),
        ("cd_files", [1], False),
        ("cd_files", {"a": "b"}, False),
        ("qemuargs", [["-cpu", "max"]], True),
        ("qemuargs", ["-cpu"], False),
        ("cd_content", {"a": "b"}, True),
        ("cd_content", {"a": 1}, False),
        ("qemu_img_args", {"create": []}, False),
    ],
)
def test_types(name: str, value: Value, fits: bool) -> None:
    """A value of the wrong type is refused before Packer sees it; what Packer works out passes."""
    if fits:
        LATEST.check(source(name, value))
    else:
        with pytest.raises(InputError, match=name):
            LATEST.check(source(name, value))


def test_nested_blocks() -> None:
    """What is in a block is checked too, and an argument is no block."""
    LATEST.check(Block("source", ["qemu", "x"], [Block("qemu_img_args", body=[Attribute("create", ["-q"])])]))
    with pytest.raises(InputError, match=r"no qemu_img_args\.made"):
        LATEST.check(Block("source", ["qemu", "x"], [Block("qemu_img_args", body=[Attribute("made", [])])]))
    with pytest.raises(InputError, match="argument, not a block"):
        LATEST.check(Block("source", ["qemu", "x"], [Block("cpus")]))


def test_packer_block() -> None:
    """Plugins are required from 1.7 on; 1.6.6 refuses to read the block."""
    old, new = (Document([one.packer_block("qemu")]).render() for one in (OLD, LATEST))
    assert "required_plugins" not in old
    assert 'source  = "github.com/hashicorp/qemu"\n      version = ">= 1.1.4, < 2.0.0"' in new
    assert (OLD.plugin("qemu"), LATEST.plugin("qemu")) == ("", "github.com/hashicorp/qemu")


def test_unknown_builder() -> None:
    """A builder without a folder of facts is refused."""
    with pytest.raises(InputError, match="no facts about the builder nope"):
        LATEST.accepts("nope", "x")


@pytest.mark.parametrize("table", sorted(assets.builders().glob("*/arguments-*.json")), ids=lambda path: path.name)
def test_tables_say_where_they_are_from(table: Path) -> None:
    """Each table names its builder, version and source, in file name and text alike, and only known types."""
    facts = json.loads(table.read_text())
    assert facts["builder"] == table.parent.name
    assert table.name == f"arguments-{facts['version']}.json"
    assert facts["source"]
    kinds = {fact["type"] for fact in facts["arguments"].values()}
    assert kinds <= {"string", "number", "bool"} | {
        f"{outer}({inner})" for outer in ("list", "map") for inner in ("string", "number", "list(string)")
    }
