"""What a signal at every stage, and two bakes at once, leave behind."""

from __future__ import annotations

import shutil
import signal
from pathlib import Path

import pytest
from fake_host import PUBLISHING, STAGES, Host, Mirror, contents, living, until
from tidy import is_dead, is_tidy, is_whole, names

from skyvypack import artifact

pytestmark = pytest.mark.tool

QUICK = ("--force", "--no-verify")


def strike(host: Host, stage: str, number: signal.Signals) -> tuple[int, list[str]]:
    """Send a signal to a bake that stands at a stage; returns its exit code and its runs' ids."""
    host.close(stage)
    options = ("--force",) if stage == "verify" else QUICK
    if stage in ("packages", "disk"):
        shutil.rmtree(host.cache / "layers")
    with (host.folder / "log").open("w+b") as log:
        process = host.start(*options, log=log)
        try:
            host.wait_for(stage)
            marks = host.marks()
            assert marks
            assert stage in ("inputs", *PUBLISHING) or living(marks), "what the bake started is not found by its mark"
            process.send_signal(number)
            code = process.wait(30)
        finally:
            process.kill()
            (host.gates / stage).unlink()
        log.seek(0)
        assert "Traceback" not in log.read().decode()
    return code, marks


@pytest.mark.parametrize("stage", [*STAGES, *(moment for moment in PUBLISHING if moment != "remove")])
def test_stopped_bake_leaves_everything_as_it_was(host: Host, stage: str) -> None:
    """At every stage SIGINT and SIGTERM undo all, and the bake after a kill -9 does; the good artifact never changes.

    Every bake begins after what the one before left, and the last one succeeds.
    """
    before = contents(host.final)
    for number in (signal.SIGINT, signal.SIGTERM):
        code, marks = strike(host, stage, number)
        assert code == 130
        assert is_dead(marks)
        assert is_tidy(host)
        assert contents(host.final) == before
    code, marks = strike(host, stage, signal.SIGKILL)
    assert code == -signal.SIGKILL
    assert stage == "place" or contents(host.final) == before
    code, said = host.bake()
    assert (code, "Nothing changed" in said) == (0, True)
    assert is_dead(marks)
    assert contents(host.final) == before
    code, said = host.bake(*QUICK)
    assert code == 0, said
    assert is_tidy(host)
    is_whole(host)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_bake_stopped_after_it_was_published_leaves_the_new_artifact(host: Host, number: signal.Signals) -> None:
    """When only the earlier artifact is left to remove, the new one stands, whole; the next bake removes the rest."""
    before = contents(host.final)
    strike(host, "remove", number)
    assert contents(host.final) != before
    is_whole(host)
    host.bake("--no-verify")
    assert is_tidy(host)
    is_whole(host)


def test_first_bake_that_is_stopped_leaves_no_artifact(good: Host, mirror: Mirror, tmp_path: Path) -> None:
    """Where there was nothing, nothing is: no folder that could be taken for a template."""
    host = Host(tmp_path, mirror)
    host.close("packer")
    process = host.start()
    host.wait_for("packer")
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 130
    assert names(host.output) == [f".{host.final.name}.lock"]


def test_second_bake_of_the_same_waits_and_finds_nothing_to_do(good: Host, mirror: Mirror, tmp_path: Path) -> None:
    """Of two bakes at once into one output the second says that it waits, and then that nothing changed."""
    host = Host(tmp_path, mirror)
    shutil.copytree(good.cache, host.cache)
    host.close("packer")
    first = host.start("--no-verify")
    host.wait_for("packer")
    with (host.folder / "log").open("w+b") as log:
        second = host.start("--no-verify", log=log)
        until(lambda: b"waiting for it" in (host.folder / "log").read_bytes())
        host.open("packer")
        assert (first.wait(60), second.wait(60)) == (0, 0)
        log.seek(0)
        assert b"Nothing changed" in log.read()
    is_whole(host)
    assert is_tidy(host)


def test_two_bakes_share_one_layer(good: Host, mirror: Mirror, tmp_path: Path) -> None:
    """Of two bakes at once into different outputs one makes the layer, and the other waits and uses it."""
    host = Host(tmp_path, mirror)
    host.close("packages")
    first = host.start("--no-verify")
    host.wait_for("packages")
    with (host.folder / "log").open("w+b") as log:
        second = host.start("--no-verify", "-o", str(host.folder / "other"), log=log)
        until(lambda: b"another bake is making this layer" in (host.folder / "log").read_bytes())
        host.open("packages")
        assert (first.wait(60), second.wait(60)) == (0, 0)
        log.seek(0)
        assert b"packages:" not in log.read()
    assert len(names(host.cache / "layers")) == 1
    is_whole(host)
    artifact.load(host.folder / "other" / host.final.name)


def test_a_living_bake_is_left_alone_by_the_next(host: Host) -> None:
    """A bake that begins while another one of the cache runs takes neither its processes nor its folder."""
    host.close("packer")
    first = host.start(*QUICK)
    host.wait_for("packer")
    marks = host.marks()
    host.close("scan")
    second = host.start("--no-verify", "-o", str(host.folder / "other"))
    until(lambda: len(host.marks()) == 2)
    assert living(marks)
    second.send_signal(signal.SIGTERM)
    assert second.wait(60) == 130
    assert living(marks)
    host.open("scan")
    host.open("packer")
    assert first.wait(60) == 0
    assert is_tidy(host)
