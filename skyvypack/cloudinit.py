"""`Spec` → cloud-init: what configures the template during its bake, and what makes a clone of it somebody's own.

Everything here is pure text. The bake's configuration is one `#cloud-config`; access to the build machine is kept
apart from it in vendor-data, so that user-data can be read, kept and shared.
"""

from __future__ import annotations

import gzip
import shlex
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import yaml

from skyvypack import targets
from skyvypack.errors import InputError
from skyvypack.roles import Role, RoleFile
from skyvypack.spec.model import Spec, User

BUILD_ACCOUNT = "packer"
PUBLIC_KEY_MARK = "@PUBLIC_KEY@"

# Units that would fight the bake for apt's lock. Stopped for the bake only: the mask lives in /run.
_APT_UNITS = (
    "apt-daily.timer",
    "apt-daily-upgrade.timer",
    "apt-daily.service",
    "apt-daily-upgrade.service",
    "unattended-upgrades.service",
)
_APT_FOLDERS = ("/etc/apt/sources.list.d/", "/etc/apt/preferences.d/", "/usr/share/keyrings/")
# Switches the module off; a text, as the schema of bookworm's cloud-init knows no other type here.
_NO_LOCALE = "false"
_CLONE_CONFIG = "/etc/cloud/cloud.cfg.d/90-skyvyos.cfg"


# libyaml's writes the same text several times faster (it escapes characters beyond U+FFFF); PyYAML may lack it.
_SafeDumper: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)


class _Dumper(_SafeDumper):  # type: ignore[misc]
    """Texts of several lines stay readable as literal blocks."""


def _represent_text(dumper: Any, text: str) -> yaml.ScalarNode:
    node: yaml.ScalarNode = dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)
    return node


_Dumper.add_representer(str, _represent_text)


def _cloud_config(config: Mapping[str, Any], about: str) -> str:
    body = yaml.dump(dict(config), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=1000)
    return f"#cloud-config\n# {about}\n{body}"


def bake_user_data(spec: Spec, target: str) -> str:
    """The user-data that configures the template while it is baked; it gives nobody access.

    Args:
        spec: what to bake.
        target: where the template will live; decides where its clones look for their data.

    Raises:
        InputError: no such target.
    """
    return _cloud_config(_configuration(spec, target), f"configures {spec.title} for {target}; made by skyvypack")


def machine_user_data(spec: Spec, hostname: str, target: str = "qemu") -> str:
    """The user-data of a machine that is no template: all of a bake's, its own name and its users, then a restart.

    Args:
        spec: what the machine becomes; its packages are installed already, as for the base ``iso``.
        hostname: with or without its domain.
        target: decides where cloud-init looks for its data later.

    Raises:
        InputError: no such target.
    """
    config = _configuration(spec, target)
    # It keeps its keys: both kinds, as a clone has.
    config["ssh_genkeytypes"] = ["ed25519", "rsa"]
    config["hostname"] = hostname.partition(".")[0]
    if "." in hostname:
        config["fqdn"] = hostname
    config["users"] = [_account(user) for user in spec.users]
    config["power_state"] = {"mode": "reboot", "message": "SkyvyOS is configured", "condition": True}
    return _cloud_config(config, f"makes a machine {spec.title}; made by skyvypack")


def _configuration(spec: Spec, target: str) -> dict[str, Any]:
    files = [RoleFile(_CLONE_CONFIG, _clone_config(target)), *(file for role in spec.roles for file in role.files)]
    config: dict[str, Any] = {
        "bootcmd": [["systemctl", "mask", "--runtime", "--now", *_APT_UNITS]],
        "ssh_pwauth": False,
        "disable_root": True,
        "ssh_deletekeys": True,
        # These keys die with the bake; the RSA key of a clone would cost an emulated machine half a minute.
        "ssh_genkeytypes": ["ed25519"],
        "locale": _NO_LOCALE,
        "apt": {"preserve_sources_list": True},
    }
    if spec.base.kind not in ("bootstrap", "iso"):
        config["apt"]["conf"] = 'APT::Install-Recommends "false";\n'
        config |= {"package_update": True, "packages": _packages(spec)}
    config["write_files"] = [_write_file(file) for file in (*files, *spec.files)]
    config["runcmd"] = [_script(spec)]
    return config


