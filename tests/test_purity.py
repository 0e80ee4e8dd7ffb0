"""The pure half starts no process, opens no connection, writes nothing, and knows no clock and no environment."""

from __future__ import annotations

import ast
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from skyvypack import command

PACKAGE = Path(command.__file__).parent
# The pure half: whatever matches is checked, so a new module of these folders is too. Registrars are effects.
PURE = (
    "errors.py",
    "assets.py",
    "bundle.py",
    "document.py",
    "rules.py",
    "validator.py",
    "template.py",
    "role_folders.py",
    "roles.py",
    "repositories.py",
    "inventory.py",
    "profiles.py",
    "cloudinit.py",
    "dialect.py",
    "installer.py",
    "ovf.py",
    "recipe.py",
    "render.py",
    "hcl/*.py",
    "importer/*.py",
    "lint/*.py",
    "spec/*.py",
    "targets/*.py",
    "targets/*/*.py",
)
SDKS = {"boto3", "botocore", "pyVmomi", "pyVim", "proxmoxer", "requests", "paramiko"}
IMPURE_LIBRARIES = {
    *SDKS,
    *("asyncio", "multiprocessing", "os", "shutil", "signal", "subprocess", "sys", "tempfile", "threading", "fcntl"),
    *("http", "smtplib", "socket", "ssl", "urllib.request"),
    *("random", "secrets", "time", "uuid"),
}
WRITING_CALLS = {
    "open",
    "write_text",
    "write_bytes",
    "mkdir",
    "touch",
    "symlink_to",
    "chmod",
    "unlink",
    "rmdir",
    "rename",
}
AMBIENT_CALLS = {"now", "today", "utcnow", "cwd", "home", "expanduser"}


def pure_modules() -> list[Path]:
    found = {path for pattern in PURE for path in PACKAGE.glob(pattern)}
    return sorted(path for path in found if path.name != "registrar.py")


def dotted(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(tree: ast.AST) -> Iterator[str]:
    """Every module a source imports, at any depth; names below a package are given both ways."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, "imports are absolute"
            yield str(node.module)
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def impurities(source: str) -> list[str]:
    """What makes a source impure, in words."""
    tree = ast.parse(source)
    pure = {dotted(path) for path in pure_modules()}
    found = []
    for name in imports(tree):
        if name in IMPURE_LIBRARIES or name.partition(".")[0] in IMPURE_LIBRARIES:
            found.append(f"imports {name}")
        module = PACKAGE.parent.joinpath(*name.split("."))
        ours = name.startswith("skyvypack.") and (module.with_suffix(".py").exists() or module.is_dir())
        if ours and name not in pure:
            found.append(f"imports {name}, which is not pure")
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        if isinstance(node.func, ast.Name) and node.func.id in ("open", "exec", "eval", "print", "input"):
            found.append(f"calls {node.func.id}")
        if isinstance(node.func, ast.Attribute) and node.func.attr in WRITING_CALLS | AMBIENT_CALLS:
            found.append(f"calls .{node.func.attr}")
    return found


@pytest.mark.parametrize("pattern", PURE)
def test_every_room_of_the_pure_half_exists(pattern: str) -> None:
    """The list names modules that are there: one that moved away would be checked no more."""
    assert list(PACKAGE.glob(pattern))


@pytest.mark.parametrize("path", pure_modules(), ids=dotted)
def test_module_is_pure(path: Path) -> None:
    """A module of the pure half reaches nothing outside: by import, or by a call that writes or asks the clock."""
    assert impurities(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "source",
    [
        "import subprocess",
        "import os.path",
        "from os import environ",
        "def f():\n    import socket",
        "from urllib.request import urlopen",
        "import urllib.request",
        "from skyvypack import command",
        "from skyvypack.runs import lock",
        "from skyvypack.command import run",
        "open('x')",
        "path.write_text('x')",
        "datetime.now()",
        "import boto3",
    ],
)
def test_the_check_finds_what_it_should(source: str) -> None:
    """Each way out of the pure half is seen."""
    assert impurities(source)


def test_imports_pull_in_no_sdk_and_no_effects() -> None:
    """In a fresh interpreter, importing the whole pure half loads no provider's SDK and none of our effects."""
    names = [dotted(path) for path in pure_modules()]
    code = "import importlib, json, sys; [importlib.import_module(n) for n in sys.argv[1:]]; "
    done = command.run([sys.executable, "-c", code + "print(json.dumps(sorted(sys.modules)))", *names])
    loaded = set(json.loads(done.stdout))
    assert loaded >= set(names)
    assert not loaded & {*SDKS, "skyvypack.command", "skyvypack.runs", "skyvypack.bake", "skyvypack.cli", "click"}


def test_spec_is_cheap_to_import() -> None:
    """`import skyvypack.spec` waits for neither Cerberus nor Jinja2, so that `--help` does not either."""
    code = "import skyvypack.spec, skyvypack.roles, skyvypack.targets, sys; print(*sys.modules)"
    loaded = set(command.run([sys.executable, "-c", code]).stdout.split())
    assert "skyvypack.spec.reader" in loaded
    assert not loaded & {"cerberus", "jinja2"}
