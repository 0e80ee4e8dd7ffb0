"""Tests of `skyvypack.cloudinit`."""

from __future__ import annotations

import gzip
import os
import shlex
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from fixture_types import FakeTool

from skyvypack import cloudinit, command, targets
from skyvypack import spec as specs
from skyvypack.errors import CommandFailed, InputError
from skyvypack.roles import Role, RoleFile, Services
from skyvypack.spec.model import Base, Spec, User

RELEASES = ("trixie", "bookworm")
AWS_LIMIT = 16 * 1024
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ0qG0eVvF8oJtT5qYq0pP3mX3kM0y2r9Xv5k3d2b1aZ someone@example.org"
ADMIN = User("admin", ssh_authorized_keys=(KEY,), groups=("adm",), sudo=True, gecos="The Admin")


def make_spec(*roles: Role, base: Base | None = None, users: tuple[User, ...] = ()) -> Spec:
    return Spec("web", "1.0.0", "trixie", roles, base=base or Base(), users=users, packages=("jq",))


def make_role(name: str = "site", **fields: object) -> Role:
    return replace(Role(name, "a role", Path("/nowhere"), packages={"nginx": "serves"}), **fields)  # type: ignore[arg-type]


def parsed(text: str) -> dict[str, object]:
    assert text.startswith("#cloud-config\n")
    loaded = yaml.safe_load(text)
    assert isinstance(loaded, dict)
    return loaded


def written(text: str) -> dict[str, dict[str, object]]:
    files = parsed(text)["write_files"]
    assert isinstance(files, list)
    return {file["path"]: file for file in files}


class TestBakeUserData:
    def test_files_arrive_with_their_text_mode_and_owner_after_the_packages(self) -> None:
        """Each role file is written as rendered, deferred until packages are there."""
        text = "first\n\tsecond: {a}\n\n# end\n"
        role = make_role(files=(RoleFile("/etc/site.conf", text, "0640", "root:adm"),))
        file = written(cloudinit.bake_user_data(make_spec(role), "qemu"))["/etc/site.conf"]
        assert file == {
            "path": "/etc/site.conf",
            "content": text,
            "permissions": "0640",
            "owner": "root:adm",
            "defer": True,
        }

    def test_what_apt_needs_to_reach_its_mirror_is_there_before_the_packages(self) -> None:
        """A file of a role that says so is not deferred: a proxy's, on a base that packages are installed on."""
        spec = specs.loads("name: x\nversion: 1.0.0\nroles: [{base: {proxy: 'http://192.0.2.1:3128'}}]\n")
        files = written(cloudinit.bake_user_data(spec, "qemu"))
        assert files["/etc/apt/apt.conf.d/02skyvyos-proxy"]["defer"] is False
        assert files["/etc/apt/apt.conf.d/01skyvyos"]["defer"] is True

    @pytest.mark.parametrize(
        "text", ["", "one line", "a \nb\n", "\n\nx\n", " lead\n", "é \u2028 \x85 x\n", "yes\n", "a\r\nb\r\n"]
    )
    def test_any_text_survives_yaml(self, text: str) -> None:
        """Blanks, odd line ends and words that YAML knows come out as they went in."""
        role = make_role(files=(RoleFile("/etc/x", text),))
        assert written(cloudinit.bake_user_data(make_spec(role), "qemu"))["/etc/x"]["content"] == text

    def test_texts_of_several_lines_can_be_read(self) -> None:
        """They are literal blocks, not one quoted line."""
        role = make_role(files=(RoleFile("/etc/x", "one\ntwo\n"),))
        assert "content: |\n    one\n    two\n" in cloudinit.bake_user_data(make_spec(role), "qemu")

    def test_a_bootstrapped_base_starts_no_apt(self) -> None:
        """Its packages are in the layer."""
        config = parsed(cloudinit.bake_user_data(make_spec(make_role()), "qemu"))
        assert {"packages", "package_update", "package_upgrade"}.isdisjoint(config)

    @pytest.mark.parametrize("kind", ["cloud-image", "clone"])
    def test_another_base_installs_every_package_once_without_recommends(self, kind: str) -> None:
        """Packages of all roles and the spec's own, no recommends."""
        roles = (make_role(), make_role("more", packages={"nginx": "too", "php-fpm": "runs"}))
        config = parsed(cloudinit.bake_user_data(make_spec(*roles, base=Base(kind)), "qemu"))  # type: ignore[arg-type]
        assert config["packages"] == ["nginx", "php-fpm", "jq"]
        assert 'APT::Install-Recommends "false";' in str(config["apt"])

    def test_it_gives_nobody_access(self) -> None:
        """No account, key or password: those are in vendor-data."""
        text = cloudinit.bake_user_data(make_spec(make_role(), users=(ADMIN,)), "qemu")
        assert {"users", "chpasswd", "password", "ssh_authorized_keys"}.isdisjoint(parsed(text))
        assert KEY not in text

    def test_the_list_of_datasources_is_on_one_line(self) -> None:
        """ds-identify, a shell script, reads no other form; each target has its own list, ending in None."""
        for target in targets.names():
            text = str(written(cloudinit.bake_user_data(make_spec(), target))["/etc/cloud/cloud.cfg.d/90-skyvyos.cfg"])
            names = ", ".join(targets.datasources(target))
            assert f"datasource_list: [{names}]\\n" in text
            assert names.endswith("None")

    def test_same_spec_same_text(self) -> None:
        """Rendering is a pure function."""
        spec = make_spec(make_role())
        assert cloudinit.bake_user_data(spec, "qemu") == cloudinit.bake_user_data(spec, "qemu")

    def test_an_unknown_target_is_the_callers_mistake(self) -> None:
        """It is named, and so are the known ones."""
        with pytest.raises(InputError, match="there is no target `moon`"):
            cloudinit.bake_user_data(make_spec(), "moon")


