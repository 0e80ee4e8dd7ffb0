"""Each verb: what it prints, what it writes, and how it ends on good and on bad input."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

from skyvypack.cli.app import cli

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f ann@example"
GOOD = 'name: web\nversion: "1.0.0"\nroles: [ssh]\n'

Run = Callable[..., Result]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run a command line in an empty folder that holds a good spec."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "skyvypack.yaml").write_text(GOOD)
    return lambda *args: CliRunner().invoke(cli, [str(arg) for arg in args])


def told(result: Result) -> dict[str, Any]:
    """The one JSON document of standard output."""
    document = json.loads(result.stdout)
    assert isinstance(document, dict)
    return document


def verbs() -> list[tuple[str, ...]]:
    groups = [(name,) for name in cli.commands]
    cache = cli.commands["cache"]
    assert isinstance(cache, click.Group)
    return groups + [("cache", name) for name in cache.commands]


@pytest.mark.parametrize("verb", verbs(), ids=" ".join)
def test_every_help_shows_an_example(run: Run, verb: tuple[str, ...]) -> None:
    """`--help` of each verb ends with a command line that can be copied."""
    result = run(*verb, "--help")
    assert result.exit_code == 0
    assert f"Example:\n    skyvypack {verb[0]}" in result.stdout


@pytest.mark.parametrize("verb", verbs(), ids=" ".join)
def test_every_verb_that_reports_takes_json(verb: tuple[str, ...]) -> None:
    """All but those that print a document of their own, and the group of cache verbs, have `--json`."""
    command: click.Command = cli
    for name in verb:
        assert isinstance(command, click.Group)
        command = command.commands[name]
    has = any("--json" in parameter.opts for parameter in command.params)
    assert has != (verb in {("user-data",), ("schema",), ("completion",), ("cache",)})


def test_the_first_lines_of_help_are_whole(run: Run) -> None:
    """No verb's summary is cut off in the list of verbs."""
    verbs = run("--help").stdout.partition("Commands:")[2]
    assert "completion" in verbs
    assert "..." not in verbs


def test_init_writes_a_spec_that_is_good(run: Run, tmp_path: Path) -> None:
    """What init writes passes validate as it is."""
    assert run("init", "fresh.yaml").exit_code == 0
    assert run("validate", "--spec", "fresh.yaml").exit_code == 0


def test_init_never_overwrites(run: Run, tmp_path: Path) -> None:
    """A file that is there stays as it is, and the exit code says that the input is wrong."""
    result = run("init")
    assert result.exit_code == 2
    assert "skyvypack.yaml exists already" in result.stderr
    assert (tmp_path / "skyvypack.yaml").read_text() == GOOD


def test_init_in_no_folder_is_an_input_error(run: Run) -> None:
    """A folder that is missing is named, without a traceback."""
    result = run("init", "none/spec.yaml", "--json")
    assert result.exit_code == 2
    assert told(result)["error"]["message"].startswith("cannot write none/spec.yaml")


def test_validate_tells_the_resolved_spec(run: Run) -> None:
    """`--json` has the spec with its roles in order, requirements included."""
    document = told(run("validate", "--json"))
    assert document["ok"] is True
    assert document["spec"]["name"] == "web"
    assert "ssh" in document["spec"]["roles"]


BAD = {
    "unknown role": ('name: web\nversion: "1"\nroles: [shh]\n', "did you mean"),
    "unknown key": ('name: web\nversion: "1"\nroels: [ssh]\n', "unknown key"),
    "wrong type": ('name: web\nversion: "1"\nmachine: {cpus: many}\n', "whole number"),
    "disk too small": ('name: web\nversion: "1"\nmachine: {disk: 1}\n', "at least 4 GiB"),
    "bad key": ('name: web\nversion: "1"\nusers: [{name: ann, ssh_authorized_keys: [hello]}]\n', "public key"),
    "no YAML": ("name: [", "not YAML"),
    "empty": ("", "empty"),
    "binary": ("\x00\x01", "skyvypack.yaml"),
}
READERS = [("validate",), ("render",), ("bake",), ("verify",), ("user-data", "--hostname", "web1")]


