"""Tests of checks in the contracts of roles that a sound template never sees fail."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

ROLES = Path(__file__).parent.parent / "cloud-init"
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


def load(role: str) -> ModuleType:
    """A role's contract as a module."""
    found = importlib.util.spec_from_file_location(f"{role}_contract", ROLES / role / "test_contract.py")
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


@pytest.fixture
def contract() -> ModuleType:
    return load("base")


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


@pytest.mark.parametrize(
    ("found", "complaint"),
    [
        ("0 0\n0 42", ""),
        ("0 0\nopen /srv/open", "writable by everybody: /srv/open"),
        ("0 0\n54321 0", "/srv/foreign"),
        ("0 0\n0 54321", "/srv/foreign"),
        ("0 0\nincomplete", "not everything could be looked at"),
        ("", "nothing was looked at"),
    ],
)
def test_files_that_are_open_or_foreign_are_found(found: str, complaint: str) -> None:
    """So is a search that did not come to its end: without files it would find nothing to complain of."""

    def answer(command: str) -> str:
        if command.startswith("getent"):
            return "root:x:0:0\nshadow:x:42:"
        return "/srv/foreign" if "-print |" in command else found

    check = load("permissions").test_nothing_is_writable_by_everybody_or_belongs_to_nobody
    host = SimpleNamespace(check_output=answer)
    if not complaint:
        check(host)
        return
    with pytest.raises(AssertionError, match=complaint):
        check(host)