def run_script(role: Role, console: Path) -> command.Done:
    """Run the script of the bake here, its console a file."""
    scripts = parsed(cloudinit.bake_user_data(make_spec(role), "qemu"))["runcmd"]
    assert isinstance(scripts, list)
    text = scripts[0].replace(">/dev/console", f">>{shlex.quote(str(console))}")
    return command.run(["sh"], text=text, check=False)


class TestScript:
    def test_units_come_before_commands_and_each_role_is_announced(self, fake_tool: FakeTool, tmp_path: Path) -> None:
        """Masks, enables what is not yet enabled, disables what is; then commands in their order."""
        log, console = tmp_path / "log", tmp_path / "console"
        listed = "printf '%s enabled enabled\\n' old.service bad.timer"
        fake_tool("systemctl", f'echo "$*" >>{log}\n[ "$1" != list-unit-files ] || {listed}')
        disabled = {"bad.timer": "x", "gone.timer": "x"}
        services = Services({"new.service": "x", "old.service": "x"}, disabled, {"worse.socket": "x"})
        role = make_role(services=services, commands=(f"echo one >>{log}", f"echo two >>{log}"))
        assert run_script(role, console).returncode == 0
        lines = log.read_text().splitlines()[2:]
        assert lines == [
            "--no-reload mask worse.socket",
            "--no-reload enable new.service",
            "--no-reload disable bad.timer",
            "one",
            "two",
        ]
        assert console.read_text() == "skyvypack: role site\nskyvypack: configured\n"

    def test_a_failure_names_role_and_command_and_stops_the_rest(self, fake_tool: FakeTool, tmp_path: Path) -> None:
        """The console and the output say which command failed; the exit code makes cloud-init report an error."""
        fake_tool("systemctl", "exit 0")
        console, mark = tmp_path / "console", tmp_path / "mark"
        role = make_role(commands=("true", "cd /\nfalse 'it''s'\necho on", f"touch {mark}"))
        done = run_script(role, console)
        assert done.returncode == 1
        message = "skyvypack: failed: role site, command 2: cd / (exit code 1)"
        assert console.read_text().splitlines()[-1] == message
        assert message in done.stdout
        assert not mark.exists()

    def test_a_unit_that_is_not_there_fails_the_bake(self, fake_tool: FakeTool, tmp_path: Path) -> None:
        """A role that enables a misspelled unit does not pass."""
        fake_tool("systemctl", '[ "$2" != enable ]')
        console = tmp_path / "console"
        assert run_script(make_role(services=Services({"typo.service": "x"})), console).returncode == 1
        assert "failed: role site, units" in console.read_text()

    def test_no_list_of_units_is_not_an_empty_one(self, fake_tool: FakeTool, tmp_path: Path) -> None:
        """When systemctl gives up, the bake fails; else what a role disables would stay enabled."""
        fake_tool("systemctl", '[ "$1" != list-unit-files ]')
        console = tmp_path / "console"
        assert run_script(make_role(services=Services({}, {"bad.timer": "x"}, {})), console).returncode == 1
        assert "failed: list of units" in console.read_text()

    def test_commands_share_nothing(self, fake_tool: FakeTool, tmp_path: Path) -> None:
        """Folder and variables of one do not reach the next."""
        fake_tool("systemctl", "exit 0")
        seen = tmp_path / "seen"
        role = make_role(commands=("cd /; word=left", f'echo "${{word-nothing}}" >{seen}; test "$PWD" != /'))
        assert run_script(role, tmp_path / "console").returncode == 0
        assert seen.read_text() == "nothing\n"


