"""A clone on a platform is proven by its address, with an ssh that is a script."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from skyvypack import link
from skyvypack.progress import Progress
from skyvypack.registrar import Guest, Template
from skyvypack.registrar.contract import Executed
from skyvypack.roles import Role
from skyvypack.spec.model import Spec
from skyvypack.verify import Check, remote
from skyvypack.verify.contract import Contract
from skyvypack.verify.outside import Clone
from skyvypack.verify.remote import RemoteProver

TEMPLATE = Template("proxmox", "9000", "web", "1.0.0", "sha256:ab", "", "run")
GUEST = Guest("105", "192.0.2.77", 2222)
# Lets us in; a reboot ends the connection and gives another boot id.
SSH = """
echo "$*" >> {folder}/asked
case "$*" in
*-M*) [ -e {folder}/down ] && {{ rm {folder}/down; exit 255; }}; touch control; exec sleep 60 ;;
*boot_id*) cat {folder}/boots ;;
*reboot*) rm -f control; touch {folder}/down; echo {again} > {folder}/boots ;;
*is-system-running*) echo running ;;
*result.json*) echo '{{"v1": {{"datasource": "{datasource}", "errors": []}}}}' ;;
*machine-id*) printf 'machine-id\\tab\\n/etc/ssh/ssh_host_ed25519_key.pub\\tcd\\n' ;;
*) exit 7 ;;
esac
"""


@pytest.fixture
def prove(tmp_path: Path, fake_tool: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Proves a clone; spares a test the child pytest, which test_verify.py is about."""

    def running(contract: Contract) -> Any:
        yield
        return [Check(("TOY-1",), "toy", "test_toy", contract.clone.name, contract.phase, "passed")]

    monkeypatch.setattr(Contract, "running", running)
    monkeypatch.setattr(link, "_RETRY", 0.02)
    monkeypatch.setattr(sys.modules["skyvypack.machine"], "_PAUSE", 0.005)
    fake_tool("ssh-keygen", 'for last; do :; done; echo private > "$last"; echo ssh-ed25519 AAAA > "$last.pub"')
    (tmp_path / "boots").write_text("1\n")

    def proven(datasource: str = "DataSourceNoCloud", again: str = "2", guest: Guest = GUEST) -> Any:
        fake_tool("ssh", SSH.format(folder=tmp_path, datasource=datasource, again=again))
        spec = Spec("web", "1.0.0", "trixie", (Role("toy", "a toy", tmp_path),))
        with RemoteProver.of(spec, "proxmox", tmp_path / "logs", scale=0.05) as prover:
            assert "ssh-ed25519 AAAA" in prover.user_data
            assert "skyvy-verify" in prover.user_data
            return prover.prove(guest, TEMPLATE, Progress())

    return proven


def test_a_clone_is_proven_over_its_address(prove: Any, tmp_path: Path) -> None:
    """First boot, contract, a reboot that is believed only by another boot id, contract again; the report is kept."""
    report = prove()
    assert report.passed, report.summary()
    assert report.clones == ("proxmox",)
    assert [check.phase for check in report.checks if check.test == "test_toy"] == ["first boot", "after reboot"]
    assert {"boots on proxmox", "boots again on proxmox", "keeps its identity"} <= {one.test for one in report.checks}
    assert (tmp_path / "logs" / "proxmox-contract.xml").is_file()


def test_a_clone_is_proven_by_its_platform_alone(prove: Any, tmp_path: Path, fake_tool: Any) -> None:
    """Where the platform executes scripts on it, nothing goes by SSH, and what only a neighbour sees is not claimed."""
    asked = []
    lines = {"boot_id": "1\n", "is-system-running": "running\n", "machine-id": "machine-id\tab\n"}
    lines["machine-id"] += "/etc/ssh/ssh_host_ed25519_key.pub\tcd\n"
    lines["result.json"] = '{"v1": {"datasource": "DataSourceNoCloud", "errors": []}}'

    def execute(script: str, seconds: float) -> Executed:
        asked.append(script)
        if "systemctl reboot" in script:
            lines["boot_id"] = "2\n"
        return Executed(0, next((text for word, text in lines.items() if word in script), "").encode())

    report = prove(guest=replace(GUEST, execute=execute))
    assert report.passed, report.summary()
    assert {check.phase for check in report.checks} == {"first boot", "after reboot"}
    assert any("systemctl reboot" in script for script in asked)
    assert not (tmp_path / "asked").exists(), "ssh was never started"
    clone = Clone("aws", "uefi", "tester", tmp_path, "192.0.2.77", shut=True)
    for look in (clone.door, clone.answers):
        with pytest.raises(pytest.skip.Exception, match="no way leads"):
            look(443)


def test_another_datasource_fails_the_clone(prove: Any) -> None:
    """cloud-init has to read what the platform gave it."""
    report = prove(datasource="DataSourceNone")
    (failed,) = report.failures
    assert "did not read the user-data" in failed.message


def test_a_clone_that_does_not_go_down_is_given_up(prove: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The old system's answer is not taken for the new one's."""
    monkeypatch.setattr(remote, "_PLATFORM_SECONDS", 40)
    report = prove(again="1")
    (failed,) = report.failures
    assert failed.test == "boots again on proxmox"
    assert "does not" in failed.message


def test_a_port_of_a_clone_elsewhere_is_asked_directly(tmp_path: Path) -> None:
    """No QEMU monitor is in between, for a look at a port nor for a conversation with it."""
    import socket

    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        clone = Clone("proxmox", "uefi", "tester", tmp_path, "127.0.0.1")
        assert clone.answers(port)
        assert clone.door(port) == ("127.0.0.1", port)
    assert not clone.answers(port, 1)
