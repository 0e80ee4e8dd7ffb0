"""Tests of the role folders in `cloud-init/`: what they render to, and what their own tools say of it."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from skyvypack import cloudinit, command
from skyvypack import spec as specs
from skyvypack.role_folders import catalog
from skyvypack.spec.model import Spec

RELEASES = ("trixie", "bookworm")
ROLES = tuple(catalog())
# What bookworm has less of is taken by name.
ACCEPTED = {"docker": {"accept": "compose-v1"}, "node": {"accept": "nodejs-18"}}
# Another value than the default, for settings whose rule does not tell one.
OTHERS: dict[str, Any] = {
    "base.timezone": "Europe/Vienna",
    "base.locale": "de_AT.UTF-8",
    "base.login_warning": "No trespassing.",
    "base.ntp_servers": ["ntp.example.org"],
    "network.dns": ["192.0.2.53"],
    "network.domains": ["example.org"],
    "ssh.allow_users": ["admin"],
    "firewall.allow": ["8443/tcp"],
    "logging.maxsize": "1G",
    "logging.journal_maxsize": "1G",
    "updates.reboot_time": "03:30",
    "updates.hold": ["nginx.*"],
    "nginx.server_name": "www.example.org",
    "nginx.client_max_body_size": "1g",
    "base.proxy": "http://proxy.example.org:3128",
    "base.no_proxy": ["localhost", ".example.org"],
    "kernel.blocked_modules": ["dccp"],
    "kernel.sysctl": {"net.core.rmem_default": 262144},
    "apparmor.disable": ["usr.sbin.thing"],
    "certbot.email": "admin@example.org",
    "docker.bridge_address": "172.30.0.1/16",
    "docker.log_max_size": "50m",
    "docker.options": {"dns": ["192.0.2.53"]},
    "docker.registry_mirrors": ["https://mirror.example.org"],
    "docker.upstream_url": "https://mirror.example.org/docker",
    "fail2ban.ignore": ["192.0.2.0/24"],
    "info.services": ["myapp"],
    "node.registry": "https://npm.example.org/",
    "node.upstream_url": "https://mirror.example.org/node",
    "php.memory_limit": "256M",
    "php.upload_max_filesize": "64M",
}
# Settings that only show with another one, or with another origin of the role's packages.
COMPANIONS: dict[str, dict[str, Any]] = {"base.no_proxy": {"proxy": "http://proxy.example.org:3128"}}
UPSTREAM = {"docker.upstream_url", "node.upstream_url", "node.version"}
# What says that less than usual is accepted, or nothing else than is there: only the spec's check reads it.
UNSEEN = {"docker.accept", "node.accept", "php.version"}


def load(release: str = "trixie", origins: dict[str, str] | None = None, **settings: dict[str, Any]) -> Spec:
    accepted = ACCEPTED if release == "bookworm" else {}
    roles = [{name: settings.get(name, accepted.get(name, {}))} for name in ROLES]
    facts = {"name": "web", "version": "1.0.0", "debian": release, "roles": roles, "origins": origins or {}}
    return specs.loads(json.dumps(facts))


def file_of(spec: Spec, path: str) -> str:
    (found,) = [file.text for role in spec.roles for file in role.files if file.path == path]
    return found


def settings_of_roles() -> Iterator[tuple[str, str]]:
    roles = catalog()
    every = ((name, setting) for name in roles for setting in roles[name].settings)
    return (pair for pair in every if ".".join(pair) not in UNSEEN)


def another(name: str, rule: Mapping[str, Any]) -> Any:
    """A value that a setting may have beside its default."""
    if name in OTHERS:
        return OTHERS[name]
    if "allowed" in rule:
        return next(value for value in rule["allowed"] if value != rule["default"])
    if rule["type"] == "boolean":
        return not rule["default"]
    return rule["default"] - 1 if rule["default"] == rule.get("max") else rule["default"] + 1


@pytest.mark.parametrize(("role", "setting"), list(settings_of_roles()))
def test_every_setting_is_honoured(role: str, setting: str) -> None:
    """Another value than the default changes what is baked."""
    name = f"{role}.{setting}"
    companions = COMPANIONS.get(name, {})
    other = companions | {setting: another(name, catalog()[role].settings[setting])}
    origins = {role: "upstream"} if name in UPSTREAM else {}
    before, after = (baked(role, settings, origins) for settings in (companions, other))
    assert before != after


def baked(role: str, settings: dict[str, Any], origins: dict[str, str]) -> str:
    """User-data of a spec with one role, beside sshd, which some settings are about."""
    roles = [{role: settings}, *(["ssh"] if role != "ssh" else [])]
    spec = specs.loads(json.dumps({"name": "a", "version": "1", "roles": roles, "origins": origins}))
    return cloudinit.bake_user_data(spec, "qemu")


@pytest.mark.parametrize("release", RELEASES)
def test_scripts_are_valid_shell(release: str) -> None:
    """The bake's script, and each file that begins as a shell script, parse."""
    spec = load(release, base={"locale": "de_AT.UTF-8"})
    config = yaml.safe_load(cloudinit.bake_user_data(spec, "qemu"))
    texts = [config["runcmd"][0], *(file["content"] for file in config["write_files"])]
    for text in texts[:1] + [text for text in texts[1:] if text.startswith("#!/bin/sh\n")]:
        command.run(["sh", "-n"], text=text)


