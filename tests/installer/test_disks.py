"""`disks.sh`: which disk Debian's installer takes, with the installer's own programs replaced."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import pytest
from fixture_types import FakeTool

from skyvypack import assets, command

SCRIPT = assets.builders() / "shared" / "installer" / "initrd" / "skyvyos" / "disks.sh"
SETTINGS = {"DISKS": "", "COUNT": "1", "LEAST": "4096", "LAYOUT": "plain", "ATTENDED": "no"}
# The installer's windows: the file `choices` has one line for each time that a person is asked, `asked` what was shown.
CONFMODULE = """
db_subst() { echo "$1 $2: $3" >> "$here/asked"; }
db_fset() { :; }
db_input() { :; }
db_go() { :; }
db_get() { RET=$(head -n 1 "$here/choices"); sed -i 1d "$here/choices"; }
"""


class Outcome(NamedTuple):
    code: int
    answers: dict[str, str]
    said: str
    halted: bool


class Machine:
    """A machine with the given disks (MiB by name) whose installer runs from `medium`."""

    def __init__(self, folder: Path, fake_tool: FakeTool, disks: Mapping[str, int], medium: str = "") -> None:
        self.folder = folder
        for name, size in disks.items():
            path = folder / "sys" / "class" / "block" / name
            path.mkdir(parents=True)
            (path / "size").write_text(f"{size * 2048}\n")
        (folder / "modules" / "block").mkdir(parents=True)
        (folder / "modules" / "block" / "virtio_blk.ko.xz").touch()
        (folder / "root" / "bin").mkdir(parents=True)
        (folder / "root" / "var" / "lib" / "apt-install").mkdir(parents=True)
        (folder / "root" / "var" / "lib" / "apt-install" / "queue").write_text("usbutils\n")
        (folder / "mounts").write_text(f"/dev/{medium} /cdrom iso9660 ro 0 0\n" if medium else "")
        fake_tool("list-devices", "".join(f"echo /dev/{name}\n" for name in disks) or ":")
        fake_tool("debconf-set", f'printf "%s=%s\\n" "$1" "$2" >> {folder}/answers')
        fake_tool("debconf-loadtemplate", ":")
        (folder / "confmodule").write_text(CONFMODULE)
        fake_tool("poweroff", f"touch {folder}/halted")
        fake_tool("readlink", 'echo "$2"')
        for name in ("sleep", "sync"):
            fake_tool(name, ":")
        self._fake_tool, self._disks = fake_tool, disks

    def mark(self, partition: str, medium: str) -> None:
        """A disk has partitions, and one of them, the only FAT, holds what an installation leaves at its end."""
        (self.folder / "esp").mkdir()
        (self.folder / "esp" / "skyvyos-medium").write_text(medium)
        disks = "".join(f"echo /dev/{name}\n" for name in self._disks)
        parts = f"echo /dev/{partition}\necho /dev/sdz1\n"
        self._fake_tool("list-devices", f'case "$1" in\ndisk) {disks};;\npartition) {parts};;\nesac')
        self._fake_tool("modprobe", ":")
        # mount -t vfat -o ro PARTITION FOLDER
        mount = f'[ "$2 $4 $5" = "vfat ro /dev/{partition}" ] && cp {self.folder}/esp/* "$6"'
        self._fake_tool("mount", mount)
        self._fake_tool("umount", 'rm "$1"/*')

    def run(self, **settings: str) -> Outcome:
        (self.folder / "settings.env").write_text(
            "".join(f"{name}='{value}'\n" for name, value in (SETTINGS | settings).items())
        )
        (self.folder / "tidy.sh").write_text("#!/bin/sh\n")
        console = self.folder / "console"
        done = command.run(
            ["sh", SCRIPT],
            env={
                "SKYVYOS_FOLDER": str(self.folder),
                "SKYVYOS_ROOT": str(self.folder / "root"),
                "SKYVYOS_CONFMODULE": str(self.folder / "confmodule"),
                "SKYVYOS_CONSOLE": str(console),
                "SKYVYOS_MODULES": str(self.folder / "modules"),
                "SKYVYOS_MOUNTS": str(self.folder / "mounts"),
                "SKYVYOS_SYS": str(self.folder / "sys"),
            },
            check=False,
        )
        assert done.stderr == ""
        answers = self.folder / "answers"
        given = dict(line.split("=", 1) for line in answers.read_text().splitlines()) if answers.exists() else {}
        return Outcome(done.returncode, given, console.read_text(), (self.folder / "halted").exists())


def test_the_only_disk(tmp_path: Path, fake_tool: FakeTool) -> None:
    """One disk needs no choice; the stick that the installer runs from is none."""
    machine = Machine(tmp_path, fake_tool, {"vda": 8192, "sdb": 16384}, medium="sdb1")
    done = machine.run()
    assert done == (0, {"partman-auto/disk": "/dev/vda"}, "skyvypack: installing to /dev/vda\n", False)
    hook = tmp_path / "root" / "usr" / "lib" / "finish-install.d" / "93skyvyos"
    assert os.access(hook, os.X_OK), "tidying comes last, and is announced before"


def test_nothing_is_installed_but_what_the_spec_says(tmp_path: Path, fake_tool: FakeTool) -> None:
    """What the installer's parts want beside it is neither kept for later nor installed; no mirror is tried for it."""
    machine = Machine(tmp_path, fake_tool, {"vda": 8192})
    program = tmp_path / "root" / "bin" / "apt-install"
    program.write_text("#!/bin/sh\nexit 1\n")
    program.chmod(0o755)
    machine.run()
    command.run([program, "--with-recommends", "qemu-guest-agent"])
    assert not (tmp_path / "root" / "var" / "lib" / "apt-install" / "queue").exists()
    # What a generator exits with, and what it writes beside comments, is tried by the installer.
    command.run([tmp_path / "root" / "usr" / "lib" / "apt-setup" / "generators" / "50mirror", tmp_path / "lines"])
    assert (tmp_path / "lines").read_text().startswith("# ")


