"""A planted leak of every kind is found, at its path, and nothing else is."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from pathlib import Path

import images
import pytest

from skyvypack import disk, scan
from skyvypack.errors import LeakFound
from skyvypack.roles import Role, RoleFile
from skyvypack.scan_rules import inspect
from skyvypack.spec.model import Spec

SPEC = Spec("web", "1.0.0", "trixie", roles=())
BODY = "MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQC7VJTUt9Us8cKj"
PEM = f"-----BEGIN PRIVATE KEY-----\n{BODY}\n{BODY}\n-----END PRIVATE KEY-----\n"
ENCRYPTED = f"-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES,00\n\n{BODY}\n"
PUTTY = f"PuTTY-User-Key-File-3: ssh-ed25519\nComment: x\nPublic-Lines: 1\nAAAA\nPrivate-Lines: 1\n{BODY}\n"
JSON = '{"private_key": "-----BEGIN PRIVATE KEY-----\\n' + BODY + '\\n-----END PRIVATE KEY-----"}'
PUBLIC = "AAAAC3NzaC1lZDI1NTE5AAAAIForbiddenForbidden"
FORBIDDEN = {"the bake's public key": PUBLIC.encode()}

# path: (content, the path that is reported, what is said of it)
LEAKS: Mapping[str, tuple[str, str, str]] = {
    path: (text, reported or path, what)
    for path, text, reported, what in [
        ("/etc/machine-id", "0123456789abcdef0123456789abcdef\n", "", "machine id"),
        ("/etc/ssh/ssh_host_ed25519_key", "x", "", "SSH host key"),
        ("/etc/ssh/ssh_host_rsa_key.pub", "x", "", "SSH host key"),
        ("/var/lib/dhcp/dhclient.eth0.leases", "lease {}", "", "DHCP lease"),
        ("/var/lib/systemd/network/leases/2", "ADDRESS=10.0.2.15", "", "DHCP lease"),
        ("/var/lib/cloud/instances/iid-1/", "", "/var/lib/cloud/instances/iid-1", "state of cloud-init"),
        ("/var/lib/cloud/data/status.json", "{}", "", "state of cloud-init"),
        ("/var/lib/cloud/sem/config_scripts_per_once.once", "x", "", "state of cloud-init"),
        ("/run/cloud-init/result.json", "{}", "", "state of cloud-init"),
        ("/etc/netplan/50-cloud-init.yaml", "network:", "", "network configuration that cloud-init wrote"),
        ("/etc/systemd/network/10-cloud-init-eth0.network", "[Match]", "", "network configuration"),
        ("/home/packer/", "", "/home/packer", "of the build account"),
        ("/home/packer/.profile", "x", "/home/packer", "of the build account"),
        ("/var/mail/packer", "x", "", "of the build account"),
        ("/etc/sudoers.d/90-cloud-init-users", "packer ALL=(ALL) ALL\n", "", "sudo for the build account"),
        ("/etc/sudoers.d/me", "me ALL=(ALL) ALL\n", "", "sudoers entry of no role or package"),
        ("/etc/sudoers", "%sudo ALL=(ALL) NOPASSWD: ALL\n", "", "sudo without a password"),
        ("/root/.ssh/authorized_keys", "ssh-ed25519 AAAA", "", "authorized key"),
        ("/home/anna/.ssh/authorized_keys2", "ssh-ed25519 AAAA", "", "authorized key"),
        ("/root/.bash_history", "ls", "", "history"),
        ("/var/www/.python_history", "1", "", "history"),
        ("/home/anna/.viminfo", "x", "", "history"),
        ("/root/.config/gcloud/credentials.db", "x", "", "credentials"),
        ("/root/.aws/credentials", "x", "", "credentials"),
        ("/home/anna/.docker/config.json", "{}", "", "credentials"),
        ("/home/anna/.netrc", "machine x", "", "credentials"),
        ("/home/anna/.git-credentials", "https://x", "", "credentials"),
        ("/home/anna/.npmrc", "//registry.example/:_authToken=abc", "", "token of npm"),
        ("/etc/apt/auth.conf.d/x.conf", "machine x", "", "credentials"),
        ("/etc/apt/apt.conf.d/proxy", 'Acquire::http::Proxy "http://me:pw@proxy.example";', "", "password in a URL"),
        ("/root/notes", "x", "", "left in root's home"),
        ("/var/lib/apt/lists/x_InRelease", "x", "", "apt's lists"),
        ("/var/cache/apt/archives/x_1_amd64.deb", "x", "", "apt's lists or downloads"),
        ("/var/log/syslog", "line", "", "log of the build"),
        ("/var/log/journal/0123/system.journal", "x", "/var/log/journal/0123", "journal of the build"),
        ("/tmp/x", "x", "", "left in a temporary folder"),
        ("/var/tmp/a/b", "x", "", "left in a temporary folder"),
        ("/var/lib/systemd/random-seed", "x", "", "seed or secret"),
        ("/etc/shadow-", "x", "", "backup of the accounts"),
        ("/etc/ssl/private/site.key", "x", "", "TLS key of no package"),
        ("/var/crash/x.crash", "x", "", "core dump"),
        ("/srv/core.123", "x", "", "core dump"),
        ("/etc/resolv.conf", "nameserver 10.0.2.3\n", "", "name servers of the build"),
        ("/etc/.resolv.conf.systemd-resolved.bak", "nameserver 10.0.2.3\n", "", "name servers of the build"),
        ("/var/lib/dbus/machine-id", "0123", "", "identity of this one machine"),
        ("/etc/passwd", "packer:x:1000:1000::/home/packer:/bin/bash\n", "", "build account"),
        ("/etc/shadow", "anna:$y$j9T$abc$def:20000:0:99999:7:::\n", "", "password hash of anna"),
        ("/etc/gshadow", "sudo:!::packer\n", "", "build account"),
        ("/etc/subuid", "packer:100000:65536\n", "", "build account"),
        ("/srv/site.pem", PEM, "", "private key"),
        ("/opt/encrypted", ENCRYPTED, "", "private key"),
        ("/opt/x.ppk", PUTTY, "", "private key"),
        ("/srv/service-account.json", JSON, "", "private key"),
        ("/usr/share/doc/x", f"ssh-ed25519 {PUBLIC}", "", "the bake's public key"),
    ]
}


def role(*files: RoleFile) -> Spec:
    return Spec("web", "1.0.0", "trixie", roles=(Role("r", "A role", Path("r"), files=files),))


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A disk without any leak; not to be changed."""
    return images.disk(tmp_path_factory.mktemp("clean"), images.CLEAN)