def test_programs_can_be_executed_and_configuration_cannot() -> None:
    """A file has the execute bit if and only if it begins with the name of its interpreter."""
    for role in load().roles:
        for file in role.files:
            assert (int(file.mode, 8) & 0o111 != 0) == file.text.startswith("#!"), file.path


def test_no_blank_or_unrendered_leftovers() -> None:
    """No file holds a template's marks, trailing blanks, or lacks the newline at its end."""
    for release in RELEASES:
        for role in load(release).roles:
            for file in role.files:
                assert file.text.endswith("\n"), file.path
                assert not re.search(r"\{%|%\}|\{##", file.text), file.path
                assert not re.search(r"[ \t]+$", file.text, re.M), file.path


def test_each_release_gets_algorithms_and_syntax_that_it_knows() -> None:
    """An unknown key exchange would keep bookworm's sshd from starting; `http2 on` bookworm's nginx."""
    trixie, bookworm = (load(release) for release in RELEASES)
    path = "/etc/ssh/sshd_config.d/00-skyvyos.conf"
    assert "mlkem768x25519-sha256" in file_of(trixie, path)
    assert "mlkem768x25519-sha256" not in file_of(bookworm, path)
    site = "/etc/nginx/sites-available/default"
    assert "http2 on;" in file_of(trixie, site)
    assert "listen 443 ssl http2 default_server;" in file_of(bookworm, site)


def test_firewall_follows_the_ports_of_the_roles() -> None:
    """Another SSH port is opened instead of 22, in both address families; no port is listed twice."""
    spec = load(ssh={"port": 2222}, firewall={"allow": ["53/udp"], "limit_ssh": True})
    for path in ("/etc/ufw/user.rules", "/etc/ufw/user6.rules"):
        rules = re.findall(r"^### tuple ### (\w+) (\w+) (\d+) ", file_of(spec, path), re.M)
        wanted = [("limit", "tcp", "2222"), ("allow", "tcp", "80"), ("allow", "tcp", "443"), ("allow", "udp", "53")]
        assert sorted(rules) == sorted(wanted)


# ── With the real packages, in a tree that is not booted ──────────────────────────────────────────────────────────

APPLY = """
import json, os, shutil
for file in json.load(open("/apply.json")):
    os.makedirs(os.path.dirname(file["path"]), exist_ok=True)
    with open(file["path"], "w", newline="") as written:
        written.write(file["content"])
    os.chmod(file["path"], int(file["permissions"], 8))
    shutil.chown(file["path"], *file["owner"].split(":"))
"""
# Kernel and boot loader have no configuration of ours, and take most of the time.
LEFT_OUT = re.compile("linux-image|grub-|build-essential|gcc|make|git|vim|nodejs|npm|borgbackup|duplicity|certbot")