def test_meta_data_is_not_that_of_a_clone() -> None:
    """The bake has an instance-id of its own, so that a clone counts as new."""
    meta = yaml.safe_load(cloudinit.bake_meta_data(make_spec()))
    assert meta == {"instance-id": "web-bake", "local-hostname": "web-bake"}


def test_build_access_is_one_account_with_a_key_and_no_password() -> None:
    """It replaces the default account; the key's place is marked."""
    users = parsed(cloudinit.build_access())["users"]
    assert isinstance(users, list)
    assert len(users) == 1
    assert users[0]["name"] == cloudinit.BUILD_ACCOUNT
    assert users[0]["lock_passwd"] is True
    assert users[0]["ssh_authorized_keys"] == [cloudinit.PUBLIC_KEY_MARK]


class TestFirstBoot:
    def test_hostname_and_accounts_and_no_others(self) -> None:
        """The spec's accounts with their keys; cloud-init's default account is not made."""
        config = parsed(cloudinit.first_boot_user_data(make_spec(users=(ADMIN,)), hostname="web1.example.org"))
        assert config["hostname"] == "web1"
        assert config["fqdn"] == "web1.example.org"
        assert config["users"] == [
            {
                "name": "admin",
                "shell": "/bin/bash",
                "lock_passwd": True,
                "gecos": "The Admin",
                "groups": ["adm"],
                "sudo": "ALL=(ALL) NOPASSWD:ALL",
                "ssh_authorized_keys": [KEY],
            }
        ]

    def test_no_accounts_means_none(self) -> None:
        """An empty list of accounts, in the form that each release accepts, not cloud-init's default."""
        spec = make_spec(users=(ADMIN,))
        assert parsed(cloudinit.first_boot_user_data(spec, users=())) == {"users": []}
        assert parsed(cloudinit.first_boot_user_data(replace(spec, debian="bookworm"), users=())) == {"users": {}}

    def test_too_much_for_the_target_is_an_error_with_both_sizes(self) -> None:
        """Not even compressed: random keys do not compress."""
        users = [User(f"u{n}", (f"ssh-ed25519 {os.urandom(48).hex()}",)) for n in range(600)]
        with pytest.raises(InputError, match=r"is \d+ bytes compressed \(\d+ plain\); aws takes 16384"):
            cloudinit.first_boot_user_data(make_spec(), users=users, target="aws")


class TestEncode:
    def test_small_or_unlimited_stays_as_it_is(self) -> None:
        """Nothing is compressed without need."""
        text = "#cloud-config\n" + "# x\n" * 5000
        assert cloudinit.encode(text, "qemu") == text.encode()
        assert cloudinit.encode("#cloud-config\n", "aws") == b"#cloud-config\n"
        exact = "x" * AWS_LIMIT
        assert cloudinit.encode(exact, "aws") == exact.encode()

    def test_too_large_is_compressed_when_that_fits(self) -> None:
        """cloud-init recognises gzip by itself; the same text gives the same bytes."""
        text = "#cloud-config\n" + "# x\n" * 5000
        packed = cloudinit.encode(text, "aws")
        assert len(packed) <= AWS_LIMIT
        assert gzip.decompress(packed).decode() == text
        assert packed == cloudinit.encode(text, "aws")


