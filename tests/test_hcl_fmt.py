"""The HCL emitter against the real Packer, and read back by another reader."""

from __future__ import annotations

import base64
import json
import re
import unicodedata
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from pyhcl2 import nodes, parse

from skyvypack import command
from skyvypack.hcl import Attribute, Block, Call, Document, Heredoc, Ref

_KEYWORDS = ("false", "for", "if", "in", "null", "true")
_CHECKPOINT = {"CHECKPOINT_DISABLE": "1"}

NAMES = st.from_regex(r"[a-z][a-z0-9_]{0,12}", fullmatch=True).filter(lambda name: name not in _KEYWORDS)
# HCL holds all text in Unicode's composed form, so other forms cannot be read back.
TEXTS = st.one_of(
    st.text(max_size=20),
    st.text(alphabet='${}%"\\\n #=<[]', max_size=12),
).map(lambda text: unicodedata.normalize("NFC", text))
PLAIN = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(-1e15, 1e15), TEXTS)
VALUES: st.SearchStrategy[Any] = st.recursive(
    PLAIN, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4), max_leaves=8
)
HEREDOCS = TEXTS.map(lambda text: Heredoc(text + "\n"))
COMMENTS = st.one_of(st.just(""), TEXTS)


def _blocks(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Block]:
    items = st.one_of(st.builds(Attribute, NAMES, VALUES | HEREDOCS, COMMENTS), inner)
    bodies = st.lists(items, max_size=6, unique_by=lambda item: getattr(item, "name", id(item)))
    return st.builds(Block, NAMES.filter(lambda name: name != "locals"), st.lists(TEXTS, max_size=2), bodies, COMMENTS)


BLOCKS = st.recursive(_blocks(st.nothing()), _blocks, max_leaves=3)
DOCUMENTS = st.builds(
    Document,
    st.lists(BLOCKS.filter(lambda block: block.type not in ("source", "variable")), max_size=4),
    COMMENTS,
)


def unescape(raw: str) -> str:
    """What stands between quotes, by HCL's rules."""
    short = {"n": "\n", "r": "\r", "t": "\t", '"': '"', "\\": "\\"}

    def one(match: re.Match[str]) -> str:
        return chr(int(match[1] or match[2], 16)) if match[1] or match[2] else short[match[3]]

    return re.sub(r"\\(?:u([0-9a-f]{4})|U([0-9a-f]{8})|(.))", one, raw)


def read(node: nodes.Expression) -> Any:
    """A value as another reader has it."""
    match node:
        case nodes.Literal():
            raw = node.value.raw()
            return unescape(raw) if isinstance(raw, str) else raw
        case nodes.ArrayExpression():
            return [read(item) for item in node.values]
        case nodes.ObjectExpression():
            names = {name: name.name if isinstance(name, nodes.Identifier) else read(name) for name in node.fields}
            return {names[name]: read(item) for name, item in node.fields.items()}
        case nodes.UnaryExpression():
            return -read(node.expr)
    raise AssertionError(f"{type(node).__name__} was not written")


def _collect(strategy: st.SearchStrategy[Any], count: int) -> list[Any]:
    """Many examples at once: Packer takes long to start."""
    found: list[Any] = []

    @given(strategy)
    @settings(
        max_examples=count,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    def collect(example: Any) -> None:
        found.append(example)

    collect()
    return found


def test_another_reader_reads_the_same() -> None:
    """pyhcl2 gets back the values that were written."""
    tables = _collect(st.dictionaries(NAMES, VALUES, max_size=6), 30)
    blocks = [Block("b", body=[Attribute(name, value) for name, value in table.items()]) for table in tables]
    module = parse.parse_module(Document(blocks).render())
    assert [{item.key.name: read(item.value) for item in block.body} for block in module.body] == tables


@pytest.mark.tool
def test_fmt_leaves_documents_alone(tmp_path: Path) -> None:
    """`packer fmt` would change nothing in any of several hundred random documents."""
    documents = _collect(DOCUMENTS, 400)
    for number, document in enumerate(documents):
        (tmp_path / f"{number:03}.pkr.hcl").write_bytes(document.render().encode())
    done = command.run(["packer", "fmt", "-check", "-diff", tmp_path], env=_CHECKPOINT, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")
    assert len(documents) >= 300


@pytest.mark.tool
def test_packer_reads_the_same_text(tmp_path: Path) -> None:
    """Packer evaluates every quoted text and heredoc to what was meant, holes and escapes included."""
    texts = [text for text in _collect(TEXTS, 300) if "\x00" not in text]
    heredocs = [text + "\n" for text in texts[:100]]
    body = [Attribute("quoted", texts), *(Attribute(f"h{n}", Heredoc(text)) for n, text in enumerate(heredocs))]
    # Encoded by Packer itself: what `inspect` prints of a text is quoted by rules of its own.
    lines = [Ref(f"local.h{number}") for number in range(len(heredocs))]
    found = Attribute("found", Call("base64encode", (Call("jsonencode", ([Ref("local.quoted"), lines],)),)))
    (tmp_path / "a.pkr.hcl").write_bytes(Document([Block("locals", body=[*body, found])]).render().encode())
    done = command.run(["packer", "inspect", tmp_path], env=_CHECKPOINT)
    (printed,) = re.findall(r'^local\.found: "(.*)"$', done.stdout, re.MULTILINE)
    assert json.loads(base64.b64decode(printed)) == [texts, heredocs]
