"""The verb that makes an installer for machines of their own."""

from __future__ import annotations

from pathlib import Path

import click

from skyvypack.cli import show
from skyvypack.cli.options import cache_option, example, json_option, spec_option


@click.command(
    epilog=example(
        "skyvypack iso --spec web.yaml --from debian-13.1.0-amd64-netinst.iso -o web.iso\n"
        "skyvypack iso --from debian-installer-13-netboot-amd64_all.deb --checksum sha256:… -o web.iso"
    )
)
@spec_option
@click.option(
    "--from",
    "source",
    type=click.Path(path_type=Path),
    required=True,
    help="An installer ISO of Debian, or the package debian-installer-<release>-netboot-amd64.",
)
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="The ISO to make.")
@click.option(
    "--checksum",
    default="",
    help="Of the source, as sha256:… or sha512:….  [default: the spec's base, or SHA512SUMS beside the source]",
)
@click.option("--offline", is_flag=True, help="Bring every package along: the machine needs no network.")
@cache_option
@json_option
def iso(
    spec_file: Path,
    source: Path,
    output: Path,
    checksum: str,
    offline: bool,
    cache: Path | None,
    as_json: bool,
) -> None:
    """Make an installer that sets up SkyvyOS by itself.

    For USB sticks and virtual media, BIOS and UEFI, as Debian's own. Unless the spec names the disk (installer: disks),
    it asks before it wipes one. The spec's users get in, and nobody else.
    """
    from skyvypack.cli.display import reporter
    from skyvypack.disk import sha256
    from skyvypack.iso import make
    from skyvypack.progress import Progress
    from skyvypack.spec import load

    spec = load(spec_file)
    with reporter(as_json) as report:
        make(spec, source, output, checksum=checksum, offline=offline, cache=cache, progress=Progress(report))
    size, digest = output.stat().st_size, sha256(output)
    asks = not spec.installer.disks
    if as_json:
        show.document({"file": output, "size": size, "sha256": digest, "offline": offline, "asks_for_disk": asks})
        return
    show.table([(str(output), show.size(size), f"sha256:{digest}")], ("installer", "size", "digest"))
    disks = "asks before it wipes a disk" if asks else f"wipes {', '.join(spec.installer.disks)} WITHOUT A QUESTION"
    click.echo(f"\nIt {disks}. To a USB stick: dd if={output} of=/dev/sdX bs=4M oflag=sync")
