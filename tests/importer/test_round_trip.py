"""What we write comes back: render, import, render gives the same document, for every golden and for random specs."""

from __future__ import annotations

import re

import pytest
import regenerate_goldens
from random_specs import drawn

from skyvypack.errors import InputError
from skyvypack.importer import import_template
from skyvypack.render import render

DOCUMENT = "skyvyos.pkr.hcl"
GOLDENS = regenerate_goldens.bundles()
# Without them a template says nothing of IMDSv2, and the spec's default stands.
NOT_SAID = re.compile(r"  imds_support +=.*\n|\n  metadata_options \{\n(?:    http_\w+ +=.*\n)+  \}\n")


def again(text: str, target: str, dialect: str) -> str:
    """A document made of the spec that was made of a document."""
    made = import_template({DOCUMENT: text})
    assert made.target == target
    return render(made.spec, target, dialect).files[DOCUMENT]


def without_blanks(text: str) -> list[str]:
    """The lines, without the blanks that line their equals signs up, and without what is not said."""
    return [re.sub(r" +=", " =", line) for line in NOT_SAID.sub("", text).splitlines()]


@pytest.mark.parametrize("name", GOLDENS)
def test_every_golden_comes_back(name: str) -> None:
    """A golden's document, imported and rendered again for the same Packer, is the same."""
    bundle = GOLDENS[name]
    text = bundle.files[DOCUMENT]
    after = again(text, bundle.target, bundle.dialect)
    if name == "amazon-ebssurrogate-settings-latest":
        assert without_blanks(after) == without_blanks(text) != without_blanks("")
    else:
        assert after == text


def check_random(count: int, dialect: str) -> None:
    came_back = 0
    for target, spec in drawn(count):
        try:
            bundle = render(spec, target, dialect)
        except InputError:
            continue  # what is refused, and how, has tests of its own
        own = "qemu" if bundle.builder == "qemu" else target
        text = bundle.files[DOCUMENT]
        assert without_blanks(again(text, own, dialect)) == without_blanks(text)
        came_back += 1
    assert came_back > count // 4


@pytest.mark.parametrize("dialect", ["1.6.6", "latest"])
def test_random_specs_come_back(dialect: str) -> None:
    """So does what a random spec renders to."""
    check_random(48, dialect)  # of few, chance may refuse too many


@pytest.mark.load
@pytest.mark.parametrize("dialect", ["1.6.6", "latest"])
def test_many_random_specs_come_back(dialect: str) -> None:
    """So do hundreds of them."""
    check_random(400, dialect)
