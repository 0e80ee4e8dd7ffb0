"""The script that reads what builders take from the sources of Packer and its plugins."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

from skyvypack import assets, command
from skyvypack.errors import CommandFailed

TOOLS = Path(__file__).parent.parent / "tools"
SPEC = """
import (
	common "example/plugin/builder/thing/common"
	"github.com/hashicorp/hcl/v2/hcldec"
)

type FlatConfig struct {
	Name  *string `mapstructure:"name" required:"true" cty:"name" hcl:"name"`
	Quiet *bool   `mapstructure:"quiet" undocumented:"true" cty:"quiet" hcl:"quiet"`
}

func (*FlatConfig) HCL2Spec() map[string]hcldec.Spec {
	s := map[string]hcldec.Spec{
		"packer_debug": &hcldec.AttrSpec{Name: "packer_debug", Type: cty.Bool, Required: false},
		"name":         &hcldec.AttrSpec{Name: "name", Type: cty.String, Required: false},
		"quiet":        &hcldec.AttrSpec{Name: "quiet", Type: cty.Map(cty.List(cty.Bool)), Required: false},
		"disks": &hcldec.BlockListSpec{TypeName: "disks", Nested: hcldec.ObjectSpec((*common.FlatD)(nil).HCL2Spec())},
	}
	return s
}
"""
DISK = """
type FlatD struct {
	Size *int `mapstructure:"size" cty:"size" hcl:"size"`
}

func (*FlatD) HCL2Spec() map[string]hcldec.Spec {
	s := map[string]hcldec.Spec{
		"size": &hcldec.AttrSpec{Name: "size", Type: cty.Number, Required: false},
	}
	return s
}
"""
BODY = {
    "arguments": {
        "name": {"type": "string", "required": True},
        "quiet": {"type": "map(list(bool))", "required": False, "undocumented": True},
    },
    "blocks": {
        "disks": {
            "nesting": "list",
            "required": False,
            "arguments": {"size": {"type": "number", "required": False}},
            "blocks": {},
        }
    },
}


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch):  # type: ignore[no-untyped-def]
    """The script as a module."""
    monkeypatch.syspath_prepend(str(TOOLS))
    import packer_sources

    return packer_sources


def test_a_builder_is_read(script, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    """Arguments with type and tags, and blocks from another package, are found by the builder's name."""
    for folder, text in (("iso", SPEC), ("common", DISK)):
        (tmp_path / "builder" / "thing" / folder).mkdir(parents=True)
        (tmp_path / "builder" / "thing" / folder / "config.hcl2spec.go").write_text(text)
    monkeypatch.setattr(script.Module, "__post_init__", lambda self: setattr(self, "folder", tmp_path))
    module = script.Module("go", "example/plugin", "v1.2.3")
    assert module.name == "1.2.3"
    assert module.body(module.builder("thing-iso")) == BODY
    with pytest.raises(script.Unavailable):
        module.builder("other-iso")


def test_history_tells_what_came_and_went(script, capsys: pytest.CaptureFixture[str]) -> None:  # type: ignore[no-untyped-def]
    """What a version brought is noted; a version that could not be read is believed; what contradicts is told."""

    def facts(*names: str) -> dict[str, object]:
        return {"arguments": {name: {"type": "string"} for name in names}, "blocks": {}}

    known = {
        "plugin": "p",
        "tags": ["1.0.0", "1.1.0", "1.2.0"],
        "first_version_of": {"b": "1.1.0", "c": "1.0.0"},
        "removed_in": {},
        "type_changed_in": {},
    }
    found = script.history("x", known, {"a": "string"}, {"1.0.0": facts("a"), "1.2.0": facts("b", "c", "d")})
    assert found["added"] == {"b": "1.1.0", "c": "1.0.0", "d": "1.2.0"}
    assert found["removed"] == {"a": "1.2.0"}
    assert capsys.readouterr().err == "x: c is added by 1.2.0, not 1.0.0 as since.json says\n"


@pytest.mark.tool
@pytest.mark.newest
def test_the_tables_are_what_the_sources_say(tmp_path: Path) -> None:
    """Read again from the sources of Packer 1.6.6 and the pinned plugins, every table is the one that is kept."""
    try:
        command.run([sys.executable, TOOLS / "packer_sources.py", tmp_path], env=dict(os.environ), timeout=600)
    except CommandFailed as error:
        pytest.skip(f"sources that Go cannot get: {error.tail.splitlines()[-1]}")
    read = {}
    for path in tmp_path.glob("*/*.json"):
        fact = json.loads(path.read_text(encoding="utf-8"))
        read[f"{fact['builder']}/arguments-{fact['version']}.json"] = {key: fact[key] for key in BODY}
    kept = {
        path.relative_to(assets.builders()).as_posix(): json.loads(path.read_text(encoding="utf-8"))
        for path in assets.builders().glob("*/arguments-*.json")
    }
    assert read == {name: {key: table[key] for key in BODY} for name, table in kept.items()}
    changes = json.loads((tmp_path / "schema_diff.json").read_text(encoding="utf-8"))
    for builder, change in changes.items():
        since = json.loads((assets.builders() / builder / "since.json").read_text(encoding="utf-8"))
        assert (change["added"], change["removed"]) == (since["first_version_of"], since["removed_in"])
