"""Tests of what a spec adds by itself: files and commands."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from skyvypack import cloudinit
from skyvypack import spec as specs
from skyvypack.errors import SpecError
from skyvypack.spec.model import Spec


def load(folder: Path = Path(), **more: Any) -> Spec:
    return specs.loads(json.dumps({"name": "a", "version": "1", "roles": ["base"], **more}), folder)


def test_files_and_commands_come_after_those_of_the_roles(tmp_path: Path) -> None:
    """A file's text is in the spec or beside it; a command runs as a step with a name of its own."""
    (tmp_path / "app.conf").write_text("port = 1\n")
    files = [
        {"path": "/etc/app/app.conf", "source": "app.conf", "mode": "0640", "owner": "root:adm"},
        {"path": "/etc/app/note", "content": "{{ not a template }}\n"},
    ]
    spec = load(tmp_path, files=files, commands=["systemctl enable app"])
    config = yaml.safe_load(cloudinit.bake_user_data(spec, "qemu"))
    first, second = config["write_files"][-2:]
    assert (first["content"], first["permissions"], first["owner"]) == ("port = 1\n", "0640", "root:adm")
    assert (second["content"], second["permissions"], second["owner"]) == (files[1]["content"], "0644", "root:root")
    steps = [line for line in config["runcmd"][0].splitlines() if line.startswith("step=")]
    assert steps[-2:] == ["step='spec, command 1: systemctl enable app'", "step='end'"]


@pytest.mark.parametrize(
    ("more", "place", "message"),
    [
        ({"files": [{"path": "/etc/a"}]}, "files[0]", "either `content` or `source`"),
        ({"files": [{"path": "/etc/a", "content": "", "source": "b"}]}, "files[0]", "either `content` or `source`"),
        ({"files": [{"path": "/etc/a", "source": "missing"}]}, "files[0].source", "cannot read missing"),
        ({"files": [{"path": "etc/a", "content": ""}]}, "files[0].path", "an absolute path"),
        ({"files": [{"path": "/etc/a", "content": "", "mode": "9"}]}, "files[0].mode", "octal"),
        ({"files": [{"path": "/etc/motd", "content": ""}]}, "files[0].path", "the role `base` writes /etc/motd"),
        ({"files": [{"path": "/etc/a", "content": ""}] * 2}, "files[1].path", "stands here twice"),
        ({"commands": [""]}, "commands[0]", "must not be empty"),
        ({"commands": "reboot"}, "commands", "expected a list"),
    ],
)
def test_a_wrong_addition_is_told(more: dict[str, Any], place: str, message: str) -> None:
    """With its place in the spec; nothing is baked."""
    with pytest.raises(SpecError) as caught:
        load(**more)
    (problem,) = caught.value.problems
    assert problem.path == place
    assert message in problem.message


@pytest.mark.parametrize(
    ("roles", "message"),
    [
        ([{"base": {"swap": -1}}], "too small"),
        ([{"base": {"proxy": "http://user:word@proxy.example.org"}}], "without a password"),
        ([{"base": {"timezone": "Europe/Vienna; reboot"}}], "Time zone"),
        ([{"nginx": {"tls": "old"}}], "not one of intermediate, modern"),
        ([{"php": {"version": "8.2"}}], "trixie has no PHP 8.2, but 8.4"),
        ([{"kernel": {"sysctl": {"net.core.rmem_max": [1]}}}], "whole number or text"),
        ([{"firewall": {"allow": ["65536/tcp"]}}], "does not fit"),
        ([{"docker": {"options": ["dns"]}}], "expected a mapping"),
        ([{"ssh": {"port": 70000}}], "too large"),
    ],
)
def test_a_wrong_setting_is_a_spec_error(roles: list[Any], message: str) -> None:
    """It is told before anything is baked, rather than found in a broken guest."""
    with pytest.raises(SpecError, match=message):
        load(roles=roles)
