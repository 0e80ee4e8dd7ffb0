"""Writes the argument tables in `builders/<builder>/` from a folder of facts:

    python tools/packer_facts.py FACTS

FACTS holds, as read from the struct tags of Packer 1.6.6 and of each plugin: `1.6.6/<builder>.json` and
`latest/<builder>.json` with the arguments and nested blocks of a builder, and `schema_diff.json` with the plugin
version that added or removed each one.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

BUILDERS = Path(__file__).parent.parent / "builders"
BUNDLED = "builtin"  # what the facts call the plugin of a builder that Packer itself has
_KEPT = ("type", "required", "undocumented")


def tables(facts: Path) -> Iterator[tuple[str, str]]:
    """Every file to write.

    Args:
        facts: the folder of facts.

    Returns:
        Path within `builders/` and text, for each.
    """
    for folder in ("1.6.6", "latest"):
        for path in sorted((facts / folder).glob("*.json")):
            fact = json.loads(path.read_text(encoding="utf-8"))
            yield f"{fact['builder']}/arguments-{fact['version']}.json", _text(_table(fact)) + "\n"
    for builder, change in json.loads((facts / "schema_diff.json").read_text(encoding="utf-8")).items():
        yield f"{builder}/since.json", json.dumps(_since(builder, change), indent=2) + "\n"


def _table(fact: Mapping[str, Any]) -> dict[str, Any]:
    plugin = "" if fact["plugin"] == BUNDLED else fact["plugin"]
    where = f"the plugin {plugin} {fact['version']}" if plugin else f"Packer {fact['version']}"
    head = {"builder": fact["builder"], "plugin": plugin, "version": fact["version"]}
    return {**head, "source": f"struct tags of the builder's Config in {where}", **_body(fact)}


def _body(fact: Mapping[str, Any]) -> dict[str, Any]:
    arguments = {
        name: {key: argument[key] for key in _KEPT if key in argument} for name, argument in fact["arguments"].items()
    }
    blocks = {
        name: {"nesting": block["nesting"], "required": block["required"], **_body(block)}
        for name, block in fact["blocks"].items()
    }
    return {"arguments": arguments, "blocks": blocks}


def _since(builder: str, change: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "builder": builder,
        "plugin": change["plugin"],
        "source": "struct tags of the builder's Config at each of the plugin's tags",
        "tags": change["tags"],
        "first_version_of": change["added"],
        "removed_in": change["removed"],
        "type_changed_in": change["type_changed"],
    }


def _text(value: Any, margin: str = "") -> str:
    """JSON with one line for each argument."""
    if not isinstance(value, dict) or not value or isinstance(value.get("type"), str):
        return json.dumps(value)
    inner = ",\n".join(f"{margin}  {json.dumps(key)}: {_text(item, margin + '  ')}" for key, item in value.items())
    return f"{{\n{inner}\n{margin}}}"


def main() -> None:
    """Write the tables, and remove those of plugin versions that the facts have left behind."""
    parser = argparse.ArgumentParser(description="Write builders/*/arguments-*.json and since.json.")
    parser.add_argument("facts", type=Path, help="folder of facts")
    wanted = dict(tables(parser.parse_args().facts))
    for old in BUILDERS.glob("*/arguments-*.json"):
        if old.relative_to(BUILDERS).as_posix() not in wanted:
            old.unlink()
    for path, text in wanted.items():
        (BUILDERS / path).parent.mkdir(exist_ok=True)
        (BUILDERS / path).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