def _packages(spec: Spec) -> list[str]:
    roles = (name for role in spec.roles for name in role.packages)
    return list(dict.fromkeys([*roles, *spec.packages]))


def _write_file(file: RoleFile) -> dict[str, Any]:
    # Deferred: after packages, whose owners and folders a file may need; but what they are installed by is there first.
    return {
        "path": file.path,
        "owner": file.owner,
        "permissions": file.mode,
        "defer": not (file.early or file.path.startswith(_APT_FOLDERS)),
        "content": file.text,
    }


def _clone_config(target: str) -> str:
    """cloud-init's own settings in the template: they hold on every clone unless its user-data says otherwise."""
    config = {
        "disable_root": True,
        "ssh_pwauth": False,
        "ssh_deletekeys": True,
        "ssh_genkeytypes": ["ed25519", "rsa"],
        "preserve_hostname": False,
        "manage_etc_hosts": "localhost",
        # The template's repositories and locale are its own.
        "apt": {"preserve_sources_list": True},
        "locale": _NO_LOCALE,
        "system_info": {"network": {"renderers": ["networkd"], "activators": ["networkd"]}},
    }
    # On one line: ds-identify reads this list with a shell script that knows no other form.
    found = f"datasource_list: [{', '.join(targets.datasources(target))}]\n"
    return "# Written at bake by skyvypack.\n" + found + yaml.dump(config, Dumper=_Dumper, sort_keys=False)


def _script(spec: Spec) -> str:
    """The shell script that runs last: each role's units and commands, and the spec's own commands.

    Every step has a name for its failure.
    """
    lines = [
        "set -e",
        "export DEBIAN_FRONTEND=noninteractive",
        "step='list of units'",
        'say() { echo "skyvypack: $1"; echo "skyvypack: $1" >/dev/console || :; }',
        "trap 'code=$?; [ $code -eq 0 ] || say \"failed: $step (exit code $code)\"; exit $code' EXIT",
        # In an emulated machine each question costs a second and each reload three: ask once, and reload never, as
        # nothing is started before the template is switched off.
        # On a busy host the answer may take longer than the 25 s that systemctl waits for. None must not count as "no
        # unit is enabled": then nothing would be disabled.
        "export SYSTEMD_BUS_TIMEOUT=240",
        "listed=$(systemctl list-unit-files --state=enabled --no-legend --no-pager)",
        'enabled=" $(echo "$listed" | cut -d" " -f1 | xargs) "',
        'is_enabled() { case "$enabled" in *" $1 "*) ;; *) false ;; esac; }',
        'enable() { for unit; do is_enabled "$unit" || systemctl --no-reload enable "$unit"; done; }',
        'disable() { for unit; do if is_enabled "$unit"; then systemctl --no-reload disable "$unit"; fi; done; }',
        "step='apt units'",
        # Enabling a masked unit is refused. Nothing starts by this: its start was cancelled, and nobody asks again.
        shlex.join(["systemctl", "unmask", "--runtime", *_APT_UNITS]),
    ]
    for role in spec.roles:
        lines += _role_steps(role)
    lines += _commands("spec", spec.commands)
    lines += ["step='end'", "say 'configured'"]
    return "\n".join(lines) + "\n"


def _role_steps(role: Role) -> Iterator[str]:
    yield f"say {shlex.quote(f'role {role.name}')}"
    units = list(_unit_lines(role))
    if units:
        yield f"step={shlex.quote(f'role {role.name}, units')}"
        yield from units
    yield from _commands(f"role {role.name}", role.commands)


