"""The parts of the contract by themselves: retries, credentials, jobs, bakes on the platform."""

from __future__ import annotations

import dataclasses
import itertools
import json
from contextlib import nullcontext
from importlib import import_module
from pathlib import Path
from typing import Any

import adapter_memory
import adapters
import pytest
from click.testing import CliRunner

from skyvypack import registrar
from skyvypack.cli.app import cli
from skyvypack.errors import BakeFailed, ContractFailed, InputError
from skyvypack.progress import Progress
from skyvypack.registrar import RegistrarError, Wishes, describe, reap, register
from skyvypack.registrar import find as finding
from skyvypack.registrar.contract import Obstacle, PreflightFailed
from skyvypack.registrar.credentials import secret
from skyvypack.registrar.deliver import PackerOnPlatform
from skyvypack.registrar.retry import Patience, call, until
from skyvypack.spec.model import Base
from skyvypack.verify.remote import RemoteProver


def test_only_errors_that_pass_are_retried_and_only_until_the_deadline() -> None:
    """A named error is retried, with a note; another is raised at once; the deadline ends it with the last error."""
    notes: list[str] = []
    progress = Progress(lambda event: notes.append(event.text))
    patience = Patience(0.2, first=0.001, longest=0.01)
    tries = itertools.count(1)

    def act() -> int:
        number = next(tries)
        if number < 3:
            raise ConnectionError("reset")
        return number

    options: Any = {"transient": lambda e: isinstance(e, ConnectionError), "progress": progress, "what": "look"}
    assert call(act, patience=patience, **options) == 3
    assert len(notes) == 2
    assert notes[0].startswith("look: reset; trying again in ")

    def broken() -> None:
        next(tries)
        raise ConnectionError("for ever")

    with pytest.raises(ConnectionError, match="for ever"):
        call(broken, patience=patience, **options)
    assert next(tries) > 6

    def wrong() -> None:
        raise KeyError("x")

    with pytest.raises(KeyError):
        call(wrong, patience=patience, **options)


def test_a_wait_ends_with_what_it_waited_for() -> None:
    """The error names it."""
    with pytest.raises(RegistrarError, match="waiting for the address"):
        until(lambda: None, seconds=0.05, pause=0.01, what="the address")
    assert until(iter([None, "here"]).__next__, seconds=1, pause=0.001, what="it") == "here"


def test_a_secret_has_one_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both ways at once are refused; a file that is missing is named, its content never."""
    assert secret("OURS") == ""
    monkeypatch.setenv("OURS_FILE", str(tmp_path / "none"))
    with pytest.raises(InputError, match="OURS_FILE"):
        secret("OURS")
    monkeypatch.setenv("OURS", "x")
    with pytest.raises(InputError, match="both"):
        secret("OURS")


def test_a_target_without_a_registrar_is_told(tmp_path: Path) -> None:
    """Its templates are files."""
    with pytest.raises(InputError, match="no registrar"):
        describe(adapters.spec_of("qemu", {}, "1.0.0"), "qemu")
    with pytest.raises(InputError, match="no target"):
        reap("nowhere")


@pytest.fixture
def memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The reference platform, found as a target's registrar is."""
    monkeypatch.setenv("MEMORY_PASSWORD", "x")
    plain = finding.find

    def find(target: str) -> Any:
        return adapter_memory if target == "memory" else plain(target)

    for place in (registrar.flow, registrar.upkeep, registrar.deliver):
        monkeypatch.setattr(place, "find", find)
    # It has a registrar, and no builder that could write its disks.
    monkeypatch.setattr("skyvypack.registrar.deliver._writes", lambda *_: False)
    with adapter_memory.running(tmp_path) as made:
        yield made


def registered(memory: Any, tmp_path: Path, **wishes: Any) -> registrar.Registration:
    spec = memory.spec()
    source = memory.artifact(tmp_path / "out", spec)
    return register(spec, "memory", source, wishes=Wishes(**wishes), prover=adapters.FakeProver())


def test_a_job_that_fails_fails_alone(memory: Any, tmp_path: Path) -> None:
    """The template stands with its channel, the good copy stands, the bad one is undone; a second run tells again."""
    memory.more = {"jobs": {"copy to north": False, "copy to south": True}}
    done = registered(memory, tmp_path, channel="stable")
    assert [(job.name, bool(job.stands), job.error) for job in done.jobs] == [
        ("copy to north", True, ""),
        ("copy to south", False, "copy to south is closed"),
    ]
    assert not done.complete
    assert describe(memory.spec(), "memory")[0].channels == ("stable",)
    assert sum('"copy"' in thing for thing in memory.objects().values()) == 1


