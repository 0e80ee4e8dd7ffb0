"""Lets others judge a finished template: ssh-audit, Lynis, systemd-analyze security and OpenSCAP, on a booted clone.

``nox -s judges``, or ``python judges/judge.py TEMPLATE --spec SPEC``. What they say is kept beside the template, in
``TEMPLATE.judges/``: `report.md` for people, and each judge's own output. Exits with 3 when a judge is not content.
Lynis alone needs over ten minutes without KVM.
"""

from __future__ import annotations

import argparse
import base64
import json
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import yaml

from skyvypack import command, seed
from skyvypack import spec as specs
from skyvypack.accelerator import choose
from skyvypack.cloudinit import first_boot_user_data
from skyvypack.errors import CommandFailed, SkyvypackError
from skyvypack.link import Access
from skyvypack.machine import Hardware, Machine, wait
from skyvypack.spec.model import Spec, User

LEAST_INDEX = 85
MOST_EXPOSURE = 2.0
USER = "skyvy-judge"
# Seconds, before they are scaled to the accelerator.
BOOT, LYNIS, REST = 60.0, 600.0, 60.0
REASONS = Path(__file__).parent / "lynis.yaml"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one judge said.

    Args:
        judge: its name.
        content: True or False; None when it could not judge.
        lines: what a reader should know, in Markdown.
    """

    judge: str
    content: bool | None
    lines: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Court:
    """A clone, and where the judges' outputs are kept."""

    machine: Machine
    folder: Path

    def keep(self, name: str, text: str) -> str:
        (self.folder / name).write_text(text)
        return text

    def run(self, script: str, seconds: float = REST) -> str:
        return self.machine.run(f"sudo sh -c {shlex.quote(script)}", timeout=seconds).stdout

    def send(self, file: Path, to: str) -> None:
        text = base64.b64encode(file.read_bytes()).decode()
        command.run([*self.machine.link.ssh(), "--", f"base64 -d >{to}"], cwd=self.machine.folder, text=text)


def ssh_audit(court: Court) -> Verdict:
    """No algorithm that is offered has a failure or a warning."""
    port = court.machine.monitor.forward(court.machine.access.port)
    argv = [sys.executable, "-m", "ssh_audit.ssh_audit", "--json", "--port", str(port), "127.0.0.1"]
    said = json.loads(court.keep("ssh-audit.json", command.run(argv, check=False, timeout=300).stdout))
    bad = [
        f"- {one['algorithm']}: {'; '.join(one['notes'].get('fail', []) + one['notes'].get('warn', []))}"
        for kind in ("kex", "key", "enc", "mac")
        for one in said[kind]
        if one["notes"].get("fail") or one["notes"].get("warn")
    ]
    return Verdict("ssh-audit", not bad, tuple(bad) or ("Neither a failure nor a warning for any algorithm.",))


def lynis(court: Court) -> Verdict:
    """The hardening index is high enough, and every suggestion that remains has a reason to stay."""
    with tempfile.TemporaryDirectory() as folder:
        command.run(["apt-get", "download", "lynis"], cwd=Path(folder), timeout=300)
        (deb,) = Path(folder).glob("*.deb")
        court.send(deb, "/tmp/lynis.deb")
    # Unpacked and not installed: what is judged stays as it is.
    court.run("mkdir -p /root/lynis/plugins; cd /root/lynis; dpkg-deb -x /tmp/lynis.deb .; rm /tmp/lynis.deb")
    court.run("cd /root/lynis; mv usr/share/lynis/* usr/sbin/lynis etc/lynis/default.prf .; chown -R root:root .")
    # It lists every package, for which an emulated machine needs half an hour, and judges nothing by it.
    court.run("echo skip-test=PKGS-7345 >/root/lynis/custom.prf")
    audit = "./lynis audit system --quick --no-colors --logfile /root/lynis/log --report-file /root/lynis/report"
    court.keep("lynis.log", court.run(f"cd /root/lynis; {audit}", LYNIS))
    court.keep("lynis-points.txt", court.run("grep -E 'Performing test ID|hardening points' /root/lynis/log || :"))
    report = court.keep("lynis-report.dat", court.run("cat /root/lynis/report"))
    court.run("rm -rf /root/lynis")
    return lynis_verdict(report, yaml.safe_load(REASONS.read_text()))


def lynis_verdict(report: str, reasons: dict[str, str]) -> Verdict:
    """The verdict of a Lynis report.

    Args:
        report: its text, lines of ``key=value``.
        reasons: why a suggestion stays, by the id of its test.
    """
    pairs = [line.split("=", 1) for line in report.splitlines() if "=" in line]
    index = next((int(value) for key, value in pairs if key == "hardening_index"), 0)
    said = [value.split("|") for key, value in pairs if key in ("suggestion[]", "warning[]")]
    unexplained = [one for one in said if one[0] not in reasons]
    lines = [f"Hardening index {index}, at least {LEAST_INDEX} is wanted.", "", "| test | it suggests | why it stays |"]
    lines += ["|---|---|---|", *(f"| {one[0]} | {one[1]} | {reasons.get(one[0], '**no reason**')} |" for one in said)]
    return Verdict("Lynis", index >= LEAST_INDEX and not unexplained, tuple(lines))


