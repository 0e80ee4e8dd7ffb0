"""Tests that hold for every role folder in `cloud-init/`, and for all of them together."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path

import pytest
import yaml

from skyvypack import assets, cloudinit, command
from skyvypack import spec as specs
from skyvypack.errors import SpecError
from skyvypack.profiles import profiles
from skyvypack.render import render
from skyvypack.role_folders import catalog
from skyvypack.spec.model import Spec

RELEASES = ("trixie", "bookworm")
ROLES = tuple(catalog())
# One folder each, as the requirements name them.
WANTED = {
    *("base", "network", "firewall", "fail2ban", "ssh", "kernel", "apparmor", "accounts", "permissions", "updates"),
    *("nginx", "certbot", "docker", "node", "python", "php", "logging", "limits", "monitoring", "backup"),
    *("development", "info"),
}
# The rows that a role proves whose file is not tested elsewhere.
PROVEN = {
    "fail2ban": {"F2B-1"},
    "apparmor": {"AA-1"},
    "permissions": {"FS-1"},
    "limits": {"RES-2", "RES-3"},
    "python": {"PY-1"},
    "php": {"PHP-1"},
    "node": {"NOD-1"},
    "docker": {"DOC-1", "FW-3", "RES-3"},
    "certbot": {"CRT-1"},
    "monitoring": {"TLS-1"},
    "backup": {"TLS-1"},
    "development": {"TLS-1"},
    "info": {"INF-1"},
}
SERVER = Path(__file__).parent.parent / "examples" / "server.yaml"
LARGEST = 64 * 1024


# What bookworm has less of is taken by name.
ACCEPTED = {"docker": {"accept": "compose-v1"}, "node": {"accept": "nodejs-18"}}


def load(release: str = "trixie", *roles: str) -> Spec:
    accepted = ACCEPTED if release == "bookworm" else {}
    chosen = [{role: accepted[role]} if role in accepted else role for role in roles or ROLES]
    return specs.loads(json.dumps({"name": "all", "version": "1.0.0", "debian": release, "roles": chosen}))


def file_of(spec: Spec, path: str) -> str:
    (found,) = [file.text for role in spec.roles for file in role.files if file.path == path]
    return found


def contract(role: str) -> dict[str, tuple[set[str], str]]:
    """Requirements and docstring of each test in a role's contract, by name."""
    found = {}
    for node in ast.parse((assets.roles() / role / "test_contract.py").read_text()).body:
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
            calls = [mark for mark in node.decorator_list if isinstance(mark, ast.Call)]
            marks = [mark for mark in calls if ast.unparse(mark.func) == "pytest.mark.requirement"]
            ids = {ast.literal_eval(word) for mark in marks for word in mark.args}
            found[node.name] = (ids, ast.get_docstring(node) or "")
    return found


def test_every_capability_has_a_role() -> None:
    """Each role that the requirements name is there."""
    assert set(ROLES) >= WANTED


@pytest.mark.parametrize("role", ROLES)
def test_a_role_says_what_it_is_for(role: str) -> None:
    """One line of summary; a reason for each package and unit; a doc for each setting."""
    definition = catalog()[role]
    assert definition.summary.strip()
    assert "\n" not in definition.summary
    units = definition.content["services"]
    for reasoned in (definition.content["packages"], *units.values()):
        assert all(entry["reason"].strip() for entry in reasoned.values())
    assert all(rule["doc"].strip() for rule in definition.settings.values())


@pytest.mark.parametrize("role", ROLES)
def test_a_role_proves_requirements(role: str) -> None:
    """Its contract names at least one row and every one that is its own; each test says in words what it proves."""
    tests = contract(role)
    named = set().union(*(ids for ids, _ in tests.values()))
    assert named
    assert PROVEN.get(role, set()) - named == set()
    assert [name for name, (_, doc) in tests.items() if not doc] == []


@pytest.mark.parametrize("release", RELEASES)
@pytest.mark.parametrize("role", ROLES)
def test_a_role_stands_by_itself(role: str, release: str) -> None:
    """With nothing but what it requires and the defaults of its settings it renders to whole files."""
    spec = load(release, role)
    assert spec.roles[-1].name == role
    for file in spec.roles[-1].files:
        assert not file.text or file.text.endswith("\n"), file.path
        assert not re.search(r"\{%|%\}|\{##|[ \t]+$", file.text, re.M), file.path
        assert (int(file.mode, 8) & 0o111 != 0) == file.text.startswith("#!"), file.path


@pytest.mark.parametrize("release", RELEASES)
def test_all_roles_go_together(release: str) -> None:
    """Nothing is written or listened on twice, and no unit is both wanted and unwanted."""
    spec = load(release)
    paths = [file.path for role in spec.roles for file in role.files]
    assert len(paths) == len(set(paths))
    ports = [(port.port, port.protocol) for role in spec.roles for port in role.ports]
    assert len(ports) == len(set(ports))
    wanted = {unit for role in spec.roles for unit in role.services.enable}
    unwanted = {unit for role in spec.roles for unit in (*role.services.disable, *role.services.mask)}
    assert wanted & unwanted == set()