def test_obstacles_are_told_all_at_once(memory: Any, tmp_path: Path) -> None:
    """Every one, with its hint, and nothing is made."""
    memory.more = {"obstacles": ["no room", "no right"]}
    with pytest.raises(PreflightFailed) as raised:
        registered(memory, tmp_path)
    assert raised.value.obstacles == (Obstacle("test", "no room", "mend it"), Obstacle("test", "no right", "mend it"))
    assert "2 obstacles" in str(raised.value)
    assert memory.objects() == {}


def test_what_stands_unproven_is_looked_at_before_its_clone_is_made(memory: Any, tmp_path: Path) -> None:
    """Obstacles to the rest are told and change nothing; where nothing remains to be done, nobody looks."""
    registered(memory, tmp_path, verify=False)
    before = memory.objects()
    memory.more = {"obstacles": ["no room for a clone"]}
    with pytest.raises(PreflightFailed, match="no room for a clone"):
        registered(memory, tmp_path)
    with pytest.raises(PreflightFailed, match="no room for a clone"):
        registered(memory, tmp_path, channel="stable")
    assert memory.objects() == before
    assert registered(memory, tmp_path, verify=False).unchanged
    memory.more = {}
    assert registered(memory, tmp_path, channel="stable").template.verified
    memory.more = {"obstacles": ["no room for a clone"]}
    assert registered(memory, tmp_path, channel="stable").unchanged


class Remote:
    """A bake on the platform."""

    digest = "bundle:abc"

    def __init__(self, memory: Any, *, fails: bool = False) -> None:
        self._platform = adapter_memory.Platform(Path(memory.settings()["file"]))
        self._fails = fails
        self.builds = 0

    def build(self, progress: Progress) -> str:
        """Make something as Packer does, without any mark of ours."""
        self.builds += 1
        made = self._platform.create("packer", token="web-1.0.0")
        if self._fails:
            raise BakeFailed("packer build failed")
        return made


def test_what_packer_made_on_the_platform_is_adopted(memory: Any) -> None:
    """It is marked, verified and pointed to; a second time Packer does not run."""
    remote = Remote(memory)
    given: Any = {"wishes": Wishes(channel="stable"), "prover": adapters.FakeProver()}
    done = register(memory.spec(), "memory", remote, **given)
    assert done.template.digest == "bundle:abc"
    assert describe(memory.spec(), "memory")[0].channels == ("stable",)
    again = register(memory.spec(), "memory", remote, **given)
    assert again.unchanged
    assert remote.builds == 1


def test_what_packer_left_is_undone(memory: Any) -> None:
    """Packer tidies up by itself; if it did not, the journal knows the name."""
    with pytest.raises(BakeFailed):
        register(memory.spec(), "memory", Remote(memory, fails=True), prover=adapters.FakeProver())
    assert memory.objects() == {}


def test_a_broken_contract_takes_packers_work_away(memory: Any) -> None:
    """A template that is not what it should be does not stand, whoever made it."""
    with pytest.raises(ContractFailed):
        register(memory.spec(), "memory", Remote(memory), prover=adapters.FakeProver(passes=False))
    assert memory.objects() == {}


