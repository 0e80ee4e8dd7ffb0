"""Tests of checks in the contract of role base that a sound template never sees fail."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

CONTRACT = Path(__file__).parent.parent / "cloud-init" / "base" / "test_contract.py"
# dpkg-query's answer: status, package, essential, priority, dependencies, what it provides.
INSTALLED = """\
ii \tbase-files\tyes\trequired\tlibcrypt1 (>= 1),\t
ii \tlibcrypt1\tno\toptional\t,\t
ii \tapt\tno\timportant\t,\t
ii \tnginx\tno\toptional\tlibc6 (>= 2) | libc, default-mta,\t
ii \tlibc6\tno\toptional\t,\t
ii \tnullmailer\tno\toptional\t,\tdefault-mta (= 1), mail-transport-agent
rc \tremoved\tno\toptional\t,\t
"""


@pytest.fixture
def contract() -> ModuleType:
    found = importlib.util.spec_from_file_location("base_contract", CONTRACT)
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


def check(contract: ModuleType, installed: str) -> None:
    host = SimpleNamespace(check_output=lambda _command: installed)
    spec = SimpleNamespace(base="bootstrap", requested=["nginx"])
    contract.test_every_package_was_asked_for_or_is_needed(host, spec)


def test_packages_are_explained_by_roles_the_core_and_dependencies(contract: ModuleType) -> None:
    """Also through an alternative and a name that a package provides; a removed package does not count."""
    check(contract, INSTALLED)


@pytest.mark.parametrize("status", ["ii ", "iU ", "hi "])
def test_a_package_that_nobody_asked_for_fails_the_contract(contract: ModuleType, status: str) -> None:
    """It is named, whether it is configured, only unpacked, or on hold."""
    with pytest.raises(AssertionError, match="nobody asked for telnetd"):
        check(contract, f"{INSTALLED}{status}\ttelnetd\tno\toptional\tlibc6,\t\n")
