"""Roles: read from folders, chosen with all they require, checked, ordered and rendered."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from skyvypack import assets
from skyvypack.errors import InputError, SpecError
from skyvypack.role_folders import ROLE_RULES, Catalog, read
from skyvypack.roles import Choice, Context, Port, Role, RoleFile, Services, catalog, resolve
from skyvypack.rules import ALLOWED_RULES, Rule
from skyvypack.spec import Spec
from skyvypack.spec.fields import RULES
from skyvypack.validator import Validator

FACTS = Spec("demo", "1.0", "trixie", ()).facts
SHIPPED = sorted(path.parent for path in assets.roles().glob("*/role.yaml"))


def write_role(folder: Path, name: str, text: str = "", files: Mapping[str, str] | None = None) -> Path:
    role = folder / name
    role.mkdir(parents=True)
    (role / "role.yaml").write_text(f"summary: The role {name}\n{text}")
    for path, content in (files or {}).items():
        target = role / "files" / path.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(content)
    return role


def resolved(folder: Path, *choices: str | Choice, debian: str = "trixie", **origins: str) -> tuple[Role, ...]:
    roles = Catalog({path.name: path for path in sorted(folder.iterdir())})
    named = [Choice(choice) if isinstance(choice, str) else choice for choice in choices]
    return resolve(named, roles, Context(FACTS | {"debian": debian}, origins))


def problems(folder: Path, *choices: str | Choice) -> list[str]:
    with pytest.raises(SpecError) as caught:
        resolved(folder, *choices)
    return [str(problem).removeprefix(f"{folder}/") for problem in caught.value.problems]


def test_everything_a_role_says_is_rendered(tmp_path: Path) -> None:
    """Settings, facts of the spec, other roles' settings, ports and origin reach every leaf and file."""
    text = """\
requires: [other]
origins: [upstream, debian]
packages:
  one: because
  two: {reason: only there, debian: [bookworm]}
  three: {reason: here too, debian: [bookworm, trixie]}
settings:
  port: {type: integer, default: 22, doc: where}
  extra: {type: boolean, default: false, doc: whether}
ports:
  - {port: "{{ settings.port }}", protocol: tcp, reason: "for {{ spec.name }}"}
services:
  enable: {demo.service: runs it}
  mask: {apt-daily.timer: in the way}
files:
  /etc/secret: {mode: "0640", owner: "root:adm"}
  /etc/extra: {when: "{{ settings.extra }}"}
  /etc/late: {when: "{{ origin == 'debian' }}"}
commands:
  - echo {{ settings.port }} {{ roles.other.level }} {{ origin }}
  - "{% if settings.extra %}never{% endif %}"
"""
    files = {
        "/etc/demo": "{% for p in ports %}{{ p.role }}:{{ p.port }}/{{ p.protocol }} {% endfor %}{{ spec.title }}\n",
        "/etc/secret": '{% if "other" in roles %}{{ spec.machine.memory }}{% endif %}\n',
        "/etc/extra": "extra\n",
        "/etc/late": "late\n",
    }
    write_role(tmp_path, "demo", text, files)
    level = "settings: {level: {type: integer, default: 7, doc: how much}}\n"
    write_role(tmp_path, "other", f"{level}ports: [{{port: 53, protocol: udp, reason: names}}]\n")
    other, demo = resolved(tmp_path, Choice("demo", {"port": 2222}))
    assert (other.name, other.ports) == ("other", (Port(53, "udp", "other", "names"),))
    title = "SkyvyOS Server 1.0 (Debian 13 trixie)"
    assert demo == Role(
        name="demo",
        summary="The role demo",
        folder=tmp_path / "demo",
        requires=("other",),
        packages={"one": "because", "three": "here too"},
        settings={"port": 2222, "extra": False},
        ports=(Port(2222, "tcp", "demo", "for demo"),),
        services=Services(enable={"demo.service": "runs it"}, mask={"apt-daily.timer": "in the way"}),
        files=(
            RoleFile("/etc/demo", f"other:53/udp demo:2222/tcp {title}\n"),
            RoleFile("/etc/secret", "2048\n", "0640", "root:adm"),
        ),
        commands=("echo 2222 7 upstream",),
    )
    changed = resolved(tmp_path, Choice("demo", {"extra": True}), debian="bookworm", demo="debian")[1]
    assert [file.path for file in changed.files] == ["/etc/demo", "/etc/extra", "/etc/late", "/etc/secret"]
    assert changed.commands == ("echo 22 7 debian", "never")
    assert set(changed.packages) == {"one", "two", "three"}