@pytest.fixture
def run(memory: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Runs a verb of the command line with the reference platform as its target."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("skyvypack.spec.load", lambda path: memory.spec())
    memory.artifact(tmp_path / "output", memory.spec())
    next((tmp_path / "output").iterdir()).rename(tmp_path / "output" / "web-1.0.0-memory")
    monkeypatch.setattr(RemoteProver, "of", lambda *args: nullcontext(adapters.FakeProver()))

    def ran(*words: str) -> Any:
        return CliRunner().invoke(cli, [*words, "--target", "memory"])

    return ran


def test_the_verbs_tell_what_came_of_it(run: Any, memory: Any) -> None:
    """register --dry-run, register, describe, retire and reap in words."""
    told = run("register", "--dry-run", "--channel", "stable").stdout
    for words in ("somebody at", "upload the disk", "move stable to web-1.0.0"):
        assert words in told
    assert memory.objects() == {}
    told = run("register", "--channel", "stable", "--keep", "1")
    assert told.exit_code == 0, told.output
    assert "web-1.0.0 is registered with memory as 101, verified there" in told.stdout
    assert "channel stable points to it" in told.stdout
    assert "101  1.0.0    stable    yes" in run("describe").stdout
    assert "nothing to retire" in run("retire", "--keep", "1").stdout
    assert "no killed run left anything" in run("reap").stdout


def test_what_is_baked_there_can_be_looked_at_before(run: Any, memory: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A dry run of what Packer bakes on the platform needs no artifact; registering it so says what to run."""
    spec = dataclasses.replace(memory.spec(), version="2.0.0", base=Base("clone", source="debian-13"))
    monkeypatch.setattr("skyvypack.spec.load", lambda path: spec)
    monkeypatch.setattr(PackerOnPlatform, "of", lambda *args: Remote(memory))
    told = run("register", "--dry-run", "--channel", "stable")
    assert told.exit_code == 0, told.output
    assert "move stable to web-2.0.0" in told.stdout
    assert memory.objects() == {}
    assert "bake it" in run("register").stderr


def test_the_verbs_tell_programs_too(run: Any, memory: Any) -> None:
    """One JSON document each; obstacles come one by one, with exit code 1."""
    document = json.loads(run("register", "--json").stdout)
    assert document["template"]["id"] == "101"
    assert document["complete"] is True
    assert json.loads(run("describe", "--json").stdout)["templates"][0]["version"] == "1.0.0"
    assert json.loads(run("retire", "--keep", "1", "--json").stdout) == {"retired": [], "refused": []}
    assert json.loads(run("reap", "--json").stdout) == {"found": []}
    adapter_memory.Platform(Path(memory.settings()["file"])).delete("101")
    memory.more = {"obstacles": ["no room"]}
    result = run("register", "--json")
    assert result.exit_code == 1
    assert json.loads(result.stdout)["error"]["obstacles"] == [
        {"check": "test", "message": "no room", "hint": "mend it"}
    ]
    assert json.loads(run("register", "--dry-run", "--json").stdout)["obstacles"]


def test_bake_registers_where_there_is_a_registrar(run: Any, memory: Any, monkeypatch: Any, tmp_path: Path) -> None:
    """One verb bakes, proves, registers and points; --no-register only bakes."""
    from skyvypack import artifact
    from skyvypack.bake import BakeResult

    standing = artifact.load(tmp_path / "output" / "web-1.0.0-memory")
    seen: list[Any] = []

    def bake(spec: Any, target: str, **given: Any) -> BakeResult:
        seen.append((target, given.get("formats")))
        return BakeResult(standing)

    monkeypatch.setattr("skyvypack.registrar.deliver.bake", bake)
    monkeypatch.setattr(import_module("skyvypack.bake"), "bake", bake)
    monkeypatch.setattr(registrar, "names", lambda: ("memory",))
    memory.more = {"formats": ["raw"]}
    result = run("bake", "--channel", "stable")
    assert result.exit_code == 0, result.output
    assert "web-1.0.0 is registered with memory" in result.stdout
    assert seen == [("memory", ("qcow2", "raw"))]
    assert describe(memory.spec(), "memory")[0].channels == ("stable",)
    assert run("bake", "--no-register").exit_code == 0
    assert run("bake", "--no-register", "--channel", "stable").exit_code == 2


MANIFEST = '{"builds": [{"artifact_id": "eu-west-1:ami-1,eu-north-1:ami-2"}]}'


def test_packer_gets_the_variables_the_bundle_names(fake_tool: Any, monkeypatch: Any, tmp_path: Path) -> None:
    """By the environment, secrets from files included; nothing in argv; the manifest gives the id."""
    from skyvypack.bundle import Bundle

    monkeypatch.setattr("skyvypack.registrar.deliver.find", lambda target: adapter_memory)
    script = f"env > {tmp_path}/env; echo \"$@\" > {tmp_path}/argv; echo '{MANIFEST}' > packer-manifest.json"
    fake_tool("packer", script)
    (tmp_path / "token").write_text("s3cret-token\n")
    monkeypatch.setenv("PROXMOX_TOKEN_FILE", str(tmp_path / "token"))
    monkeypatch.setenv("PROXMOX_URL", "https://pve")
    text = 'variable "a" { default = env("PROXMOX_URL") }\nvariable "b" { default = env("PROXMOX_TOKEN") }\n'
    bundle = Bundle("memory", "proxmox-clone", "1.6.6", {"skyvyos.pkr.hcl": text, "prepare.sh": "true\n"})
    assert PackerOnPlatform(bundle).build(Progress()) == "ami-1"
    environment = (tmp_path / "env").read_text().splitlines()
    assert {"PROXMOX_URL=https://pve", "PROXMOX_TOKEN=s3cret-token"} <= set(environment)
    assert "s3cret" not in (tmp_path / "argv").read_text()


def test_bake_asks_the_platform_first(run: Any, memory: Any, monkeypatch: Any) -> None:
    """A platform that cannot be reached, as with wrong credentials, is told before minutes are spent on a bake."""

    def describe(_registrar: Any, _name: str) -> Any:
        raise RegistrarError("nobody answers", "log in")

    monkeypatch.setattr("skyvypack.registrar.deliver.bake", lambda *_, **__: pytest.fail("baked"))
    monkeypatch.setattr(registrar, "names", lambda: ("memory",))
    monkeypatch.setattr(adapter_memory.MemoryRegistrar, "describe", describe)
    result = run("bake")
    assert result.exit_code == 1
    assert "nobody answers" in result.stderr
    assert "log in; nothing was baked: --no-register only bakes" in result.stderr
