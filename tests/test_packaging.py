"""What is installed is what stands in the tree, no less and no more."""

from __future__ import annotations

import ast
import configparser
import shutil
import sys
import zipfile
from pathlib import Path

import pytest

from skyvypack import __version__, assets, command

ROOT = Path(__file__).resolve().parent.parent
# Where each of the tree's folders is in a wheel.
SHIPPED = {"skyvypack": "skyvypack", "builders": "skyvypack/_data/builders", "cloud-init": "skyvypack/_data/cloud_init"}
BYPRODUCTS = ("__pycache__", "*.pyc", "*.egg-info", ".*_cache", "build")


def tree_files() -> dict[str, Path]:
    """Path in the wheel of each file that the tree ships."""
    files = {}
    for folder, place in SHIPPED.items():
        for path in sorted((ROOT / folder).rglob("*")):
            parts = path.relative_to(ROOT / folder).parts
            if path.is_file() and not any(Path(part).match(pattern) for part in parts for pattern in BYPRODUCTS):
                files["/".join((place, *parts))] = path
    return files


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel built from a copy of the tree, so that no byproduct lands in the tree and no stale one in the wheel."""
    copy = tmp_path_factory.mktemp("tree")
    for folder in SHIPPED:
        shutil.copytree(ROOT / folder, copy / folder, ignore=shutil.ignore_patterns(*BYPRODUCTS))
    for name in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy)
    command.run([sys.executable, "-m", "pip", "wheel", "--no-deps", "--wheel-dir", copy / "dist", copy], timeout=300)
    return next((copy / "dist").glob("*.whl"))


@pytest.mark.tool
def test_the_wheel_holds_what_the_tree_holds(wheel: Path) -> None:
    """Every file of the package, of builders/ and of cloud-init/ is in the wheel with the same bytes, dotfiles too."""
    with zipfile.ZipFile(wheel) as archive:
        inside = {name: archive.read(name) for name in archive.namelist()}
    files = tree_files()
    assert sorted(files.keys() - inside.keys()) == []
    assert [name for name, path in files.items() if inside[name] != path.read_bytes()] == []


@pytest.mark.tool
def test_the_tree_holds_what_the_wheel_holds(wheel: Path) -> None:
    """Nothing is in the wheel that is not in the tree, but its own metadata."""
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if not name.endswith("/") and ".dist-info/" not in name}
    assert sorted(names - set(tree_files())) == []


@pytest.mark.tool
def test_the_wheel_carries_the_version(wheel: Path) -> None:
    """The wheel's version is the library's."""
    assert wheel.name.split("-")[1] == __version__


def test_setup_cfg_names_every_package_folder() -> None:
    """A folder with Python files that setup.cfg leaves out would be missing from an install."""
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    named = set(setup["options"]["packages"].split())
    folders = {path.parent.relative_to(ROOT) for path in sources()}
    data = {"skyvypack._data.builders", "skyvypack._data.cloud_init"}
    assert named - data == {".".join(folder.parts) for folder in folders}


def test_a_checkout_finds_its_own_data() -> None:
    """Without a wheel's data the checkout's folders are used."""
    assert assets.builders() == ROOT / "builders"
    assert assets.roles() == ROOT / "cloud-init"


def sources() -> list[Path]:
    return sorted((ROOT / "skyvypack").rglob("*.py"))


def calls(tree: ast.AST) -> set[str]:
    """Dotted names of everything that is called."""
    return {ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}


@pytest.mark.parametrize("path", sources(), ids=lambda path: str(path.relative_to(ROOT)))
def test_only_command_starts_processes_and_only_cli_prints(path: Path) -> None:
    """Each effect has its room, also in modules that nobody tests for it."""
    called = calls(ast.parse(path.read_text(encoding="utf-8")))
    starts = {"subprocess.run", "subprocess.Popen", "subprocess.check_output", "subprocess.check_call", "os.system"}
    speaks = {"print", "sys.exit", "click.echo"}
    if path.name != "command.py":
        assert not called & starts
    if "cli" not in path.parts:
        assert not called & speaks


@pytest.mark.parametrize("path", sources(), ids=lambda path: str(path.relative_to(ROOT)))
def test_modules_and_functions_stay_short(path: Path) -> None:
    """A module has at most 400 lines, a function 40 without its docstring."""
    text = path.read_text(encoding="utf-8")
    functions = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.FunctionDef)]
    long = [node.name for node in functions if body_lines(node) > 40]
    assert len(text.splitlines()) <= 400
    assert long == []


def body_lines(function: ast.FunctionDef) -> int:
    """Lines of a function's statements, its docstring aside."""
    statements = function.body[1:] if ast.get_docstring(function) else function.body
    return statements[-1].end_lineno - statements[0].lineno + 1 if statements else 0  # type: ignore[operator]