@pytest.fixture
def own(clean: Path, tmp_path: Path) -> Path:
    """A copy of it to change."""
    raw = tmp_path / "own.raw"
    subprocess.run(["cp", "--sparse=always", clean, raw], check=True)
    return raw


@pytest.mark.tool
def test_clean(clean: Path) -> None:
    """A clean disk has no finding: empty logs, lock files, links and documents are no leaks."""
    assert scan.scan(clean, forbidden=FORBIDDEN, spec=SPEC) == []
    scan.check(clean, forbidden=FORBIDDEN, spec=SPEC)


@pytest.mark.tool
@pytest.mark.parametrize("path", LEAKS)
def test_each_leak(tmp_path: Path, path: str) -> None:
    """Each planted leak gives one finding, which names its path and what it is."""
    text, reported, what = LEAKS[path]
    raw = images.disk(tmp_path, {**images.CLEAN, path: text})
    (finding,) = scan.scan(raw, forbidden=FORBIDDEN, spec=SPEC)
    assert finding.startswith(f"BAS-7: {reported}: ")
    assert what in finding


@pytest.mark.tool
def test_missing_machine_id(tmp_path: Path) -> None:
    """Without a machine-id file systemd would undo what roles disabled, so it must be there."""
    files = {path: text for path, text in images.CLEAN.items() if path != "/etc/machine-id"}
    (finding,) = scan.scan(images.disk(tmp_path, files), forbidden={}, spec=SPEC)
    assert finding.startswith("BAS-7: /etc/machine-id: missing")