def cloud_init_of(release: str, folder: Path) -> dict[str, str]:
    """The environment that makes Python import a release's cloud-init; fetched once, kept in the user's cache."""
    tree = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "skyvypack" / "tests" / release
    if not (tree / "usr").is_dir():
        listed = command.run(["apt-get", "indextargets", "--format", "$(REPO_URI) $(ORIGIN)", "Created-By: Packages"])
        archives = [line.split()[0] for line in listed.stdout.splitlines() if line.endswith(" Debian")]
        if not archives:
            pytest.skip("this host's apt has no Debian archive to take cloud-init from")
        keyring = "/usr/share/keyrings/debian-archive-keyring.gpg"
        (folder / "sources.list").write_text(f"deb [signed-by={keyring}] {archives[0]} {release} main\n")
        for name in ("lists/partial", "cache/archives/partial"):
            (folder / name).mkdir(parents=True)
        own = {"Etc::SourceList": "sources.list", "Etc::SourceParts": "none", "State::Lists": "lists", "Cache": "cache"}
        apt = ["apt-get", "-qq", *(f"-oDir::{key}={folder / name}" for key, name in own.items())]
        apt += ["-oAPT::Sandbox::User=root", "-oAcquire::Languages=none", "-oDir::State::status=/dev/null"]
        try:
            command.run([*apt, "update"], timeout=300)
            command.run([*apt, "download", "cloud-init"], cwd=folder, timeout=300)
        except CommandFailed as error:
            pytest.skip(f"cloud-init of {release} cannot be fetched here: {error.tail}")
        tree.parent.mkdir(parents=True, exist_ok=True)
        command.run(["dpkg-deb", "-x", next(folder.glob("cloud-init_*.deb")), folder / "tree"])
        command.run(["mv", "-T", folder / "tree", tree])
    return {"PYTHONPATH": str(tree / "usr/lib/python3/dist-packages")}


@pytest.mark.tool
@pytest.mark.parametrize("release", RELEASES)
def test_cloud_init_of_each_release_accepts_all_that_we_write(release: str, tmp_path: Path) -> None:
    """`cloud-init schema` finds no error in the bake's, the build account's and the first boot's configuration."""
    from skyvypack import spec as specs

    env = cloud_init_of(release, tmp_path)
    roles = "[base, network, ssh, firewall, accounts, kernel, updates, logging, nginx]"
    spec = specs.loads(f"{{name: web, version: 1.0.0, debian: {release}, roles: {roles}}}")
    texts = {
        "bake": cloudinit.bake_user_data(spec, "qemu"),
        "bake of an image": cloudinit.bake_user_data(replace(spec, base=Base("cloud-image")), "qemu"),
        "access": cloudinit.build_access().replace(cloudinit.PUBLIC_KEY_MARK, KEY),
        "first boot": cloudinit.first_boot_user_data(replace(spec, users=(ADMIN,)), hostname="web1.example.org"),
        "nobody": cloudinit.first_boot_user_data(spec, users=()),
        "wrong": "#cloud-config\nruncmd: 7\n",
    }
    outcomes = {}
    for number, (name, text) in enumerate(texts.items()):
        path = tmp_path / f"{number}.yaml"
        path.write_text(text)
        argv = ["/usr/bin/python3", "-m", "cloudinit.cmd.main", "schema", "--config-file", path]
        done = command.run(argv, env=env, check=False)
        if "ModuleNotFoundError" in done.stderr:
            pytest.skip(f"this host's Python lacks what cloud-init needs: {done.stderr.splitlines()[-1]}")
        outcomes[name] = "" if done.returncode == 0 else done.stdout + done.stderr
    assert outcomes.pop("wrong"), "the check itself does not work"
    assert {name: problem for name, problem in outcomes.items() if problem} == {}
