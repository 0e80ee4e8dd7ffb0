"""The verbs bake and verify: what they show of what the library found. The library's own work is replaced."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from skyvypack.artifact import Artifact, DiskFile
from skyvypack.bake import BakeResult
from skyvypack.cli.app import cli
from skyvypack.errors import BakeFailed, ContractFailed, LeakFound
from skyvypack.progress import Progress
from skyvypack.verify import Check, Report

Run = Callable[..., Result]


def check(requirement: str, clone: str, outcome: Any = "passed") -> Check:
    message = "" if outcome == "passed" else "it broke"
    return Check((requirement,), "ssh", "test_x", clone, "first boot", outcome, message)


def report(*checks: Check) -> Report:
    return Report("web 1.0.0", "web.qcow2", ("bios", "uefi"), checks, "d1", "d1", {}, "tcg")


GOOD = report(check("SSH-1", "bios"), check("SSH-1", "uefi"), check("BAS-1", "bios"), check("BAS-1", "uefi"))
BROKEN = report(check("SSH-1", "bios"), check("SSH-1", "uefi", "failed"))


def baked(folder: Path, found: Report | None, **more: Any) -> BakeResult:
    disk = DiskFile(folder / "web-1.0.0.qcow2", "qcow2", 412_345_678, "ab" * 32)
    manifest = {"created": "2026-01-01T00:00:00Z", "checks": [{}] * 4}
    return BakeResult(Artifact(folder, "web", "1.0.0", "qemu", (disk,), manifest), found, **more)


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run a command line in a folder that holds a good spec."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "skyvypack.yaml").write_text('name: web\nversion: "1.0.0"\nroles: [ssh]\n')
    return lambda *args: CliRunner().invoke(cli, list(args))


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, Callable[..., Any]], None]:
    """Put something in place of a function of the library."""
    import importlib

    return lambda name, act: monkeypatch.setattr(importlib.import_module(f"skyvypack.{name}"), name, act)


def test_bake_ends_with_path_size_digest_proof_and_timings(run: Run, tmp_path: Path, library: Any) -> None:
    """Everything a user wants to know stands at the end, on standard output."""
    timings = {"layer": 121.0, "packer": 96.4, "total": 217.4}
    library("bake", lambda *args, **wishes: baked(tmp_path, GOOD, timings=timings))
    result = run("bake")
    assert result.exit_code == 0
    assert f"{tmp_path}/web-1.0.0.qcow2  412 MB  sha256:{'ab' * 32}" in result.stdout
    assert [line.split() for line in result.stdout.splitlines() if "proved" in line] == [
        ["BAS-1", "2", "proved"],
        ["SSH-1", "2", "proved"],
    ]
    assert "web 1.0.0 is proven: 4 of 4 checks passed on clones bios, uefi (tcg)" in result.stdout
    assert [line.split() for line in result.stdout.splitlines()[-3:]] == [
        ["layer", "2:01"],
        ["packer", "1:36"],
        ["total", "3:37"],
    ]


def test_bake_says_that_nothing_changed(run: Run, tmp_path: Path, library: Any) -> None:
    """An unchanged bake is told with the way to force one, and counts as done."""
    library("bake", lambda *args, **wishes: baked(tmp_path, None, unchanged=True))
    result = run("bake")
    assert result.exit_code == 0
    assert "Nothing changed" in result.stdout
    assert "--force" in result.stdout
    assert "4 checks" in result.stdout


def test_bake_without_verification_says_so(run: Run, tmp_path: Path, library: Any) -> None:
    """A template that nobody proved is never shown as proven."""
    library("bake", lambda *args, **wishes: baked(tmp_path, None))
    assert "NOT proven" in run("bake", "--no-verify").stdout


def test_bake_tells_one_document_and_its_progress_beside_it(run: Run, tmp_path: Path, library: Any) -> None:
    """With `--json` standard output has one document and standard error one JSON object for each event."""

    def act(*args: Any, report: Any, **wishes: Any) -> BakeResult:
        with Progress(report).stage("layer", "Make the layer") as line:
            line("unpacking")
        return baked(tmp_path, GOOD, timings={"layer": 1.0})

    library("bake", act)
    result = run("bake", "--json")
    document = json.loads(result.stdout)
    assert document["unchanged"] is False
    assert document["artifact"]["files"][0]["sha256"] == "ab" * 32
    assert document["report"]["passed"] is True
    assert document["timings"] == {"layer": 1.0}
    events = [json.loads(line) for line in result.stderr.splitlines()]
    assert [event["kind"] for event in events] == ["begin", "line", "end"]
    assert all(event["stage"] == "layer" and event["elapsed"] >= 0 for event in events)


def test_bake_hands_on_every_wish(run: Run, tmp_path: Path, library: Any) -> None:
    """Each option reaches the library."""
    seen: dict[str, Any] = {}

    def act(spec: Any, target: str, **wishes: Any) -> BakeResult:
        seen.update(wishes, target=target, name=spec.name)
        return baked(tmp_path, None)

    library("bake", act)
    options = ["--output", "out", "--cache", "kept", "--force", "--offline", "--no-verify"]
    assert run("bake", *options, "--format", "raw", "--format", "ova").exit_code == 0
    del seen["report"]
    assert seen == {
        "name": "web",
        "target": "qemu",
        "output": Path("out"),
        "cache": Path("kept"),
        "force": True,
        "offline": True,
        "verify": False,
        "formats": ("raw", "ova"),
    }


def failing(error: BaseException) -> Callable[..., Any]:
    def act(*args: Any, **wishes: Any) -> Any:
        raise error

    return act


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (BakeFailed("the guest's kernel panicked", "see the console"), 1, "kernel panicked"),
        (LeakFound(["/root/.bash_history: a history"]), 1, "/root/.bash_history"),
        (ContractFailed("SSH-1 does not hold"), 3, "SSH-1"),
        (KeyboardInterrupt(), 130, "interrupted"),
        (ZeroDivisionError("oops"), 1, "bug in skyvypack"),
        (RuntimeError("oops"), 1, "unexpected RuntimeError: oops"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else None,
)
def test_every_failure_has_its_exit_code_and_no_traceback(
    run: Run, library: Any, error: BaseException, code: int, words: str
) -> None:
    """In words on standard error, and as one document with `--json`."""
    library("bake", failing(error))
    plain = run("bake")
    assert plain.exit_code == code
    assert words in plain.stderr
    assert "Traceback" not in plain.stderr
    assert plain.stdout == ""
    document = run("bake", "--json")
    assert document.exit_code == code
    told = json.loads(document.stdout)["error"]
    assert words in told["message"] + told["hint"]


def test_a_leak_s_findings_are_told_one_by_one(run: Run, library: Any) -> None:
    """A program can read what was found without parsing prose."""
    library("bake", failing(LeakFound(["a", "b"])))
    assert json.loads(run("bake", "--json").stdout)["error"]["findings"] == ["a", "b"]


def test_debug_shows_the_traceback(run: Run, library: Any) -> None:
    """Whoever reports a bug gets all of it."""
    library("bake", failing(RuntimeError("oops")))
    result = run("--debug", "bake")
    assert result.exit_code == 1
    assert "Traceback" in result.stderr


def test_verify_proves_what_bake_made_of_the_spec(run: Run, tmp_path: Path, library: Any) -> None:
    """Without an argument it takes the artifact of the spec; the report's table and verdict follow."""
    seen: list[Path] = []

    def act(spec: Any, disk: Path, **wishes: Any) -> Report:
        seen.append(disk)
        return GOOD

    library("verify", act)
    (tmp_path / "mine.qcow2").write_bytes(b"")
    result = run("verify", "mine.qcow2")
    assert result.exit_code == 0
    assert "is proven" in result.stdout
    run("verify")
    assert seen == [Path("mine.qcow2"), Path("output/web-1.0.0-qemu")]


@pytest.mark.parametrize("json_option", [[], ["--json"]])
def test_verify_of_a_broken_template_ends_with_3(run: Run, library: Any, json_option: list[str]) -> None:
    """The report is shown whole, in words or as the one document, and the exit code is the contract's."""
    library("verify", lambda *args, **wishes: BROKEN)
    result = run("verify", "x.qcow2", *json_option)
    assert result.exit_code == 3
    if json_option:
        assert json.loads(result.stdout)["passed"] is False
    else:
        assert "NOT proven" in result.stdout
        assert "it broke" in result.stderr


def test_verify_of_nothing_is_an_input_error(run: Run) -> None:
    """Without a template there is nothing to boot."""
    result = run("verify")
    assert result.exit_code == 2
    assert "output/web-1.0.0-qemu" in result.stderr