@pytest.mark.parametrize("release", RELEASES)
def test_scripts_of_all_roles_are_valid_shell(release: str) -> None:
    """The bake's script, and each file that begins as a shell script, parse."""
    config = yaml.safe_load(cloudinit.bake_user_data(load(release), "qemu"))
    texts = [file["content"] for file in config["write_files"] if file["content"].startswith("#!/bin/sh\n")]
    for text in [config["runcmd"][0], *texts]:
        command.run(["sh", "-n"], text=text)


@pytest.mark.parametrize("name", ["server", "server-debian"])
def test_the_example_has_every_role_and_fits_into_user_data(name: str) -> None:
    """It names all of them; what it bakes is within what the smallest reader of a disc takes."""
    spec = specs.load(SERVER.with_name(f"{name}.yaml"))
    assert set(spec.origins.values()) == {"upstream" if name == "server" else "debian"}
    assert {role.name for role in spec.roles} == WANTED
    assert len(cloudinit.bake_user_data(spec, "qemu").encode()) < LARGEST


@pytest.mark.parametrize("name", ["minimal", "container-host", "web", "quickstart"])
def test_the_examples_are_sound(name: str) -> None:
    """Each loads and renders, and its profile's roles are all there."""
    spec = specs.load(SERVER.with_name(f"{name}.yaml"))
    assert {"user-data", "layer.sh", "skyvyos.pkr.hcl"} <= set(render(spec).files)
    profile = profiles()[name].roles if name in profiles() else ()
    assert set(profile) <= {role.name for role in spec.roles}


def test_the_profile_server_is_every_role() -> None:
    """It is what a spec without profile and roles is."""
    assert set(profiles()["server"].roles) == set(ROLES)
    spec = specs.loads('{"name": "a", "version": "1"}')
    assert {role.name for role in spec.roles} == set(ROLES)


def test_a_profile_can_be_added_to() -> None:
    """Settings reach the profile's roles, further roles come after them, and an unknown profile is told."""
    text = '{"name": "a", "version": "1", "profile": "minimal", "roles": [{"ssh": {"port": 2222}}, "python"]}'
    spec = specs.loads(text)
    assert [role.name for role in spec.roles][-1] == "python"
    assert {role.name: role.settings for role in spec.roles}["ssh"]["port"] == 2222
    with pytest.raises(SpecError, match="did you mean `minimal`"):
        specs.loads(text.replace("minimal", "minmal"))


def test_jails_of_nginx_come_with_nginx() -> None:
    """Without it, a jail would wait for logs that never come, and fail2ban would not start."""
    path = "/etc/fail2ban/jail.d/skyvyos.local"
    assert "[nginx-limit-req]" in file_of(load(), path)
    assert "nginx" not in file_of(load("trixie", "fail2ban"), path)


def test_jail_of_sshd_guards_the_port_of_sshd() -> None:
    """Another port in the role ssh is what gets closed to who is banned."""
    text = '{"name": "a", "version": "1", "roles": ["fail2ban", {"ssh": {"port": 2222}}]}'
    assert "port = 2222\n" in file_of(specs.loads(text), "/etc/fail2ban/jail.d/skyvyos.local")


def test_published_ports_are_guarded_where_there_is_a_firewall() -> None:
    """ufw gets the rules for Docker's chain, for both address families; without ufw there is nobody to read them."""
    for six in ("", "6"):
        rules = file_of(load(), f"/etc/ufw/skyvyos-docker{six}.rules")
        assert f"-A DOCKER-USER -j ufw{six}-user-forward\n" in rules
        assert rules.endswith("-A DOCKER-USER -j DROP\nCOMMIT\n")
    assert not any(file.path.startswith("/etc/ufw") for role in load("trixie", "docker").roles for file in role.files)


@pytest.mark.parametrize(
    "settings",
    [{}, {"bridge_address": "172.30.0.1/16", "registry_mirrors": ["https://a.example"], "live_restore": False}],
)
def test_dockers_configuration_is_json(settings: dict[str, object]) -> None:
    """With the defaults and with every key that is left out of them."""
    text = json.dumps({"name": "a", "version": "1", "roles": [{"docker": settings}]})
    config = json.loads(file_of(specs.loads(text), "/etc/docker/daemon.json"))
    assert config["live-restore"] is settings.get("live_restore", True)
    assert config.get("bip") == settings.get("bridge_address")
    assert config.get("registry-mirrors") == settings.get("registry_mirrors")


def test_each_release_has_its_own_php() -> None:
    """Units and commands name the PHP that the release has."""
    for release, number, other in (("trixie", "8.4", "8.2"), ("bookworm", "8.2", "8.4")):
        (php,) = [role for role in load(release).roles if role.name == "php"]
        assert f"php{number}-fpm.service" in php.services.enable
        assert f"RequiredBy=php{number}-fpm.service\n" in "".join(file.text for file in php.files)
        told = " ".join([*php.packages, *php.services.enable, *php.commands, *(file.text for file in php.files)])
        assert f"php{other}" not in told
        assert f"fpm{other}" not in told
