"""Scripts on an instance by Systems Manager, and a contract that is proven by nothing else."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from aws.conftest import HOME, Asked
from aws.orders import at_work, one, registered
from simulators.moto_aws import FaultyAws

from skyvypack.errors import CommandFailed
from skyvypack.machine import wait
from skyvypack.progress import Progress
from skyvypack.registrar.retry import Patience
from skyvypack.targets.aws.ec2 import region as calls
from skyvypack.targets.aws.ec2 import run_command
from skyvypack.targets.aws.ec2.region import Region
from skyvypack.targets.aws.registrar import connect
from skyvypack.verify.relay import Relay
from skyvypack.verify.shell import RootShell

pytestmark = pytest.mark.tool

INSTANCE = "i-0123456789abcdef0"


@pytest.fixture(autouse=True)
def _agent(aws: FaultyAws, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An agent that obeys on this machine, in a folder of its own."""
    monkeypatch.setattr(run_command, "PAUSE", 0.01)

    def obey(instance: str, script: str) -> tuple[int, str, str]:
        done = subprocess.run(
            ["sh"], input=script.replace("/run/", f"{tmp_path}/"), capture_output=True, text=True, check=False
        )
        return done.returncode, done.stdout, done.stderr

    aws.agent = obey


def test_what_a_script_says_comes_back_whole(region: Region, asked: Asked) -> None:
    """Exit code, bytes that are no text, complaints, braces, and more than Systems Manager keeps at once."""
    script = """
        echo '{{.Driver}} and a "quote"'; head -c 60000 /dev/urandom > "$0.bin"; cat "$0.bin"; sha256sum < "$0.bin" >&2
        rm "$0.bin"; exit 3
    """
    found = run_command.execute(region, INSTANCE, script, 30)
    first, _, rest = found.output.partition(b"\n")
    assert (found.code, first, len(rest)) == (3, b'{{.Driver}} and a "quote"', 60000)
    assert found.errors.decode().split()[0] == hashlib.sha256(rest).hexdigest()
    sent = [params for name, params in asked if name == "SendCommand"]
    assert len(sent) == 5, "80 kB in Base64, in pieces of 20"
    assert {params["DocumentName"] for params in sent} == {"AWS-RunShellScript"}


def test_a_script_runs_once_though_it_is_sent_twice(aws: FaultyAws, region: Region, tmp_path: Path) -> None:
    """SendCommand has no token: when its answer is lost, what is sent again only asks for the answer."""
    aws.fail("AmazonSSM.SendCommand", times=2, lost=True)
    found = run_command.execute(region, INSTANCE, f"echo once >> {tmp_path}/marks; echo done", 30)
    assert (found.code, found.output) == (0, b"done\n")
    assert aws.count("AmazonSSM.SendCommand") == 3
    assert (tmp_path / "marks").read_text() == "once\n"


@pytest.mark.parametrize("kind", ["no agent", "ended", "silent"])
def test_an_agent_that_does_not_do_it_is_an_error(
    kind: str, aws: FaultyAws, region: Region, monkeypatch: pytest.MonkeyPatch
) -> None:
    """AWS's own words: it is not registered, it broke off, or it never answers."""
    monkeypatch.setattr(run_command, "TAKEN_UP", 30)
    monkeypatch.setattr(calls, "PATIENCE", Patience(seconds=0.2, first=0.01, longest=0.05))
    words = {"no agent": "not in a valid state", "ended": "ended as Failed: killed", "silent": "answer of i-0123"}
    aws.agent = {"no agent": None, "ended": lambda *_: (137, "", "killed"), "silent": lambda *_: _forever()}[kind]
    if kind == "silent":
        monkeypatch.setattr(run_command.retry, "until", _impatient(run_command.retry.until))
    with pytest.raises(Exception, match=words[kind]):
        run_command.execute(region, INSTANCE, "true", 1)


def _forever() -> tuple[int, str, str]:
    time.sleep(5)
    return 0, "", ""


def _impatient(until: Any) -> Any:
    return lambda look, **given: until(look, **{**given, "seconds": 0.2})


@pytest.fixture
def relay(region: Region, tmp_path: Path) -> Iterator[Relay]:
    def execute(script: str, seconds: float) -> Any:
        return run_command.execute(region, INSTANCE, script, seconds)

    found = Relay("instance", tmp_path, execute, 1.0, lambda deadline, complaint: None)
    found.aim("", 0)
    yield found
    found.close()


def test_a_contract_takes_it_for_a_shell(relay: Relay, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """testinfra asks through the relay what it asks of a shell by SSH, from a process of its own."""
    monkeypatch.chdir(tmp_path)
    shell = RootShell("instance", relay.root_shell)
    try:
        assert shell.host.check_output("echo one; echo two >&2") == "one"
        done = shell.host.run("echo out; echo %s >&2; exit 4", "it's {{ odd }}")
        assert (done.rc, done.stdout, done.stderr) == (4, "out\n", "it's {{ odd }}\n")
        assert shell.host.file("/etc/passwd").is_file
        assert shell.host.user("root").uid == 0
    finally:
        shell.close()


def test_a_relay_that_reaches_nobody_says_so(
    aws: FaultyAws, relay: Relay, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A command fails with the platform's words, a wait goes on, and a contract's check fails with them too."""
    monkeypatch.setattr(sys.modules[Relay.__module__], "_PAUSE", 0.01)
    monkeypatch.chdir(tmp_path)
    agent, aws.agent = aws.agent, None
    with pytest.raises(CommandFailed, match="not in a valid state"):
        relay.run("true")
    shell = RootShell("instance", relay.root_shell)
    done = shell.host.run("true")
    shell.close()
    assert done.rc == 255
    assert "not in a valid state" in done.stderr
    waiting = relay.connecting(0.0)
    next(waiting)
    aws.agent = agent
    wait(waiting)
    assert relay.run("echo back").stdout == "back\n"


def test_an_instance_that_is_proven_by_ssm_lets_nobody_in(made_of: Any, asked: Asked, session: Any) -> None:
    """Its security group has no rule, its profile is given, and its guest is reached by its private address's agent."""
    order = made_of(access="ssm", instance_profile="ssm")
    iam = session.client("iam", HOME, endpoint_url=order.settings["endpoint"])
    iam.create_instance_profile(InstanceProfileName="ssm")
    template = registered(order)
    with at_work(order, []) as (registrar, run), run.temporary():
        guest = registrar.boot(template, "#cloud-config\n{}\n", run)
        assert guest.execute is not None
        assert guest.execute("echo $((40 + 2))", 30.0).output == b"42\n"
    assert not [name for name, _ in asked if name == "AuthorizeSecurityGroupIngress"]
    assert one(asked, "RunInstances")["IamInstanceProfile"] == {"Name": "ssm"}


def test_without_a_profile_there_is_no_ssm(made_of: Any) -> None:
    """It is an obstacle before anything is made."""
    order = made_of(access="ssm")
    with connect(order.settings, Progress()) as registrar:
        (obstacle,) = registrar.preflight(order)
    assert "AmazonSSMManagedInstanceCore" in obstacle.hint
