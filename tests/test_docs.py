"""The documentation says what is so."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest

import skyvypack
from skyvypack.cli.app import cli

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted(path for path in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")] if path.parent.name != "reference")


def test_the_reference_is_current() -> None:
    """docs/reference and README's table are what the generator writes; when this fails, run ``nox -s docs``."""
    generator = runpy.run_path(str(ROOT / "docs" / "generate_reference.py"))
    pages = generator["pages"]()
    written = {path.name: path.read_text(encoding="utf-8") for path in (ROOT / "docs" / "reference").iterdir()}
    assert sorted(written) == sorted(pages)
    stale = [name for name, text in pages.items() if written[name] != text]
    assert stale == []
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert readme == generator["readme"](readme)


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    """Every relative link of a page names a file that is there."""
    targets = re.findall(r"\]\((?!https?://)([^)#]+)", page.read_text(encoding="utf-8"))
    assert [target for target in targets if not (page.parent / target).exists()] == []


def test_readme_names_every_verb() -> None:
    """A verb that README does not name would not be found."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert [name for name in cli.commands if f"`{name}" not in readme] == []


def test_the_specs_of_readme_and_examples_are_good() -> None:
    """What a user copies can be loaded."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```yaml\n(.*?)```", readme, re.DOTALL)
    specs = blocks + [path.read_text(encoding="utf-8") for path in sorted((ROOT / "examples").glob("*.yaml"))]
    assert len(specs) >= 2
    for text in specs:
        skyvypack.loads(text)


def test_the_quickstart_has_the_nine_roles() -> None:
    """README's first bake covers what the changelog promises."""
    spec = skyvypack.load(ROOT / "examples" / "quickstart.yaml")
    promised = {"base", "network", "ssh", "firewall", "accounts", "kernel", "updates", "logging", "nginx"}
    assert {role.name for role in spec.roles} == promised
    assert spec.debian == "trixie"
    assert set(spec.origins.values()) <= {"debian"}


def test_the_functions_of_the_library_stay_functions() -> None:
    """Modules of the same name do not hide them, in whatever order they are imported."""
    import importlib

    for name in ("render", "bake", "verify"):
        module = importlib.import_module(f"skyvypack.{name}")
        assert getattr(skyvypack, name) is getattr(module, name)
    with pytest.raises(AttributeError, match="nonsense"):
        skyvypack.nonsense  # noqa: B018
