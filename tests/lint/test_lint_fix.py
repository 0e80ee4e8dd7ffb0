"""Mending touches exactly what was found, or nothing at all."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skyvypack import dialect, lint_files
from skyvypack.dialect import Tables
from skyvypack.errors import InputError
from skyvypack.lint import lint
from skyvypack.lint.fix import fix
from skyvypack.lint.schema import builders, facts

BEFORE = (
    'source "qemu" "a" {\r\n\tssh_host_port_min   =  22 # ssh_host_port_min\r\n'
    '  ssh_wait_timeout = "ssh_wait_timeout ☃"\r\n}'
)
AFTER = (
    'source "qemu" "a" {\r\n\thost_port_min   =  22 # ssh_host_port_min\r\n  ssh_timeout = "ssh_wait_timeout ☃"\r\n}'
)


def mended(text: str, name: str = "a.pkr.hcl") -> str:
    return fix(name, text, lint({name: text}))


def test_only_the_names_change() -> None:
    """Blanks, comments, line ends and strings that look alike stay as they are, and a second time nothing is left."""
    assert mended(BEFORE) == AFTER
    assert mended(AFTER) == AFTER


def test_nested_names() -> None:
    """In a block only the last word is written."""
    text = 'source "vsphere-iso" "a" {\n  export {\n    images = true\n  }\n}\n'
    found = lint({"a.pkr.hcl": text}, plugins={"vsphere": (1, 0, 4)})
    assert "image_files = true" in fix("a.pkr.hcl", text, found)


def test_not_where_the_new_name_stands_too() -> None:
    """Two arguments of one name would be refused."""
    text = 'source "qemu" "a" {\n  ssh_timeout = "1m"\n  ssh_wait_timeout = "2m"\n}\n'
    assert mended(text) == text


def test_not_where_the_new_name_is_unknown() -> None:
    """What a version does not have yet is no newer name."""
    text = 'source "amazon-ebs" "a" {\n  enable_t2_unlimited = true\n}\n'
    assert "enable_unlimited_credits" in mended(text)
    assert lint({"a.pkr.hcl": text}, dialect=dialect.named("1.6.6"), select=["deprecated-name"]) == []


def test_json_is_left_alone() -> None:
    """In JSON it is only told."""
    text = '{"source": {"qemu": {"a": {"ssh_wait_timeout": "1m"}}}}'
    assert [one.rule for one in lint({"a.pkr.json": text}, select=["deprecated-name"])] == ["deprecated-name"]
    assert mended(text, "a.pkr.json") == text


@settings(deadline=None)  # a busy machine is no fault
@given(
    st.lists(st.sampled_from(["ssh_wait_timeout", "ssh_host_port_min", "memory", "vm_name"]), unique=True), st.text()
)
def test_the_rest_is_the_same(names: list[str], comment: str) -> None:
    """Whatever stands around them, taking the new names back gives the old text."""
    comment = "".join(char for char in comment if char.isprintable())
    lines = "".join(f"  {name} = 1 # {comment}\n" for name in names)
    text = f'source "qemu" "a" {{\n{lines}}}\n'
    after = mended(text)
    for old, new in (("ssh_wait_timeout", "ssh_timeout"), ("ssh_host_port_min", "host_port_min")):
        after = after.replace(f"  {new} = ", f"  {old} = ")
    assert after == text


def fact_of(found: Tables, path: str) -> object:
    for table in (found.newest, found.bundled):
        place = table or {}
        *outer, last = path.split(".")
        for name in outer:
            place = place.get("blocks", {}).get(name, {})
        if fact := place.get("arguments", {}).get(last):
            return fact["type"]
    return None


def test_a_new_name_takes_the_same_values() -> None:
    """Of every name that is mended, both are arguments of one type in the builder's tables."""
    names = 0
    for builder in set(builders().values()):
        found = dialect.tables(builder)
        assert found
        for old, renamed in facts(builder).renamed.items():
            if renamed.new:
                names += 1
                assert fact_of(found, old) == fact_of(found, renamed.new) is not None, (builder, old)
    assert names > 10


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "a.pkr.hcl"
    file.write_bytes(BEFORE.encode())
    file.chmod(0o640)
    return file


def test_written_whole_with_its_mode(file: Path) -> None:
    """The new text takes the file's place, its mode stays, and nothing is left beside it."""
    lint_files.replace(file, BEFORE, AFTER)
    assert file.read_bytes() == AFTER.encode()
    assert file.stat().st_mode & 0o777 == 0o640
    assert list(file.parent.iterdir()) == [file]


def test_a_file_that_changed_is_left_alone(file: Path) -> None:
    """What someone wrote meanwhile is never lost."""
    file.write_text("changed")
    with pytest.raises(InputError, match="was changed while"):
        lint_files.replace(file, BEFORE, AFTER)
    assert file.read_text() == "changed"
    assert list(file.parent.iterdir()) == [file]


def test_a_link_stays_a_link(file: Path) -> None:
    """What it points to is mended."""
    link = file.with_name("b.pkr.hcl")
    link.symlink_to(file.name)
    lint_files.replace(link, BEFORE, AFTER)
    assert link.is_symlink()
    assert file.read_bytes() == AFTER.encode()


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    """The error says so, and the file is as it was."""
    with pytest.raises(InputError, match="cannot write"):
        lint_files.replace(tmp_path / "no" / "a.pkr.hcl", BEFORE, AFTER)