def test_order_is_requirements_first_then_as_chosen(tmp_path: Path) -> None:
    """A requirement moves ahead of who needs it; all else keeps the order of the spec, and nothing comes twice."""
    write_role(tmp_path, "base")
    write_role(tmp_path, "net", "requires: [base]\n")
    write_role(tmp_path, "web", "requires: [net, base]\n")
    write_role(tmp_path, "alone")
    write_role(tmp_path, "unused")
    for chosen, order in [
        (("web", "alone", "base"), ["base", "net", "web", "alone"]),
        (("alone", "web"), ["alone", "base", "net", "web"]),
        (("base", "alone", "net", "web"), ["base", "alone", "net", "web"]),
    ]:
        assert [role.name for role in resolved(tmp_path, *chosen)] == order


def test_settings_of_a_required_role_can_be_given_before_it(tmp_path: Path) -> None:
    """A role pulled in early has the settings that the spec gives it later."""
    write_role(tmp_path, "base", "settings: {a: {type: integer, default: 1, doc: a}}\n")
    write_role(tmp_path, "web", "requires: [base]\n")
    base, _ = resolved(tmp_path, "web", Choice("base", {"a": 5}))
    assert base.settings == {"a": 5}


def test_circle_is_shown_whole(tmp_path: Path) -> None:
    """Roles that require each other are told with the way round, once."""
    write_role(tmp_path, "a", "requires: [b]\n")
    write_role(tmp_path, "b", "requires: [c]\n")
    write_role(tmp_path, "c", "requires: [b]\n")
    write_role(tmp_path, "own", "requires: [own]\n")
    assert problems(tmp_path, "a", "c", "own") == [
        "c/role.yaml:2:12: requires[0]: roles require each other in a circle: b → c → b",
        "own/role.yaml:2:12: requires[0]: roles require each other in a circle: own → own",
    ]