@pytest.mark.tool
def test_check_raises(tmp_path: Path) -> None:
    """`check` tells every finding at once."""
    raw = images.disk(tmp_path, {**images.CLEAN, "/tmp/a": "x", "/root/.bash_history": "ls"})
    with pytest.raises(LeakFound) as caught:
        scan.check(raw, forbidden=FORBIDDEN, spec=SPEC)
    assert [finding.split(": ")[1] for finding in caught.value.findings] == ["/root/.bash_history", "/tmp/a"]


@pytest.mark.tool
def test_packages_may_ship_test_keys(tmp_path: Path) -> None:
    """Keys that packages own under /usr are theirs, also when their list names the unmerged path; others are not."""
    owned = {"/usr/share/doc/tls/test.pem": PEM, "/usr/lib/go/id_test": PEM, "/usr/share/npm/.npmrc": "_auth=x"}
    listed = "/usr/share/doc/tls/test.pem\n/lib/go/id_test\n/usr/share/npm/.npmrc\n/etc/package.pem\n"
    files = {
        **images.CLEAN,
        **owned,
        "/lib": "-> usr/lib",
        "/etc/package.pem": PEM,
        "/usr/share/doc/tls/other.pem": PEM,
        "/var/lib/dpkg/info/tls.list": listed,
    }
    assert scan.scan(images.disk(tmp_path, files), forbidden={}, spec=SPEC) == [
        "BAS-7: /etc/package.pem: private key",
        "BAS-7: /usr/share/doc/tls/other.pem: private key",
    ]


@pytest.mark.tool
def test_byte_code_belongs_to_the_package_of_its_source(tmp_path: Path) -> None:
    """What Python compiled of a package's file at its installation is spared; byte code of nobody's file is not."""
    files = {
        **images.CLEAN,
        "/usr/lib/python3/__pycache__/docs.cpython-311.pyc": PEM,
        "/usr/lib/python3/__pycache__/stray.cpython-311.pyc": PEM,
        "/var/lib/dpkg/info/docs.list": "/usr/lib/python3/docs.py\n",
    }
    found = scan.scan(images.disk(tmp_path, files), forbidden={}, spec=SPEC)
    assert found == ["BAS-7: /usr/lib/python3/__pycache__/stray.cpython-311.pyc: private key"]


@pytest.mark.tool
def test_words_about_keys_are_no_keys(tmp_path: Path) -> None:
    """A program that knows the words, a document and a placeholder are no keys."""
    texts = ["-----BEGIN RSA PRIVATE KEY-----\0-----END", "-----BEGIN PRIVATE KEY-----\n...\n", f"PRIVATE KEY\n{BODY}"]
    files = {f"/opt/{number}": text for number, text in enumerate(texts)}
    assert scan.scan(images.disk(tmp_path, {**images.CLEAN, **files}), forbidden={}, spec=SPEC) == []


@pytest.mark.tool
def test_roles_files(tmp_path: Path) -> None:
    """A role may grant sudo and leave files for cloud-init and root; a line more than it wrote is a leak."""
    grant = RoleFile("/etc/sudoers.d/ops", "%ops ALL=(ALL) NOPASSWD: /usr/bin/true\n")
    script = RoleFile("/var/lib/cloud/scripts/per-boot/x.sh", "#!/bin/sh\n")
    rc = RoleFile("/root/.vimrc", "set nu\n")
    files = {**images.CLEAN, **{file.path: file.text for file in (grant, script, rc)}}
    raw = images.disk(tmp_path, files)
    assert scan.scan(raw, forbidden={}, spec=role(grant, script, rc)) == []
    assert len(scan.scan(raw, forbidden={}, spec=SPEC)) == 3

    more = {**files, grant.path: grant.text + "anna ALL=(ALL) NOPASSWD: ALL\n"}
    (finding,) = scan.scan(images.disk(tmp_path, more, "more.raw"), forbidden={}, spec=role(grant, script, rc))
    assert finding == "BAS-7: /etc/sudoers.d/ops: sudo without a password: anna ALL=(ALL) NOPASSWD: ALL"