@pytest.mark.parametrize("verb", READERS, ids=lambda verb: verb[0])
@pytest.mark.parametrize("case", BAD)
def test_a_bad_spec_is_an_input_error_for_every_verb_that_reads_one(
    run: Run, tmp_path: Path, verb: tuple[str, ...], case: str
) -> None:
    """Exit code 2, the problem in words, nothing written and no traceback."""
    text, words = BAD[case]
    (tmp_path / "skyvypack.yaml").write_text(text)
    result = run(*verb)
    assert result.exit_code == 2
    assert words in result.stderr
    assert result.stdout == ""
    assert sorted(path.name for path in tmp_path.iterdir()) == ["skyvypack.yaml"]


@pytest.mark.parametrize("verb", READERS, ids=lambda verb: verb[0])
def test_no_spec_is_an_input_error(run: Run, tmp_path: Path, verb: tuple[str, ...]) -> None:
    """A spec that is not there is named, with the way to one."""
    (tmp_path / "skyvypack.yaml").unlink()
    result = run(*verb)
    assert result.exit_code == 2
    assert "there is no spec skyvypack.yaml" in result.stderr
    assert "init" in result.stderr


def test_problems_are_told_one_by_one_in_json(run: Run, tmp_path: Path) -> None:
    """Every problem of a spec has file, line, path, message and suggestion of its own."""
    (tmp_path / "skyvypack.yaml").write_text('name: web\nversion: "1"\nroels: []\nmachine: {cpus: 0}\n')
    result = run("validate", "--json")
    assert result.exit_code == 2
    error = told(result)["error"]
    assert error["kind"] == "SpecError"
    assert [(problem["line"], problem["path"]) for problem in error["problems"]] == [(3, "roels"), (4, "machine.cpus")]
    assert set(error["problems"][0]) == {"file", "line", "column", "path", "message", "suggestion"}


def test_cyclic_roles_are_an_input_error(run: Run, tmp_path: Path) -> None:
    """Two roles of one's own that require each other are named."""
    for name, other in (("one", "two"), ("two", "one")):
        (tmp_path / "roles" / name).mkdir(parents=True)
        (tmp_path / "roles" / name / "role.yaml").write_text(f"summary: {name}\nrequires: [{other}]\n")
    (tmp_path / "skyvypack.yaml").write_text('name: web\nversion: "1"\nroles_path: [roles]\nroles: [one]\n')
    result = run("validate")
    assert result.exit_code == 2
    assert "one" in result.stderr
    assert "two" in result.stderr


def test_render_writes_a_bundle_and_tells_its_digest(run: Run, tmp_path: Path) -> None:
    """The files of the JSON document are those in the folder."""
    document = told(run("render", "--packer", "1.6.6", "--json"))
    assert document["target"] == "qemu"
    assert document["dialect"] == "1.6.6"
    assert len(document["digest"]) == 64
    assert {"skyvyos.pkr.hcl", "user-data", "prepare.sh"} <= set(document["files"])
    assert all((tmp_path / "bundle" / name).is_file() for name in document["files"])


def test_render_leaves_a_folder_alone_that_is_not_its_own(run: Run, tmp_path: Path) -> None:
    """A folder with anything else in it is an input error, and stays as it is."""
    (tmp_path / "bundle").mkdir()
    (tmp_path / "bundle" / "thesis").write_text("dear")
    result = run("render", "--packer", "1.6.6")
    assert result.exit_code == 2
    assert [path.name for path in (tmp_path / "bundle").iterdir()] == ["thesis"]


@pytest.mark.parametrize("verb", [("render", "--packer", "1.6.6"), ("bake",)], ids=lambda verb: verb[0])
def test_an_unknown_target_is_an_input_error(run: Run, verb: tuple[str, ...]) -> None:
    """A target that there is none of is named."""
    result = run(*verb, "--target", "moon")
    assert result.exit_code == 2
    assert "moon" in result.stderr


def test_user_data_puts_the_account_beside_those_of_the_spec(run: Run, tmp_path: Path) -> None:
    """The clone gets the hostname, the spec's users and the one of the command line, who may use sudo."""
    (tmp_path / "id.pub").write_text(f"# mine\n{KEY}\n")
    (tmp_path / "skyvypack.yaml").write_text(GOOD + f"users: [{{name: ann, ssh_authorized_keys: ['{KEY}']}}]\n")
    result = run("user-data", "--hostname", "web1.example.org", "--user", "bob", "--ssh-key", "id.pub")
    assert result.exit_code == 0
    assert result.stdout.startswith("#cloud-config\n")
    assert "hostname: web1\n" in result.stdout
    assert "fqdn: web1.example.org\n" in result.stdout
    assert result.stdout.count(KEY) == 2
    assert result.stdout.count("sudo: ALL=(ALL) NOPASSWD:ALL") == 1