class Tree:
    """A Debian tree with the roles applied, entered by chroot in a mount namespace with /proc that cannot be written.

    Read-only because a kernel's settings are the machine's: a chroot does not keep them apart.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def run(self, script: str) -> str:
        mounts = f"mount -t proc proc {self.root}/proc && mount -o remount,ro,bind {self.root}/proc"
        inside = f'{mounts} && mount --bind /dev {self.root}/dev && exec chroot {self.root} env -u TMPDIR sh -ec "$1"'
        done = command.run(["unshare", "-m", "sh", "-c", inside, "sh", script], check=False, timeout=120)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr


@pytest.fixture(scope="module", params=RELEASES)
def tree(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Tree, Spec]:
    if os.geteuid() != 0:
        pytest.skip("entering a tree needs root")
    spec = load(request.param)
    root = tmp_path_factory.mktemp(request.param) / "root"
    packages = sorted({name for role in spec.roles for name in role.packages if not LEFT_OUT.match(name)})
    command.run(
        ["mmdebstrap", "--variant=minbase", f"--include={','.join(packages)}", request.param, root], timeout=600
    )
    config = yaml.safe_load(cloudinit.bake_user_data(spec, "qemu"))
    (root / "apply.json").write_text(json.dumps(config["write_files"]))
    (root / "apply.py").write_text(APPLY)
    (root / "apply.sh").write_text(config["runcmd"][0].replace(">/dev/console", ">/dev/null"))
    applied = Tree(root)
    applied.run("python3 /apply.py; sh /apply.sh")
    return applied, spec


@pytest.mark.layer
class TestAppliedTree:
    def test_sshd_takes_its_configuration_before_that_of_cloud_init(self, tree: tuple[Tree, Spec]) -> None:
        """Also with a drop-in of cloud-init's that allows passwords; every algorithm is known to this sshd."""
        drop_in = "/etc/ssh/sshd_config.d/50-cloud-init.conf"
        text = tree[0].run(
            f"mkdir -p /run/sshd; echo 'PasswordAuthentication yes' >{drop_in}; ssh-keygen -A >/dev/null; sshd -T"
        )
        assert "passwordauthentication no" in text
        assert "permitrootlogin no" in text
        assert "kbdinteractiveauthentication no" in text

    def test_nginx_accepts_site_and_first_certificate(self, tree: tuple[Tree, Spec]) -> None:
        """As on first boot: make the certificate, then check everything."""
        text = tree[0].run("skyvyos-first-certificate /etc/nginx/tls; nginx -t; stat -c %a /etc/nginx/tls/first.key")
        assert "test is successful" in text
        assert "600" in text.split()

    def test_weak_passwords_are_refused_strong_ones_kept_as_yescrypt(self, tree: tuple[Tree, Spec]) -> None:
        """By PAM as pam-auth-update wrote it, dictionary included."""
        text = tree[0].run(
            """
            useradd -m someone
            for word in Kq7!wRv9 qvxhzkwjrtnbmplsdgfc; do ! echo "someone:$word" | chpasswd 2>/dev/null; done
            echo 'someone:Kq7!wRv9#tGz2%mPx5&bLq8' | chpasswd
            getent shadow someone | cut -d: -f2 | cut -c1-3
            stat -c %a /home/someone
            """
        )
        assert text.split() == ["$y$", "750"]

    def test_repositories_are_bound_to_a_keyring(self, tree: tuple[Tree, Spec]) -> None:
        """Deb822 with Signed-By, of the same suites, and no key is trusted globally."""
        assert tree[0].run("find /etc/apt/trusted.gpg.d /etc/apt/sources.list -type f 2>/dev/null || :") == ""
        stanzas = tree[0].run("cat /etc/apt/sources.list.d/debian.sources").strip().split("\n\n")
        fields = [dict(line.split(": ", 1) for line in stanza.splitlines()) for stanza in stanzas]
        assert {entry["Signed-By"] for entry in fields} == {"/usr/share/keyrings/debian-archive-keyring.gpg"}
        suites = {suite for entry in fields for suite in entry["Suites"].split()}
        assert suites == {f"{tree[1].debian}{part}" for part in ("", "-updates", "-security")}
        assert tree[0].run("apt-get update --print-uris").count("/InRelease'") == 3

    def test_every_enabled_unit_has_a_reason(self, tree: tuple[Tree, Spec]) -> None:
        """What Debian and the roles enable is what the roles list."""
        listing = tree[0].run("systemctl list-unit-files --state=enabled --no-legend --no-pager")
        listed = {unit for role in tree[1].roles for unit in role.services.enable}
        # Comes with the boot loader, which this tree may lack.
        loader = {"grub-common.service"}
        assert {line.split()[0] for line in listing.splitlines()} - loader == listed - loader

    def test_the_tools_read_our_files_without_complaint(self, tree: tuple[Tree, Spec]) -> None:
        """logrotate, apt, ufw and systemd."""
        text = tree[0].run("logrotate -d /etc/logrotate.conf 2>&1 | grep -i error: || :")
        assert text == ""
        tree[0].run("systemd-analyze verify --man=no /etc/systemd/system/skyvyos-*.service")
        assert "configuration file /etc/php" in tree[0].run("skyvyos-php-memory; /usr/sbin/php-fpm8* -t")
        assert "parsed OK" in tree[0].run("visudo -c")
        assert "OK" in tree[0].run("mkdir -p /var/log/nginx; touch /var/log/fail2ban.log; fail2ban-client -t")
        rules = tree[0].run("cat /etc/ufw/user.rules /etc/ufw/user6.rules")
        assert rules.count("### tuple ### allow tcp ") == 6
        assert "ufw6-after-logging-input -j LOG" in rules
        assert "ENABLED=yes" in tree[0].run("cat /etc/ufw/ufw.conf")

    def test_the_system_keeps_its_name_when_base_files_is_updated(self, tree: tuple[Tree, Spec]) -> None:
        """os-release is ours, and the package's goes elsewhere."""
        text = tree[0].run("cat /etc/os-release; dpkg-divert --truename /etc/os-release")
        assert f'PRETTY_NAME="{tree[1].title}"' in text
        assert "ID=debian" in text.split()
        assert text.split()[-1] != "/etc/os-release"