def test_choices_are_all_checked(tmp_path: Path) -> None:
    """Unknown and repeated roles, wrong settings and broken roles are told together."""
    write_role(tmp_path, "web", "requires: [bsae]\nsettings: {size: {type: integer, default: 1, doc: a}}\n")
    write_role(tmp_path, "base")
    write_role(tmp_path, "broken", "sumary: x\n")
    chosen = (Choice("web", {"size": "x", "sise": 1}), "wbe", "base", "base", "broken", Choice("broken"))
    assert problems(tmp_path, *chosen) == [
        "web/role.yaml:2:12: requires[0]: there is no role `bsae` (did you mean `base`?)",
        "sise: unknown key (did you mean `size`?)",
        "size: expected a whole number, found text",
        "there is no role `wbe` (did you mean `web`?)",
        "the role `base` is chosen twice",
        "broken/role.yaml:2:1: sumary: unknown key (did you mean `summary`?)",
        "the role `broken` is chosen twice",
    ]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("summary: twice\n", "role.yaml:2:1: summary: this key stands here twice"),
        ("requires: base\n", "role.yaml:2:11: requires: expected a list, found text"),
        ("packages: {Vim: editor}\n", "role.yaml:2:12: packages.Vim: `Vim` does not fit: the name of a Debian package"),
        ("packages: {vim: }\n", "role.yaml:2:17: packages.vim.reason: this key is missing: why"),
        (
            "packages: {vim: {reason: x, debian: [sid]}}\n",
            "role.yaml:2:38: packages.vim.debian[0]: `sid` is not one of trixie, bookworm",
        ),
        ("settings: [a]\n", "role.yaml:2:11: settings: expected a mapping, found a list"),
        ("settings: {a: 5}\n", "role.yaml:2:15: settings.a: expected a mapping, found a whole number"),
        ("settings: {a: {type: integer, doc: x}}\n", "role.yaml:2:15: settings.a: a setting needs `default`"),
        ("settings: {a: {type: integer, default: 1}}\n", "role.yaml:2:15: settings.a: a setting needs `doc`"),
        (
            "settings: {a: {type: int, default: 1, doc: x}}\n",
            "role.yaml:2:22: settings.a.type: `int` is not one of string",
        ),
        (
            "settings: {a: {type: integer, default: x, doc: x}}\n",
            "role.yaml:2:15: settings.a: expected a whole number, found text",
        ),
        (
            "settings: {a: {type: integer, mni: 1, default: 1, doc: x}}\n",
            "role.yaml:2:31: settings.a.mni: unknown key (did you mean `min`?)",
        ),
        (
            "settings: {items: {type: integer, default: 1, doc: x}}\n",
            "role.yaml:2:12: settings.items: `items` cannot be the name of a setting",
        ),
        (
            "settings: {a: {type: string, regex: '(', default: x, doc: x}}\n",
            "role.yaml:2:37: settings.a.regex: not a regular expression",
        ),
        (
            "settings: {a: {type: list, schema: {type: strin}, default: [], doc: x}}\n",
            "role.yaml:2:43: settings.a.schema.type: `strin` is not one of",
        ),
        (
            "settings: {a: {type: dict, schema: {b: {tpye: string}}, default: {}, doc: x}}\n",
            "role.yaml:2:41: settings.a.schema.b.tpye: unknown key (did you mean `type`?)",
        ),
        ("ports: [{port: 1.5, protocol: tcp, reason: x}]\n", "role.yaml:2:16: ports[0].port: expected a whole number"),
        ("services: {enable: {ssh: x}}\n", "role.yaml:2:21: services.enable.ssh: `ssh` does not fit: a unit"),
        (
            "files: {/etc/x: {mode: 0755}}\n",
            'role.yaml:2:24: files./etc/x.mode: expected text, found a whole number, `0755` (write "0755", in quotes)',
        ),
        ("files: {etc/x: {}}\n", "role.yaml:2:9: files.etc/x: `etc/x` does not fit: an absolute path"),
        ("commands: [5]\n", "role.yaml:2:12: commands[0]: expected text, found a whole number"),
        ("comands: []\n", "role.yaml:2:1: comands: unknown key (did you mean `commands`?)"),
        ("- x\n", "role.yaml:2:1: this is not YAML"),
    ],
)
def test_role_yaml_is_checked(text: str, told: str, tmp_path: Path) -> None:
    """What is wrong in a role.yaml is told with file, line and column."""
    folder = write_role(tmp_path, "demo", text)
    with pytest.raises(SpecError) as caught:
        read(folder)
    found = [str(problem).removeprefix(f"{folder}/") for problem in caught.value.problems]
    assert any(problem.startswith(told) for problem in found), found


@pytest.mark.parametrize("name", ["Demo", "de_mo", "1st"])
def test_folder_name_is_checked(name: str, tmp_path: Path) -> None:
    """A role's name is what specs and templates write."""
    with pytest.raises(SpecError, match="lower-case letters"):
        read(write_role(tmp_path, name))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("ports: [{port: '{{ nope }}', protocol: tcp, reason: x}]\n", "ports[0].port: 'nope' is undefined"),
        ("ports: [{port: 'ssh', protocol: tcp, reason: x}]\n", "ports[0].port: `ssh` is not the number of a port"),
        ("ports: [{port: 65536, protocol: tcp, reason: x}]\n", "ports[0].port: `65536` is not the number of a port"),
        ("ports: [{port: 0, protocol: tcp, reason: x}]\n", "ports[0].port: `0` is not the number of a port"),
        ("ports: [{port: 1, protocol: icmp, reason: x}]\n", "ports[0].protocol: `icmp` is not tcp or udp"),
        ("commands: ['{{ settings.a }}']\n", "commands[0]: 'a' is undefined"),
        ("files: {/etc/demo: {mode: rw}}\n", "files./etc/demo.mode: `rw` is not an octal mode"),
        ("files: {/etc/demo: {owner: root}}\n", "files./etc/demo.owner: `root` is not user:group"),
        ("files: {/etc/dmeo: {}}\n", "files./etc/dmeo: there is no such file in the role's files/ (did you mean"),
    ],
)
def test_what_leaves_render_to_is_checked(text: str, told: str, tmp_path: Path) -> None:
    """A leaf of role.yaml that renders to nonsense is told at its place."""
    write_role(tmp_path, "demo", text, {"/etc/demo": "x"})
    (problem,) = problems(tmp_path, "demo")
    assert problem.startswith("demo/role.yaml:2:")
    assert told in problem


