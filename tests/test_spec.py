"""Reading a spec: what is right becomes a `Spec`, and what is wrong is told all at once, where it stands."""

from __future__ import annotations

import contextlib
from pathlib import Path
from types import ModuleType

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from skyvypack import assets, targets
from skyvypack.errors import InputError, SpecError
from skyvypack.spec import Base, Machine, Mirror, Spec, User, init_text, load, loads
from skyvypack.spec.fields import RULES

SPECS = Path(__file__).parent / "specs"
BAD = sorted((SPECS / "bad").glob("*.yaml"))
SECRETS = ("c2VjcmV0", "hunter2", "AAAAC3NzaC1lZDI1NTE5")


@pytest.fixture(autouse=True)
def _fake_roles(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three small roles instead of the shipped ones, so that these tests do not change with them."""
    if "shipped" not in request.node.name:
        monkeypatch.setattr(assets, "roles", lambda: SPECS / "roles")


def problems_of(text: str) -> list[str]:
    with pytest.raises(SpecError) as caught:
        loads(text)
    return [str(problem) for problem in caught.value.problems]


def test_least_spec_has_every_default() -> None:
    """A name and a version are enough."""
    spec = load(SPECS / "good/least.yaml")
    assert (spec.name, spec.version, spec.debian, spec.release_number) == ("least", "1", "trixie", 13)
    assert [role.name for role in spec.roles] == ["base", "ssh"], "of the profile server"
    assert (spec.mirror, spec.base, spec.machine) == (Mirror(), Base(), Machine())
    assert (spec.users, spec.packages, spec.targets, spec.origins) == ((), (), {}, {})
    assert spec.file == SPECS / "good/least.yaml"
    assert spec.title == "SkyvyOS Server 1 (Debian 13 trixie)"


def test_every_field_reaches_the_spec() -> None:
    """Each field of the YAML stands in its place in the frozen form, converted to its unit."""
    spec = load(SPECS / "good/all.yaml")
    assert (spec.name, spec.version, spec.debian) == ("web-server", "2.0.0-rc1", "bookworm")
    assert [role.name for role in spec.roles] == ["base", "docker", "ssh"]
    assert spec.roles[2].settings == {"port": 2222, "ciphers": ["aes256-gcm"]}
    assert spec.origins == {"docker": "debian"}
    url = "http://mirror.example/{snapshot}/"
    assert spec.mirror == Mirror(f"{url}debian", f"{url}security", "20260131T000000Z")
    images = "https://images.example"
    assert spec.base == Base("cloud-image", f"{images}/debian.qcow2", checksums=f"{images}/SHA512SUMS")
    assert spec.machine == Machine(cpus=4, memory=2048, disk=16, firmware="bios")
    (user,) = spec.users
    assert user == User("admin", user.ssh_authorized_keys, ("adm", "docker"), True, "/bin/zsh", "The Admin")
    assert user.ssh_authorized_keys[0].startswith("ssh-ed25519 ")
    assert spec.packages == ("tmux", "libstdc++6")
    assert spec.targets["qemu"]["formats"] == ["qcow2", "ova"]
    assert spec.targets["qemu"]["accelerator"] == "auto", "a setting not given has its default"


def test_short_forms() -> None:
    """A single value stands for a mapping, a key with nothing after it for an empty one; anchors and merges work."""
    spec = load(SPECS / "good/short.yaml")
    assert spec.base == Base("bootstrap")
    assert spec.mirror == Mirror("http://mirror.example/debian")
    assert spec.machine == Machine(cpus=1, memory=512, disk=4)
    assert spec.users == ()
    assert spec.targets["qemu"] == spec.target_settings("qemu")


def test_target_settings_of_a_target_not_named() -> None:
    """A spec that does not name a target still has its settings, and an unknown target is the caller's error."""
    spec = load(SPECS / "good/least.yaml")
    assert spec.target_settings("qemu")["formats"] == ["qcow2"]
    with pytest.raises(InputError, match="no target `quemu`"):
        spec.target_settings("quemu")


@pytest.mark.parametrize("path", BAD, ids=lambda path: path.stem)
def test_every_problem_at_once(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each bad spec gives exactly the problems listed beside it: all, in the file's order, with line and column."""
    monkeypatch.chdir(path.parent)
    with pytest.raises(SpecError) as caught:
        load(path.name)
    told = "".join(f"{problem}\n" for problem in caught.value.problems)
    assert told == path.with_suffix(".problems").read_text(encoding="utf-8")
    places = [(problem.line, problem.column) for problem in caught.value.problems]
    assert places == sorted(places)
    assert not [secret for secret in SECRETS if secret in str(caught.value)], "a secret is never repeated"
    assert caught.value.exit_code == 2


def test_bad_specs_are_all_listed() -> None:
    """No bad spec lacks its list of problems, and no list its spec."""
    assert len(BAD) > 15
    assert {path.stem for path in BAD} == {path.stem for path in (SPECS / "bad").glob("*.problems")}


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda path: None, "there is no spec"),
        (lambda path: path.mkdir(), "is a folder"),
        (lambda path: path.write_bytes(b"name: \xff\xfe"), "not text in UTF-8"),
        (lambda path: path.symlink_to(path), "cannot read"),
        (lambda path: path.symlink_to("/dev/zero"), "is a device"),
        (lambda path: path.write_bytes(b"name: a\0b"), "character that YAML forbids"),
        (lambda path: path.write_text("[" * 100_000), "nested more than|maximum nesting depth"),
        (lambda path: path.write_text("{a: " * 100_000), "nested more than|maximum nesting depth"),
        (lambda path: path.write_text("- " * 100_000), "nested more than|maximum nesting depth"),
        (lambda path: path.write_text("#" * 1_000_001), "larger than"),
        (lambda path: path.write_text(""), "empty"),
    ],
    ids=[
        "missing",
        "folder",
        "latin-1",
        "loop",
        "device",
        "nul",
        "deep",
        "deep mapping",
        "deep block",
        "huge",
        "empty",
    ],
)
def test_file_that_is_no_spec(make: object, words: str, tmp_path: Path) -> None:
    """Whatever stands where the spec should be, the answer is an error of ours with a hint or a place."""
    path = tmp_path / "skyvypack.yaml"
    make(path)  # type: ignore[operator]
    with pytest.raises(InputError, match=words):
        load(path)


