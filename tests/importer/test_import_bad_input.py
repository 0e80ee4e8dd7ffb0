"""What is no template is refused in words, with exit code 2, and nothing is written."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from skyvypack.cli.app import cli

DEEP = 5000


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def refused(*paths: str) -> str:
    """What `import` says of paths that it refuses."""
    result = CliRunner().invoke(cli, ["import", *paths])
    assert isinstance(result.exception, SystemExit) or result.exception is None
    assert result.exit_code == 2
    assert not Path("skyvypack.yaml").exists()
    return result.output


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.pkr.hcl", b"\x00\xff\xfe" * 50, "a.pkr.hcl:1:2: not UTF-8 text"),
        ("a.pkr.hcl", b"locals {\n  a = 1\n", "a.pkr.hcl:1:8: { is never closed"),
        ("a.pkr.hcl", b"locals {\n  a = <<EOT\nx\n", "a.pkr.hcl:2:7: the heredoc never ends"),
        ("a.pkr.hcl", b"locals {\n a = " + b"[" * DEEP + b"]" * DEEP + b"\n}\n", "brackets are nested too deeply"),
        ("a.pkr.hcl", b"#" * (4 * 1024 * 1024 + 1), "a.pkr.hcl is larger than 4 MiB"),
        ("a.pkr.hcl", b"", "there is no source block"),
        ("a.pkr.hcl", b'source "lxc" "a" {}\n', "no source is of a builder that is known: lxc.a"),
        ("a.pkr.json", b"", "a.pkr.json:1:1: the text ends too early"),
        ("a.pkr.json", b'{"locals": ' + b"[" * DEEP + b"]" * DEEP + b"}", "nested too deeply"),
        ("a.json", b"[1]", "a.json:1:1: an object is missing here"),
        ("a.json", b'{"builders": {}}', "a.json:1:14: a list is missing here"),
        ("a.json", b'{"builders": [{"name": "x"}]}', 'a.json:1:15: "type" is missing here'),
        ("a.json", b'{"builders": [{"type": "qemu"}, {"type": "qemu"}]}', "there are 2 sources qemu.qemu"),
        ("a.json", b'{"builders": [{"type": ["qemu"]}]}', '"type" is missing here'),
        ("a.txt", b"", "a.txt is no template by its name"),
    ],
)
def test_what_is_no_template_is_refused(here: Path, name: str, content: bytes, words: str) -> None:
    """Each kind of bad file is told in words, with its place where it has one."""
    (here / name).write_bytes(content)
    assert words in refused(name)


def test_what_cannot_be_read_is_told_at_once(here: Path) -> None:
    """A missing file, a link to itself and a folder without a template are told together."""
    (here / "loop.pkr.hcl").symlink_to("loop.pkr.hcl")
    (here / "empty").mkdir()
    said = refused("missing.pkr.hcl", "loop.pkr.hcl", "empty")
    assert (
        "missing.pkr.hcl is no file or folder\nloop.pkr.hcl is no file or folder\nthere is no template in empty" in said
    )


def test_every_file_that_is_malformed_is_told(here: Path) -> None:
    """Two malformed files are told together."""
    (here / "a.pkr.hcl").write_text("locals {\n")
    (here / "b.pkr.hcl").write_text('a = "\n')
    assert "a.pkr.hcl:1:8" in refused(".")
    assert "b.pkr.hcl:1:5" in refused(".")


@pytest.mark.parametrize(
    "text", ['\ufeffsource "qemu" "a" {\n  cpus = 3\n}\n', 'source "qemu" "a" {\r\n  cpus = 3\r\n}\r\n']
)
def test_marks_and_line_ends_do_no_harm(here: Path, text: str) -> None:
    """A byte order mark and the line ends of Windows are read as Packer reads them."""
    (here / "a.pkr.hcl").write_bytes(text.encode())
    assert CliRunner().invoke(cli, ["import", "a.pkr.hcl"]).exit_code == 0
    assert "cpus: 3" in (here / "skyvypack.yaml").read_text(encoding="utf-8")


def test_what_stands_twice_is_told(here: Path) -> None:
    """Of an argument that is given twice in JSON the last counts, as for Packer, and the report says so."""
    (here / "a.json").write_text('{"builders": [{"type": "qemu", "cpus": 1,\n "cpus": 2}]}')
    result = CliRunner().invoke(cli, ["import", "a.json"])
    assert "a.json:1: argument cpus stands here again further down, and the last one counts" in result.output
    assert "cpus: 2" in (here / "skyvypack.yaml").read_text(encoding="utf-8")