@pytest.mark.tool
def test_roles_cannot_ship_identities(tmp_path: Path) -> None:
    """A host key or a private key is a leak also when a role put it there: every clone would share it."""
    files = [RoleFile("/etc/ssh/ssh_host_rsa_key", "x"), RoleFile("/etc/nginx/site.key", PEM)]
    raw = images.disk(tmp_path, {**images.CLEAN, **{file.path: file.text for file in files}})
    assert scan.scan(raw, forbidden={}, spec=role(*files)) == [
        "BAS-7: /etc/nginx/site.key: private key",
        "BAS-7: /etc/ssh/ssh_host_rsa_key: SSH host key",
    ]


@pytest.mark.tool
def test_deleted_data(tmp_path: Path) -> None:
    """A deleted file's bytes are still a leak, told by their place, until the free blocks are zeroed."""
    raw = images.disk(tmp_path, {**images.CLEAN, "/srv/key": PEM, "/srv/pub": PUBLIC})
    images.debugfs(raw, "rm /srv/key", "rm /srv/pub")
    found = scan.scan(raw, forbidden=FORBIDDEN, spec=SPEC)
    assert [line.split()[1:4] for line in found] == [["deleted", "data", "at"]] * 2
    assert {line.split(": ")[-1] for line in found} == {"private key", "the bake's public key"}
    disk.zero_free(raw)
    assert scan.scan(raw, forbidden=FORBIDDEN, spec=SPEC) == []


@pytest.mark.tool
@pytest.mark.parametrize(
    ("offset", "where"),
    [
        (images.ESP_START + 5000, f"partition 2 at byte {images.ESP_START + 5000}"),
        (800 << 10, f"outside of all partitions at byte {800 << 10}"),
    ],
)
def test_outside_of_the_file_system(own: Path, offset: int, where: str) -> None:
    """The ESP and the gaps between partitions are searched too."""
    images.write_at(own, offset, PUBLIC.encode())
    assert scan.scan(own, forbidden=FORBIDDEN, spec=SPEC) == [f"BAS-7: {where}: the bake's public key"]


@pytest.mark.tool
def test_bake_key(tmp_path: Path) -> None:
    """Both halves of a key are found by the strings made of it, and another key of its type is not mistaken for it."""
    for name in ("id", "other"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / name], check=True)
    strings = scan.bake_key(tmp_path / "id")
    texts = {name: (tmp_path / name).read_bytes() for name in ("id", "id.pub", "other", "other.pub")}
    hits = {name: [what for what, needle in strings.items() if needle in text] for name, text in texts.items()}
    assert hits == {"id": ["the bake's private key"], "id.pub": ["the bake's public key"], "other": [], "other.pub": []}


@pytest.mark.parametrize(
    ("path", "text", "expected"),
    [
        ("/etc/shadow", "a:!:1::::::\nb:*:1\nc:!*:1\n", []),
        ("/etc/shadow", "a::1::::::\n", ["no password needed for a"]),
        ("/etc/shadow", "a:!$6$x$y:1::::::\n", ["password hash of a"]),
        ("/etc/passwd", "a:x:0:0::/:/bin/sh\n", []),
        ("/etc/passwd", "a:$1$x:0:0::/:/bin/sh\n", ["password hash of a"]),
        ("/etc/gshadow", "sudo::root:\n", []),
        ("/etc/group", "docker:x:999:anna,packer\n", ["build account"]),
        ("/etc/group", "packers:x:999:\n", []),
        ("/etc/machine-id", "uninitialized\n", []),
        ("/etc/sudoers", "#x NOPASSWD\n  # packer\nDefaults x\n", []),
    ],
)
def test_files_of_known_format(path: str, text: str, expected: list[str]) -> None:
    """Account files, sudoers and the machine id are read by their meaning."""
    assert list(inspect(path, text, "")) == expected
