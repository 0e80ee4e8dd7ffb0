"""What `install.sh` and `tidy.sh` make of a fresh base system, run by this host, beside a bootstrapped layer."""

from __future__ import annotations

import os
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from differences import differences, facts_of

from skyvypack import artifact, command, disk, mirrors
from skyvypack.render import render
from skyvypack.spec import Spec, loads
from skyvypack.spec.model import Base, Mirror
from skyvypack.write import write

ROLES = "[base, network, ssh, firewall, accounts, kernel, updates, logging, nginx]"
# What the installer's own parts have left by then, and its programs as far as the scripts call them.
LEFT = (
    "etc/hostname",
    "etc/securetty",
    "etc/adjtime",
    "etc/default/keyboard",
    "etc/apt/apt.conf.d/00InstallRecommends",
    "usr/lib/firmware/regulatory.db",
)
IN_TARGET = """#!/bin/sh
printf '#!/bin/sh\\nexit 101\\n' > {target}/usr/sbin/policy-rc.d
chmod 0755 {target}/usr/sbin/policy-rc.d
chroot {target} "$@"
code=$?
rm {target}/usr/sbin/policy-rc.d
exit $code
"""
SCRIPT = """
mount --make-rprivate /
mmdebstrap --mode=root --variant=minbase --include=ca-certificates --dpkgopt=force-unsafe-io --skip=output/dev \
    --setup-hook='mkdir -p "$1/etc"' "$SUITE" "$TARGET" "$SOURCES"
rm "$TARGET/etc/dpkg/dpkg.cfg.d/99mmdebstrap"
mkdir -p "$TARGET/etc/network" "$TARGET/usr/lib/firmware" "$TARGET/media/cdrom1"
for name in $LEFT; do echo "# left" > "$TARGET/$name"; done
echo left > "$TARGET/etc/network/interfaces"
echo LANG=en_US.UTF-8 > "$TARGET/etc/locale.conf"
cp /etc/resolv.conf "$TARGET/etc/resolv.conf"
mount -t proc proc "$TARGET/proc"
mount --rbind -o ro /sys "$TARGET/sys"
mount --rbind /dev "$TARGET/dev"
sh "$HOME_OF_SCRIPTS/install.sh"
sh "$HOME_OF_SCRIPTS/tidy.sh"
umount -l "$TARGET/dev" "$TARGET/sys" "$TARGET/proc"
"""


def spec_of(base: Base) -> Spec:
    """The quickstart's roles, from the mirror in use."""
    spec = loads(f"name: installed\nversion: 1.0.0\ndebian: trixie\nroles: {ROLES}\n")
    archives = mirrors.sources(spec).archives
    security = next(url for url, suite in archives if suite.endswith("-security"))
    return replace(spec, mirror=Mirror(archives[0][0], security), base=base)


def layer(folder: Path) -> dict[str, str]:
    """Facts about a bootstrapped disk."""
    bundle = write(render(spec_of(Base()), "qemu", "latest"), folder / "layer-bundle")
    command.run(["sh", bundle / "layer.sh", folder / "layer"], env={"TMPDIR": str(folder)})
    raw = folder / "layer.raw"
    disk.convert(folder / "layer" / "disk.qcow2", raw, "raw", source_format="qcow2")
    entries = [(entry.path, entry.mode, entry.uid, entry.gid) for entry in disk.root(raw).walk()]
    return facts_of({one.name: one.version for one in artifact.packages(raw)}, entries)


def installed(folder: Path) -> dict[str, str]:
    """Facts about a tree that the installer's scripts have finished."""
    base = Base("iso", url="/none.deb", checksum="sha256:" + "0" * 64)
    bundle = write(render(spec_of(base), "qemu", "latest"), folder / "installer-bundle")
    scripts, target, programs = bundle / "installer" / "initrd" / "skyvyos", folder / "target", folder / "bin"
    for path in scripts.glob("*.sh"):
        text = path.read_text().replace("/target", str(target)).replace("=/skyvyos", f"={scripts}")
        path.write_text(text.replace("/dev/console", str(folder / "console")))
    # There is no disk to boot from, and the firmware is this host's.
    (scripts / "bootloader.sh").write_text("#!/bin/sh\n")
    (scripts / "bootentry.py").write_text("")
    programs.mkdir()
    for name, text in {"in-target": IN_TARGET.format(target=target), "list-devices": "#!/bin/sh\n"}.items():
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    environment = os.environ | {
        "PATH": f"{programs}:/usr/local/sbin:/usr/sbin:/sbin:{os.environ['PATH']}",
        "TMPDIR": "/tmp",
        "SUITE": "trixie",
        "TARGET": str(target),
        "SOURCES": str(scripts / "apt.sources"),
        "LEFT": " ".join(LEFT),
        "HOME_OF_SCRIPTS": str(scripts),
    }
    argv = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-euc", SCRIPT]
    done = subprocess.run(argv, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:] + (folder / "console").read_text()
    query = ["dpkg-query", f"--root={target}", "-W", "-f", "${db:Status-Status} ${Package} ${Version}\n"]
    lines = command.run(query).stdout.splitlines()
    packages = {name: version for status, name, version in map(str.split, lines) if status == "installed"}
    found = sorted(target.rglob("*"))
    stats = [(f"/{path.relative_to(target)}", path.lstat()) for path in found]
    return facts_of(packages, [(path, one.st_mode, one.st_uid, one.st_gid) for path, one in stats])


@pytest.mark.load
def test_installed_tree_is_a_layers(tmp_path: Path) -> None:
    """Packages, units, and mode and owner of every file are those of a bootstrapped layer, but for what is allowed."""
    if os.geteuid():
        pytest.skip("the installer's scripts change into the system they make, which takes root")
    assert list(differences(installed(tmp_path), layer(tmp_path))) == []