def systemd_security(court: Court) -> Verdict:
    """Our own units can do hardly more than they have to."""
    units = court.run("cd /etc/systemd/system; ls skyvyos-*.service").split()
    lines, content = ["| unit | exposure |", "|---|---|"], True
    for unit in units:
        said = court.run(f"systemd-analyze security --no-pager {unit}")
        court.keep(f"systemd-{unit}.txt", said)
        exposure = float(said.rpartition(f"{unit}: ")[2].split()[0])
        content &= exposure <= MOST_EXPOSURE
        lines.append(f"| {unit} | {exposure} (at most {MOST_EXPOSURE}) |")
    return Verdict("systemd-analyze security", content, tuple(lines))


def openscap(court: Court) -> Verdict:
    """What Debian's own SCAP content says, where it can be installed; a count, not a condition."""
    install = "apt-get -q update && DEBIAN_FRONTEND=noninteractive apt-get -q install -y --no-install-recommends"
    try:
        court.keep("openscap-install.log", court.run(f"{install} openscap-scanner ssg-debian", LYNIS / 2))
        content = court.run("ls /usr/share/xml/scap/ssg/content/ssg-debian*-ds.xml | tail -n 1").strip()
        profile = "xccdf_org.ssgproject.content_profile_standard"
        said = court.run(f"oscap xccdf eval --profile {profile} {content} || test $? = 2", LYNIS)
    except CommandFailed as error:
        return Verdict("OpenSCAP", None, (f"Could not judge: {error.message.splitlines()[-1]}",))
    court.keep("openscap.txt", said)
    results = [line.split()[-1] for line in said.splitlines() if line.startswith("Result")]
    counts = ", ".join(f"{results.count(kind)} {kind}" for kind in sorted(set(results)))
    return Verdict("OpenSCAP", None, (f"{content}: {counts}",))


JUDGES: tuple[Callable[[Court], Verdict], ...] = (ssh_audit, systemd_security, lynis, openscap)


def judge(spec: Spec, template: Path, folder: Path, judges: tuple[Callable[[Court], Verdict], ...]) -> list[Verdict]:
    """Boot a clone of a template and ask the judges, one after the other."""
    folder.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        machine = _machine(spec, template, Path(scratch))
        with machine:
            wait(machine.connecting(BOOT))
            wait(machine.settling(BOOT))
            verdicts = []
            for one in judges:
                print(f"asking {one.__name__}", flush=True)
                began = time.monotonic()
                verdicts.append(one(Court(machine, folder)))
                print(f"asking {one.__name__}: {time.monotonic() - began:.0f} s", flush=True)
    words = {True: "content", False: "NOT content", None: "no verdict"}
    text = [f"# What others say of {spec.name} {spec.version}"]
    for verdict in verdicts:
        text += ["", f"## {verdict.judge}: {words[verdict.content]}", "", *verdict.lines]
    (folder / "report.md").write_text("\n".join(text) + "\n")
    return verdicts


def _machine(spec: Spec, template: Path, scratch: Path) -> Machine:
    key, public = seed.keypair(scratch)
    user_data = first_boot_user_data(spec, hostname="judged", users=[User(USER, (public,), sudo=True)])
    port = next((int(role.settings["port"]) for role in spec.roles if role.name == "ssh"), 22)
    return Machine(
        "judged",
        template,
        scratch / "machine",
        accelerator=choose(None, cache=scratch),
        access=Access(USER, key, port),
        seed=seed.make(scratch, user_data, yaml.safe_dump({"instance-id": "judged"})),
        hardware=Hardware("bios", "virtio-blk", spec.machine.cpus, spec.machine.memory, room=2),
    )


def main() -> int:
    """Judge what the command line names."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("template", type=Path, help="the folder that `bake` made")
    parser.add_argument("--spec", type=Path, default=Path("examples/server-debian.yaml"))
    names = [one.__name__ for one in JUDGES]
    parser.add_argument("--only", choices=names, action="append", help="this judge; may be given several times")
    wishes = parser.parse_args()
    judges = tuple(one for one in JUDGES if not wishes.only or one.__name__ in wishes.only)
    try:
        (disk,) = wishes.template.glob("*.qcow2")
        folder = wishes.template.with_name(f"{wishes.template.name}.judges")
        verdicts = judge(specs.load(wishes.spec), disk, folder, judges)
    except (SkyvypackError, ValueError, subprocess.SubprocessError) as error:
        print(error, file=sys.stderr)
        return 1
    print((folder / "report.md").read_text())
    return 3 if any(verdict.content is False for verdict in verdicts) else 0


if __name__ == "__main__":
    sys.exit(main())