def test_file_systems_have_the_features_of_a_baked_one(tmp_path: Path, fake_tool: FakeTool) -> None:
    """Those that older boot loaders cannot read, or that need an orderly shutdown, are taken from the defaults."""
    machine = Machine(tmp_path, fake_tool, {"vda": 8192})
    defaults = tmp_path / "root" / "etc" / "mke2fs.conf"
    defaults.parent.mkdir()
    features = "has_journal,metadata_csum,metadata_csum_seed,64bit,orphan_file"
    defaults.write_text(f"[fs_types]\n\text4 = {{\n\t\tfeatures = {features}\n\t}}\n")
    machine.run()
    assert "features = has_journal,metadata_csum,64bit\n" in defaults.read_text()


def test_an_efi_system_partition_has_its_type_under_bios_too(tmp_path: Path, fake_tool: FakeTool) -> None:
    """The partitioner's hook that gives it the type no longer ends where the machine was booted by BIOS."""
    machine = Machine(tmp_path, fake_tool, {"vda": 8192})
    hook = tmp_path / "root" / "lib" / "partman" / "update.d" / "21efi_sync_flag"
    hook.parent.mkdir(parents=True)
    rest = 'set -e\n\nif [ "$fs" = free ]; then\n\texit 0\nfi\n'
    hook.write_text(f"#!/bin/sh\n{rest}if [ ! -d /sys/firmware/efi ]; then\n\texit 0\nfi\n{rest}")
    machine.run()
    assert hook.read_text() == f"#!/bin/sh\n{rest}{rest}"


def test_the_base_system_does_not_wait_for_the_disk(tmp_path: Path, fake_tool: FakeTool) -> None:
    """dpkg finds its setting on the new file system, where the installer removes it at its end."""
    Machine(tmp_path, fake_tool, {"vda": 8192}).run()
    command.run([tmp_path / "root" / "lib" / "partman" / "finish.d" / "60skyvyos"])
    setting = tmp_path / "root" / "target" / "etc" / "dpkg" / "dpkg.cfg.d" / "force-unsafe-io"
    assert setting.read_text() == "force-unsafe-io\n"


def test_the_disk_that_the_spec_names(tmp_path: Path, fake_tool: FakeTool) -> None:
    """Of several, the named one is taken."""
    done = Machine(tmp_path, fake_tool, {"sda": 8192, "sdb": 8192}).run(DISKS="/dev/sdb")
    assert done.answers == {"partman-auto/disk": "/dev/sdb"}


def test_a_mirror_of_two(tmp_path: Path, fake_tool: FakeTool) -> None:
    """RAID 1 names the third partition of both, as each kind of disk numbers them."""
    machine = Machine(tmp_path, fake_tool, {"sda": 8192, "nvme0n1": 8192})
    done = machine.run(DISKS="/dev/sda /dev/nvme0n1", COUNT="2", LAYOUT="raid1")
    assert done.answers["partman-auto-raid/recipe"] == "1 2 0 ext4 / /dev/sda3#/dev/nvme0n1p3 ."