PRIVATE = "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjEAAAAA\n-----END OPENSSH PRIVATE KEY-----\n"


@pytest.mark.parametrize(
    ("user", "content", "words"),
    [
        ("bob", None, "cannot read id.pub"),
        ("bob", b"", "no key in it"),
        ("bob", b"hello\n", "not an OpenSSH public key"),
        ("bob", b"\xff\xfe", "not a text file"),
        ("bob", PRIVATE.encode(), "private key"),
        ("root", KEY.encode(), "belongs to the system"),
        ("Bob Smith", KEY.encode(), "does not fit"),
    ],
)
def test_a_bad_account_is_an_input_error(
    run: Run, tmp_path: Path, user: str, content: bytes | None, words: str
) -> None:
    """The account of the command line is held to the rules of the spec's; a private key is never repeated."""
    if content is not None:
        (tmp_path / "id.pub").write_bytes(content)
    result = run("user-data", "--hostname", "web1", "--user", user, "--ssh-key", "id.pub")
    assert result.exit_code == 2
    assert words in result.stderr
    assert result.stdout == ""
    assert "b3BlbnNz" not in result.stderr


def test_a_user_without_a_key_is_a_usage_error(run: Run) -> None:
    """An account that nobody can log in to is not made."""
    result = run("user-data", "--hostname", "web1", "--user", "bob")
    assert result.exit_code == 2
    assert "--ssh-key" in result.stderr


def test_roles_lists_every_shipped_role(run: Run) -> None:
    """`--json` has one entry for each role with its settings."""
    from skyvypack import assets

    document = told(run("roles", "--json"))
    assert set(document) == {path.parent.name for path in assets.roles().glob("*/role.yaml")}
    assert document["ssh"]["settings"]["port"]["default"] == 22


def test_one_role_is_shown_in_detail(run: Run) -> None:
    """Its settings, packages, units and files, each with the reason."""
    result = run("roles", "ssh")
    assert result.exit_code == 0
    assert "openssh-server" in result.stdout
    assert "TCP port" in result.stdout


def test_a_role_of_one_s_own_is_listed(run: Run, tmp_path: Path) -> None:
    """`--roles-path` adds the roles of a folder."""
    (tmp_path / "roles" / "motd").mkdir(parents=True)
    (tmp_path / "roles" / "motd" / "role.yaml").write_text("summary: A message\n")
    assert "A message" in run("roles", "--roles-path", "roles").stdout


@pytest.mark.parametrize(("verb", "name", "near"), [("roles", "shh", "ssh"), ("targets", "qemo", "qemu")])
def test_a_name_that_is_nearly_right_is_guessed(run: Run, verb: str, name: str, near: str) -> None:
    """An unknown role or target is an input error that names the nearest one."""
    result = run(verb, name)
    assert result.exit_code == 2
    assert f"did you mean {near}?" in result.stderr


def test_targets_lists_builder_and_settings(run: Run) -> None:
    """`--json` has each target's builder and the rules of its settings."""
    document = told(run("targets", "--json"))
    assert document["qemu"]["builders"] == ["qemu"]
    assert "formats" in document["qemu"]["settings"]
    assert "formats" in run("targets", "qemu").stdout


def test_schema_prints_a_json_schema(run: Run) -> None:
    """It is JSON and describes the fields of a spec."""
    document = told(run("schema"))
    assert "json-schema.org" in document["$schema"]
    assert {"name", "version", "roles"} <= set(document["properties"])


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_a_script_and_how_to_install_it(run: Run, shell: str) -> None:
    """The script names click's variable, and starts no program to be made."""
    result = run("completion", shell)
    assert result.exit_code == 0
    assert "_SKYVYPACK_COMPLETE" in result.stdout
    assert f"# To install: skyvypack completion {shell} > " in result.stdout


