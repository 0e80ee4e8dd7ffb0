"""Clones of one template share the checks that one of them is enough for."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest

from skyvypack.machine import wait
from skyvypack.roles import Role
from skyvypack.spec.model import Spec
from skyvypack.verify.contract import Contract, Phase
from skyvypack.verify.outside import Clone

DATA = Path(__file__).parent / "contracts"
SHORT = ["sharing test_short", "sharing test_boot"]
LONG = ["sharing test_long[1]", "sharing test_long[2]", "trying test_first", "trying test_second"]


def contract(folder: Path, phase: Phase = "first boot", *, last: bool = True) -> Contract:
    """The contract of a clone with both roles."""
    folder.mkdir()
    roles = tuple(Role(name, name, DATA / name) for name in ("sharing", "trying"))
    clone = Clone("bios", "bios", "tester", folder)
    spec = Spec("toy", "1.0", "trixie", roles)
    return Contract(spec, clone, phase, folder / "run", root_shell=("sh",), cwd=folder, last=last)


def shown(one: Contract) -> list[str]:
    """What a run showed, in its order."""
    found = wait(one.running())
    assert {check.outcome for check in found} <= {"passed"}, [check.message for check in found]
    return [f"{check.role} {check.test}" for check in found]


@pytest.fixture
def sharing(tmp_path: Path) -> list[Contract]:
    """Contracts of two clones that share what one of them is enough for."""
    (tmp_path / "claims").mkdir()
    both = [contract(tmp_path / name) for name in ("one", "two")]
    return [replace(one, claims=tmp_path / "claims", backwards=bool(number)) for number, one in enumerate(both)]


def test_clones_share_what_one_of_them_is_enough_for(sharing: list[Contract]) -> None:
    """What one clone has shown the other leaves, without a complaint about a role that has nothing left to show."""
    one, two = sharing
    assert shown(one) == [*SHORT, *LONG], "as it booted first, then what is tried on it"
    assert shown(two) == SHORT


def test_clones_meet_in_the_middle(sharing: list[Contract]) -> None:
    """The second begins with the last role; a test that somebody has taken is left out between two that nobody has."""
    one, two = sharing
    taken = one.spec.roles[1].folder.resolve() / "test_contract.py"
    (one.claims / hashlib.sha256(f"{taken}\ntest_first".encode()).hexdigest()).touch()
    assert shown(two) == [*SHORT, "trying test_second", "sharing test_long[1]", "sharing test_long[2]"]


def test_a_clone_alone_shows_everything(tmp_path: Path) -> None:
    """Without another clone nothing is left out; what is tried on it waits until nothing else is to be judged."""
    assert shown(contract(tmp_path / "one", last=False)) == SHORT
    assert shown(contract(tmp_path / "again", "after reboot")) == [*SHORT, *LONG]


def test_a_clone_that_restarts_is_judged_afterwards(sharing: list[Contract]) -> None:
    """The other clone shows its first boot; what hangs on firmware, disk or restart it shows on each boot itself."""
    _, two = sharing
    assert shown(replace(two, last=False, folder=two.folder / "first")) == ["sharing test_boot"]
    assert shown(replace(two, phase="after reboot", folder=two.folder / "second"))[:2] == SHORT
