"""Where the facts about Packer 1.6.6 are, and how a source block is edited."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

FACTS = Path(__file__).parent / "packer-1.6.6"

Edit = Callable[[str, frozenset[str], str], str]


@pytest.fixture(scope="session")
def facts() -> Path:
    """One file for each builder that Packer 1.6.6 accepts, and its verdict on changes of them."""
    return FACTS


@pytest.fixture(scope="session")
def accepted(facts: Path) -> dict[str, str]:
    """The text that Packer 1.6.6 accepts, by builder."""
    return {path.name.removesuffix(".pkr.hcl"): path.read_text(encoding="utf-8") for path in facts.glob("*.pkr.hcl")}


@pytest.fixture(scope="session")
def edited() -> Edit:
    """A text whose source block has lost some arguments or blocks and has gained lines."""

    def edit(text: str, without: frozenset[str], lines: str) -> str:
        body = re.search(r'source "[\w-]+" "debian12" \{\n(.*?)\n\}\n', text, re.DOTALL)
        assert body
        kept: list[str] = []
        keeps = True
        for line in body[1].split("\n"):
            if name := re.match(r"  (\w+)", line):
                keeps = name[1] not in without
            if keeps:
                kept.append(line)
        return text.replace(body[1], "\n".join([*kept, lines]))

    return edit
