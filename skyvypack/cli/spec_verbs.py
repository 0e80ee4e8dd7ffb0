"""The verbs around a spec that bake nothing: init, validate, render, user-data."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from skyvypack.cli import show
from skyvypack.cli.options import SPEC_FILE, example, installed_packer, json_option, spec_option, target_option
from skyvypack.errors import InputError

if TYPE_CHECKING:
    from skyvypack.spec.model import Spec, User


@click.command(epilog=example("skyvypack init\nskyvypack init web.yaml"))
@click.argument("file", type=click.Path(path_type=Path), default=SPEC_FILE)
@json_option
def init(file: Path, as_json: bool) -> None:
    """Write a commented spec to start from.

    An existing FILE is never overwritten.
    """
    from skyvypack.spec import init_text

    try:
        with file.open("x", encoding="utf-8") as handle:
            handle.write(init_text())
    except FileExistsError as error:
        raise InputError(f"{file} exists already", "name another file: skyvypack init other.yaml") from error
    except OSError as error:
        raise InputError(f"cannot write {file}: {error.strerror}", "name a file where you may write") from error
    if as_json:
        show.document({"file": str(file)})
    else:
        click.echo(f"{file} written. Edit it, then: skyvypack validate --spec {file}")


@click.command(epilog=example("skyvypack validate --spec web.yaml"))
@spec_option
@json_option
def validate(spec_file: Path, as_json: bool) -> None:
    """Check a spec; show every problem at once, with its line."""
    from skyvypack.spec import load

    spec = load(spec_file)
    if as_json:
        show.document({"ok": True, "spec": _summary(spec)})
    else:
        click.echo(f"{spec_file} is good: {spec.name} {spec.version}, {spec.title}")
        click.echo(f"roles: {', '.join(role.name for role in spec.roles)}")


def _summary(spec: Spec) -> dict[str, Any]:
    roles = {role.name: dict(role.settings) for role in spec.roles}
    told = ("name", "version", "title", "debian", "origins", "base", "machine", "targets")
    return {name: getattr(spec, name) for name in told} | {"roles": roles}


@click.command(epilog=example("skyvypack render --output bundle && cd bundle && ./prepare.sh && packer build ."))
@spec_option
@target_option
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    default="bundle",
    show_default=True,
    help="Folder to make. One that holds an untouched bundle is made anew; any other is left alone.",
)
@click.option("--force", is_flag=True, help="Replace a bundle also when something in it was changed or built.")
@click.option(
    "--packer",
    "version",
    metavar="VERSION",
    help="Packer to write for: such as 1.6.6, or latest.  [default: the installed one, else latest]",
)
@json_option
def render(spec_file: Path, target: str, output: Path, force: bool, version: str | None, as_json: bool) -> None:
    """Write the bundle that `packer build` takes without us.

    It holds Packer HCL, user-data and scripts, and no secret.
    """
    from skyvypack.render import render as render_bundle
    from skyvypack.spec import load
    from skyvypack.write import write

    bundle = render_bundle(load(spec_file), target, version or installed_packer())
    write(bundle, output, force)
    if as_json:
        facts = {name: getattr(bundle, name) for name in ("target", "builder", "dialect", "digest")}
        show.document({"folder": str(output), **facts, "files": list(bundle.files)})
    else:
        click.echo(f"{output}: {len(bundle.files)} files for Packer {bundle.dialect}, builder {bundle.builder}")


@click.command(
    "user-data", epilog=example("skyvypack user-data --hostname web1 --user admin --ssh-key ~/.ssh/id_ed25519.pub")
)
@spec_option
@target_option
@click.option("--hostname", required=True, help="Name of the clone.")
@click.option("--user", "name", metavar="NAME", help="Account to make, beside those of the spec; may use sudo.")
@click.option(
    "--ssh-key",
    "keys",
    type=click.Path(path_type=Path),
    multiple=True,
    metavar="FILE",
    help="Public keys (OpenSSH) that may log in as --user; may be given several times.",
)
@click.option(
    "--iso",
    "disc",
    type=click.Path(path_type=Path),
    help="Write it as a disc that a clone finds by its label, instead of printing it. Needs xorriso.",
)
def user_data(
    spec_file: Path, target: str, hostname: str, name: str | None, keys: tuple[Path, ...], disc: Path | None
) -> None:
    """Print the user-data for the first boot of a clone.

    Where clones get it as settings of the machine, as on vsphere, these are printed, one a line.

    Accounts and keys are never in the template itself: those of the spec, and --user, are made here.
    """
    from skyvypack import targets
    from skyvypack.cloudinit import first_boot_user_data
    from skyvypack.spec import load

    if bool(name) != bool(keys):
        raise click.UsageError("--user and --ssh-key belong together: the template lets nobody in without a key")
    spec = load(spec_file)
    users = (*spec.users, _user(name, keys)) if name else spec.users
    text = first_boot_user_data(spec, hostname=hostname, users=users, target=target)
    if disc is not None:
        _write_disc(disc, text, hostname)
        return
    settings = targets.first_boot_settings(target, text, hostname)
    if settings is None:
        click.echo(text, nl=False)
    for key, value in (settings or {}).items():
        click.echo(f"{key}={value}")


def _write_disc(disc: Path, user_data: str, hostname: str) -> None:
    from tempfile import TemporaryDirectory

    from skyvypack import seed

    if disc.exists():
        raise InputError(f"{disc} exists", "choose another file, or move it away")
    try:
        # On the same file system, so that it appears whole.
        with TemporaryDirectory(dir=disc.parent, prefix=".skyvypack-seed-") as folder:
            made = seed.make(Path(folder), user_data, f"instance-id: {hostname}\nlocal-hostname: {hostname}\n")
            made.rename(disc)
    except OSError as error:
        raise InputError(f"cannot write {disc}: {error.strerror}", "choose another --iso") from error


def _user(name: str, keys: tuple[Path, ...]) -> User:
    """The account of the command line, held to the rules of the spec's own."""
    from skyvypack.document import Document
    from skyvypack.rules import check
    from skyvypack.spec.fields import RULES
    from skyvypack.spec.model import User

    lines = [line for file in keys for line in _key_lines(file)]
    account = {"name": name, "ssh_authorized_keys": lines, "sudo": True}
    problems = check({"users": RULES["users"]}, {"users": [account]}, Document())[1]
    if not lines or problems:
        where = ", ".join(map(str, keys))
        what = "; ".join(problem.message for problem in problems) or "there is no key in it"
        raise InputError(f"--user {name} with --ssh-key {where}: {what}", "an example: skyvypack user-data --help")
    return User(name, ssh_authorized_keys=tuple(lines), sudo=True)


def _key_lines(file: Path) -> list[str]:
    try:
        lines = [line.strip() for line in file.read_text(encoding="utf-8").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not a text file"
        raise InputError(f"cannot read {file}: {reason}", "give the .pub file that ssh-keygen wrote") from error
    return [line for line in lines if line and not line.startswith("#")]