@pytest.mark.parametrize(
    ("count", "given", "taken"),
    [
        ("1", "/dev/sdb 8192 MiB ACME Disk 9\n", "/dev/sdb"),
        ("2", "\n/dev/sda 8192 MiB\n/dev/sdb 8192 MiB ACME Disk 9, /dev/sdc 2048 MiB\n", "/dev/sdb /dev/sdc"),
    ],
    ids=["one", "a mirror"],
)
def test_a_person_chooses(tmp_path: Path, fake_tool: FakeTool, count: str, given: str, taken: str) -> None:
    """Of several disks, by size and model, and again until they are as many as the layout takes."""
    machine = Machine(tmp_path, fake_tool, {"sda": 8192, "sdb": 8192, "sdc": 2048})
    model = tmp_path / "sys" / "class" / "block" / "sdb" / "device" / "model"
    model.parent.mkdir()
    model.write_text("ACME, Disk 9   \n")
    (tmp_path / "choices").write_text(given)
    done = machine.run(ATTENDED="yes", COUNT=count, LEAST="1024")
    assert done.answers == {"partman-auto/disk": taken}
    (asked,) = (tmp_path / "asked").read_text().splitlines()
    question = "disk" if count == "1" else "disks"
    shown = "/dev/sda 8192 MiB, /dev/sdb 8192 MiB ACME Disk 9, /dev/sdc 2048 MiB"
    assert asked == f"skyvyos/{question} CHOICES: {shown}"


def test_a_person_is_told(tmp_path: Path, fake_tool: FakeTool) -> None:
    """A choice that cannot be is refused in a window, before the machine is switched off."""
    machine = Machine(tmp_path, fake_tool, {"sda": 8192, "sdb": 2048})
    (tmp_path / "choices").write_text("/dev/sdb 2048 MiB\n")
    done = machine.run(ATTENDED="yes")
    assert (done.code, done.answers, done.halted) == (1, {}, True)
    reason = "the disk /dev/sdb has 2048 MiB, and 4096 MiB are needed"
    assert (tmp_path / "asked").read_text().splitlines()[-1] == f"skyvyos/refused REASON: {reason}"


@pytest.mark.parametrize(
    ("disks", "settings", "reason"),
    [
        ({}, {}, "no disk was found"),
        ({"sda": 8192, "sdb": 8192}, {}, "there are 2 disks (/dev/sda /dev/sdb); name one in the spec"),
        ({"sda": 8192}, {"COUNT": "2"}, "2 disks are needed, and there is only /dev/sda"),
        ({"sda": 8192}, {"DISKS": "/dev/sdc"}, "there is no disk /dev/sdc; there is: /dev/sda"),
        ({"sda": 2048}, {}, "the disk /dev/sda has 2048 MiB, and 4096 MiB are needed"),
    ],
)
def test_refused(
    tmp_path: Path, fake_tool: FakeTool, disks: dict[str, int], settings: dict[str, str], reason: str
) -> None:
    """No answer is given, the console says why, and the machine is switched off: a build ends at once."""
    done = Machine(tmp_path, fake_tool, disks).run(**settings)
    assert (done.code, done.answers, done.halted) == (1, {}, True)
    assert done.said.startswith("skyvypack: error: ")
    assert reason in done.said
    assert "nothing was written to any disk" in done.said


@pytest.mark.parametrize(("disk", "partition"), [("sda", "sda2"), ("nvme0n1", "nvme0n1p2")])
def test_a_medium_does_not_install_twice(tmp_path: Path, fake_tool: FakeTool, disk: str, partition: str) -> None:
    """Firmware that prefers it starts it again: what the machine has become stays, and the console says the way out."""
    machine = Machine(tmp_path, fake_tool, {disk: 8192})
    machine.mark(partition, "one\n")
    (tmp_path / "medium").write_text("one\n")
    done = machine.run(DISKS=f"/dev/{disk}")
    assert (done.code, done.answers, done.halted) == (1, {}, True)
    assert f"/dev/{disk} was installed by this medium already: take it out" in done.said
    assert "make another with installer: {reinstall: true}" in done.said


@pytest.mark.parametrize(
    ("partition", "left", "medium"),
    [("sda2", "another\n", "one\n"), ("sdb2", "one\n", "one\n"), ("sda2", "one\n", "")],
    ids=["by another medium", "to another disk", "reinstall"],
)
def test_installed_by_another(tmp_path: Path, fake_tool: FakeTool, partition: str, left: str, medium: str) -> None:
    """The spec names the disk: a new medium takes it, whatever is on it, as does one that may install again."""
    machine = Machine(tmp_path, fake_tool, {"sda": 8192, "sdb": 8192})
    machine.mark(partition, left)
    if medium:
        (tmp_path / "medium").write_text(medium)
    done = machine.run(DISKS="/dev/sda")
    assert (done.code, done.answers, done.halted) == (0, {"partman-auto/disk": "/dev/sda"}, False)


def test_no_drivers(tmp_path: Path, fake_tool: FakeTool) -> None:
    """Where the mirror had none for the installer's kernel, that is the reason told, with the way out."""
    machine = Machine(tmp_path, fake_tool, {})
    (tmp_path / "modules" / "block" / "virtio_blk.ko.xz").unlink()
    fake_tool("uname", "echo 6.12.117-amd64")
    done = machine.run()
    assert done.halted
    assert "the mirror has no drivers for this installer's kernel 6.12.117-amd64: take an installer of" in done.said