def test_default_file_and_names_no_file_can_have(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`load()` reads skyvypack.yaml here; a name with a NUL is an error like any other."""
    monkeypatch.chdir(tmp_path)
    Path("skyvypack.yaml").write_text("name: here\nversion: '1'\n", encoding="utf-8")
    assert load().name == "here"
    with pytest.raises(InputError, match="cannot read"):
        load("a\0b")


def test_alias_bomb_ends_quickly() -> None:
    """Aliases of aliases that stand for billions of values are refused."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    assert "aliases stand for more than" in problems_of("\n".join(lines))[0]


def test_byte_order_mark_is_no_problem(tmp_path: Path) -> None:
    """Editors of other systems put a mark before the text."""
    path = tmp_path / "s.yaml"
    path.write_bytes("\ufeffname: a\nversion: '1'\n".encode())
    assert load(path).name == "a"


def test_own_roles(tmp_path: Path) -> None:
    """`roles_path` is relative to the spec, and its roles can be chosen, required and given settings."""
    (tmp_path / "roles/app").mkdir(parents=True)
    rules = "settings: {size: {type: integer, default: 3, doc: how large}}"
    (tmp_path / "roles/app/role.yaml").write_text(f"summary: App\nrequires: [ssh]\n{rules}\n")
    path = tmp_path / "s.yaml"
    path.write_text("name: a\nversion: '1'\nroles_path: [roles]\nroles: [{app: {size: 5}}]\n")
    spec = load(path)
    assert [role.name for role in spec.roles] == ["base", "ssh", "app"]
    assert spec.roles[-1].settings == {"size": 5}


def test_problems_of_a_role_follow_those_of_the_spec(tmp_path: Path) -> None:
    """A broken role of the user's is told in the same list, with its own file."""
    (tmp_path / "roles/app").mkdir(parents=True)
    (tmp_path / "roles/app/role.yaml").write_text("sumary: App\n")
    with pytest.raises(SpecError) as caught:
        loads("name: A\nversion: '1'\nroles_path: [roles]\nroles: [app]\n", tmp_path, "z.yaml")
    assert [(Path(problem.file).name, problem.path) for problem in caught.value.problems] == [
        ("z.yaml", "name"),
        ("role.yaml", "sumary"),
        ("role.yaml", "summary"),
    ]


def test_origin_default_is_the_first_offered() -> None:
    """A role that offers a choice of origins always has one in the spec."""
    assert loads("{name: a, version: '1', roles: [docker]}").origins == {"docker": "upstream"}


def test_order_of_roles_does_not_hide_problems() -> None:
    """A wrong setting of one role and an unknown other role are told together."""
    told = problems_of("{name: a, version: '1', roles: [{ssh: {port: x}}, nope], machine: {disk: 1}}")
    assert len(told) == 3


_FIELDS = list(RULES)
_KEYS = st.sampled_from([*_FIELDS, "ssh", "docker", "qemu", "port", "kind", "url", "disk", "memory", "main"])
_SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.dates()
_VALUES = st.recursive(
    _SCALARS | st.sampled_from(["ssh", "docker", "qemu", "clone", "iso", "2G", "{snapshot}"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4) | _KEYS, inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=20, deadline=None)
@given(content=st.dictionaries(st.sampled_from(_FIELDS), _VALUES, max_size=6))
def test_no_input_gives_a_traceback(content: dict[str, object]) -> None:
    """Whatever stands in the fields, `loads` gives a spec or a list of problems."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(assets, "roles", lambda: SPECS / "roles")
        with contextlib.suppress(SpecError):
            spec = loads(yaml.safe_dump({"name": "a", "version": "1"} | content, allow_unicode=True))
            assert isinstance(spec, Spec)


@settings(max_examples=150, deadline=None)
@given(text=st.text(alphabet="ab:- \n\t[]{}&*!|>'\"%@`#,?<0.\\\0\ud800é", max_size=40))
def test_no_text_gives_a_traceback(text: str) -> None:
    """Text that is hardly YAML gives a list of problems."""
    with pytest.raises(SpecError) as caught:
        loads(text)
    assert caught.value.problems


def test_init_text_loads_with_shipped_roles() -> None:
    """The commented spec that `init` writes is good as it is, and says its name."""
    spec = loads(init_text("my-template"))
    assert spec.name == "my-template"


def test_every_option_of_init_text_is_good_with_shipped_roles() -> None:
    """Uncommenting all options of the commented spec leaves it good, and they are not the comments."""
    lines = init_text().splitlines()
    options = [number for number, line in enumerate(lines) if line[:1] == "#" and line[1:2].isalpha()]
    assert len(options) >= 6
    loads("\n".join(line[1:] if number in options else line for number, line in enumerate(lines)))


@pytest.mark.parametrize("name", targets.names())
def test_every_target_is_whole(name: str) -> None:
    """Rules with defaults in a settings.yaml of its name, datasources, and a source that knows its builders."""
    assert all({"type", "default", "doc"} <= set(rule) for rule in targets.settings_rules(name).values())
    assert targets.datasources(name)[-1] == "None"
    source = targets.source(name)
    assert isinstance(source, ModuleType)
    assert all((assets.builders() / builder / "since.json").is_file() for builder in source.BUILDERS)


def test_builder_settings_are_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rules without a default, or none at all, are problems of the builder's file."""
    monkeypatch.setattr(assets, "builders", lambda: tmp_path)
    targets.settings_rules.cache_clear()
    with pytest.raises(SpecError, match="cannot be read"):
        targets.settings_rules("qemu")
    (tmp_path / "qemu").mkdir()
    (tmp_path / "qemu/settings.yaml").write_text("size: {type: integer}\n")
    with pytest.raises(SpecError, match="needs `default`"):
        targets.settings_rules("qemu")