def _commands(whose: str, commands: Sequence[str]) -> Iterator[str]:
    for number, command in enumerate(commands, 1):
        title = command.strip().splitlines()[0]
        yield f"step={shlex.quote(f'{whose}, command {number}: {title}')}"
        # A shell of its own: folders, variables and options of one command do not reach the next.
        yield f"(\n{command.strip()}\n)"


def _unit_lines(role: Role) -> Iterator[str]:
    services = role.services
    if services.mask:
        yield shlex.join(["systemctl", "--no-reload", "mask", *services.mask])
    if services.enable:
        yield shlex.join(["enable", *services.enable])
    if services.disable:
        # A unit that this base does not have is as good as disabled.
        yield shlex.join(["disable", *services.disable])


def bake_meta_data(spec: Spec) -> str:
    """The meta-data of a bake.

    Args:
        spec: what to bake.
    """
    host = f"{spec.name}-bake"
    return yaml.safe_dump({"instance-id": host, "local-hostname": host}, sort_keys=False)


def build_access() -> str:
    """The vendor-data of a bake: the account Packer logs in to; `PUBLIC_KEY_MARK` stands where its key goes.

    Its list of users replaces cloud-init's default, so that the bake makes no other account.
    """
    account = {
        "name": BUILD_ACCOUNT,
        "gecos": "build account, removed when the template is sealed",
        "shell": "/bin/sh",
        "lock_passwd": True,
        "sudo": "ALL=(ALL) NOPASSWD:ALL",
        "ssh_authorized_keys": [PUBLIC_KEY_MARK],
    }
    return _cloud_config({"users": [account]}, "the only access to the build machine, gone with the bake")


def first_boot_user_data(
    spec: Spec, *, hostname: str | None = None, users: Sequence[User] | None = None, target: str = "qemu"
) -> str:
    """The user-data with which a clone becomes somebody's own machine.

    Args:
        spec: of the template.
        hostname: of the clone, with or without its domain; None leaves it to the provider.
        users: accounts to make, and no others; the spec's by default.
        target: where the clone lives.

    Raises:
        InputError: no such target, or larger than the target takes.
    """
    config: dict[str, Any] = {}
    if hostname:
        config["hostname"] = hostname.partition(".")[0]
        if "." in hostname:
            config["fqdn"] = hostname
    accounts = [_account(user) for user in (spec.users if users is None else users)]
    # No account, not even cloud-init's default: an empty list, which the schema of bookworm's does not allow.
    config["users"] = accounts or ({} if spec.debian == "bookworm" else [])
    text = _cloud_config(config, f"first boot of a clone of {spec.name} {spec.version}; made by skyvypack")
    encode(text, target)
    return text


def _account(user: User) -> dict[str, Any]:
    account: dict[str, Any] = {"name": user.name, "shell": user.shell, "lock_passwd": True}
    if user.gecos:
        account["gecos"] = user.gecos
    if user.groups:
        account["groups"] = list(user.groups)
    if user.sudo:
        account["sudo"] = "ALL=(ALL) NOPASSWD:ALL"
    if user.ssh_authorized_keys:
        account["ssh_authorized_keys"] = list(user.ssh_authorized_keys)
    return account


def encode(user_data: str, target: str) -> bytes:
    """User-data as the target's provider takes it: as it is, or compressed when only that fits.

    Args:
        user_data: as made by this module.
        target: decides the limit.

    Raises:
        InputError: too large even when compressed.
    """
    raw = user_data.encode()
    limit = targets.user_data_limit(target)
    if limit is None or len(raw) <= limit:
        return raw
    packed = gzip.compress(raw, mtime=0)
    if len(packed) > limit:
        raise InputError(
            f"user-data for {target} is {len(packed)} bytes compressed ({len(raw)} plain); {target} takes {limit}",
            "bake what every clone needs into the template: leave fewer users and keys to the first boot",
        )
    return packed
