"""Whole bakes on a fake host: what is made, and when nothing is."""

from __future__ import annotations

import shutil
import time

import pytest
from fake_host import Host, contents
from tidy import is_tidy, names

pytestmark = pytest.mark.tool

QUICK = ("--force", "--no-verify")


def test_nothing_changed_is_said_at_once(host: Host) -> None:
    """A second bake of the same inputs says so in under two seconds and touches nothing; --force bakes anew."""
    before = contents(host.output)
    seconds = []
    for _ in range(3):  # others use this machine, too
        began = time.monotonic()
        code, said = host.bake()
        seconds.append(time.monotonic() - began)
        assert (code, "Nothing changed" in said) == (0, True)
    assert min(seconds) < 2
    assert contents(host.output) == before
    code, said = host.bake(*QUICK)
    assert (code, "Nothing changed" in said) == (0, False)
    assert contents(host.final) != before


def test_our_own_process_is_small(good: Host) -> None:
    """A whole bake with its verification takes less than 200 MB of our own process."""
    assert 0 < good.memory() < 200 * 1024


def test_offline_bake_asks_no_mirror(host: Host) -> None:
    """With a layer in the cache --offline bakes although the mirror would never answer."""
    host.close("inputs")
    code, said = host.bake("--offline", *QUICK)
    assert code == 0, said
    assert not (host.gates / "inputs.reached").exists()


def test_artifact_of_other_inputs_is_not_replaced(host: Host) -> None:
    """A changed spec of the same name and version is refused, saying what changed; --force replaces."""
    before = contents(host.output)
    host.write_spec(more="packages: [vim]\n")
    code, said = host.bake()
    assert code == 2
    assert f"{host.final} holds an artifact made from other inputs" in said
    assert "bundle" in said
    assert "--force" in said
    assert contents(host.output) == before
    assert is_tidy(host)
    assert host.bake(*QUICK)[0] == 0
    assert contents(host.output) != before


def test_artifact_that_nobody_proved_does_not_count_as_proven(host: Host) -> None:
    """What was baked without verification stands for a bake without, and is refused by one with it."""
    assert host.bake(*QUICK)[0] == 0
    assert "Nothing changed" in host.bake("--no-verify")[1]
    code, said = host.bake()
    assert code == 2
    assert "verification" in said


def test_broken_contract_publishes_nothing_and_keeps_the_logs(host: Host) -> None:
    """Exit code 3; the earlier artifact stays, and consoles and report are beside it for whoever must mend it."""
    before = contents(host.final)
    host.write_contract("elsewhere")
    code, said = host.bake("--force")
    assert code == 3
    assert "TOY-1" in said
    kept = host.final.with_name(f"{host.final.name}.failed")
    assert str(kept) in said
    assert {"contract.xml", "bios-console.log", "uefi-console.log", "bios-first-boot.log"} <= set(names(kept))
    assert contents(host.final) == before
    assert names(host.output) == [f".{host.final.name}.lock", host.final.name, kept.name]
    assert not host.marks()


def test_leak_fails_the_bake_and_names_its_path(host: Host) -> None:
    """A shell history on the finished disk: no artifact, and the error says where it lies."""
    before = contents(host.final)
    shutil.rmtree(host.cache / "layers")
    (host.tree / "root" / ".bash_history").write_text("mysql -psecret\n")
    code, said = host.bake(*QUICK)
    assert code == 1
    assert "/root/.bash_history" in said
    assert contents(host.final) == before
    assert is_tidy(host)