def test_completion_knows_the_verbs(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the scripts call answers with the verbs that begin so."""
    environment = {"_SKYVYPACK_COMPLETE": "bash_complete", "COMP_WORDS": "skyvypack va", "COMP_CWORD": "1"}
    result = CliRunner().invoke(cli, [], prog_name="skyvypack", env=environment)
    assert "validate" in result.stdout


@pytest.mark.parametrize("args", [["fly"], ["bake", "--wings"], ["user-data"], ["completion", "tcsh"]])
def test_a_wrong_command_line_is_a_usage_error(run: Run, args: list[str]) -> None:
    """Exit code 2; with `--json` as a document, too."""
    plain = run(*args)
    assert plain.exit_code == 2
    assert "Usage:" in plain.stderr
    document = run(*args, "--json")
    assert document.exit_code == 2
    assert told(document)["error"]["kind"] == "UsageError"


def test_every_module_of_the_command_line_starts_light(tmp_path: Path) -> None:
    """Importing the command line imports nothing that takes long: the library comes with the verb that needs it."""
    import subprocess
    import sys

    code = "import sys, skyvypack.cli.app; print(' '.join(sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    slow = {"cerberus", "jinja2", "rich", "pytest", "yaml", "hcl2", "skyvypack.spec", "skyvypack.bake"}
    assert not slow & set(loaded)


def test_doctor_tells_each_finding(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """`--json` has all findings; exit code 1 when something needed is missing, 0 when only comfort is."""
    from skyvypack import doctor

    fine = doctor.Finding("packer", "runs the bake", "1.6.6", True)
    slow = doctor.Finding("KVM", "speed", "", False, "useful")
    gone = doctor.Finding("xorriso", "the seed", "", False, "needed", "xorriso", "apt-get install xorriso")
    monkeypatch.setattr(doctor, "examine", lambda: [fine, slow])
    assert run("doctor").exit_code == 0
    monkeypatch.setattr(doctor, "examine", lambda: [fine, slow, gone])
    result = run("doctor", "--json")
    assert result.exit_code == 1
    assert [finding["ok"] for finding in told(result)["findings"]] == [True, False, False]
    plain = run("doctor")
    assert plain.exit_code == 1
    assert "apt-get install xorriso    # xorriso" in plain.stdout


def test_doctor_fix_looks_again(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """After mending the machine is examined anew, and that decides the exit code."""
    from skyvypack import doctor

    gone = doctor.Finding("xorriso", "the seed", "", False, "needed", "xorriso", "apt-get install xorriso")
    answers = [[gone], []]
    monkeypatch.setattr(doctor, "examine", lambda: answers.pop(0))
    monkeypatch.setattr(doctor, "fix", lambda findings, on_line: ["apt-get install xorriso"])
    result = run("doctor", "--fix", "--json")
    assert result.exit_code == 0
    assert told(result)["ran"] == ["apt-get install xorriso"]


@pytest.fixture
def filled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache that holds two downloaded packages."""
    debs = tmp_path / "kept" / "debs"
    debs.mkdir(parents=True)
    (debs / "one.deb").write_bytes(b"x" * 5000)
    (debs / "two.deb").write_bytes(b"x" * 5000)
    monkeypatch.setenv("SKYVYPACK_CACHE", str(tmp_path / "kept"))
    return debs


def test_cache_list_tells_what_is_kept(run: Run, filled: Path) -> None:
    """`--json` has folder, size and entries; the table ends with the sum."""
    document = told(run("cache", "list", "--json"))
    assert document["folder"] == str(filled.parent)
    assert [entry["kind"] for entry in document["entries"]] == ["packages"]
    assert document["size"] == document["entries"][0]["size"] >= 10000
    assert run("cache", "list").stdout.splitlines()[-1].endswith(f"in {filled.parent}")


def test_cache_prune_removes_all_or_down_to_a_limit(run: Run, filled: Path) -> None:
    """What fits the limit stays; with `--all` nothing does."""
    assert told(run("cache", "prune", "--limit", "1G", "--json")) == {"freed": 0, "removed": []}
    assert len(told(run("cache", "prune", "--all", "--json"))["removed"]) == 2
    assert list(filled.iterdir()) == []


@pytest.mark.parametrize("limit", ["much", "-1", "", "5X"])
def test_cache_prune_refuses_what_is_no_size(run: Run, filled: Path, limit: str) -> None:
    """A limit that is no size removes nothing."""
    result = run("cache", "prune", "--limit", limit)
    assert result.exit_code == 2
    assert len(list(filled.iterdir())) == 2