def test_files_are_checked_all_at_once(tmp_path: Path) -> None:
    """Templates that fail, binary files, links and two roles that write one path are told with the file and line."""
    demo = write_role(tmp_path, "demo", "", {"/etc/bad": "a\n{{ b }}\n", "/etc/open": "{% if x %}", "/etc/both": ""})
    (demo / "files/etc/bytes").write_bytes(b"\xff\x00")
    (demo / "files/etc/nul").write_bytes(b"a\0b")
    (demo / "files/etc/link").symlink_to("bad")
    write_role(tmp_path, "other", "", {"/etc/both": ""})
    told = problems(tmp_path, "demo", "other")
    assert [line.partition(" (")[0] for line in told] == [
        "demo/files/etc/bad:2: 'b' is undefined",
        "demo/files/etc/bytes: is a binary file; a role holds text in UTF-8",
        "demo/files/etc/link: is a symbolic link; a role holds plain files",
        "demo/files/etc/nul: is a binary file; a role holds text",
        told[4],
        "other/files/etc/both: the role `demo` writes /etc/both too",
    ]
    assert told[4].startswith("demo/files/etc/open:1: Unexpected end of template")


def test_catalog_holds_shipped_and_own_roles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Own folders add roles, and take the place of shipped ones only on purpose."""
    monkeypatch.setattr(assets, "roles", lambda: tmp_path / "shipped")
    write_role(tmp_path / "shipped", "base")
    write_role(tmp_path / "shipped", "ssh")
    write_role(tmp_path / "own", "app")
    own = write_role(tmp_path / "own", "ssh", "replaces: true\n")
    (tmp_path / "own/notes").mkdir()
    roles = catalog([tmp_path / "own"])
    assert list(roles) == ["app", "base", "ssh"]
    assert roles["ssh"].folder == own
    assert list(catalog()) == ["base", "ssh"]
    (own / "role.yaml").write_text("summary: x\n")
    with pytest.raises(SpecError, match="exists already") as caught:
        catalog([tmp_path / "own"])
    assert caught.value.problems[0].file == str(own / "role.yaml")
    with pytest.raises(InputError, match="not a folder of roles"):
        catalog([tmp_path / "nowhere"])


def test_reading_is_put_off_until_a_role_is_asked_for(tmp_path: Path) -> None:
    """A broken role that nobody chose is nobody's problem."""
    write_role(tmp_path, "good")
    write_role(tmp_path, "broken", "x: 1\n")
    assert [role.name for role in resolved(tmp_path, "good")] == ["good"]


@pytest.mark.parametrize("rules", [RULES, ROLE_RULES, ALLOWED_RULES], ids=["spec", "role", "rules"])
def test_own_rules_are_good_cerberus_rules(rules: Mapping[str, Rule]) -> None:
    """The rules that `validator_of` takes on trust stand Cerberus' own check."""
    assert Validator(dict(rules)).schema


@pytest.mark.parametrize("debian", ["trixie", "bookworm"])
@pytest.mark.parametrize("name", [folder.name for folder in SHIPPED])
def test_shipped_role_resolves(name: str, debian: str) -> None:
    """Every shipped role renders with its defaults, and its rules stand Cerberus' own check."""
    roles = catalog()
    release = {"trixie": Spec("a", "1", "trixie", ()), "bookworm": Spec("a", "1", "bookworm", ())}[debian]
    # Where a release falls short of what a role stands for, the lesser is accepted by name.
    lesser = {"accept": roles[name].settings["accept"]["allowed"][-1]} if "accept" in roles[name].settings else {}
    chosen = resolve([Choice(name, lesser)], roles, Context(release.facts))
    assert chosen[-1].name == name
    assert Validator(dict(roles[name].settings)) is not None
