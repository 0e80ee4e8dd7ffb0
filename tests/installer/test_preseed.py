"""The answers to Debian's installer, held against the questions that its own components declare."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from skyvypack import command, installer
from skyvypack.errors import InputError
from skyvypack.spec import Installer, Mirror, Network, Spec, User, load
from skyvypack.spec.model import Base

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ0qG0eVvF8oJtT5qYq0pP3mX3kM0y2r9Xv5k3d2b1aZ someone@example.org"
SPEC = Spec("web", "1.0.0", "trixie", (), users=(User("admin", (KEY,), sudo=True),))
STATIC = Network("eno1", "192.0.2.10/24", "192.0.2.1", ("192.0.2.53",))
WISHES = {
    "plain": Installer(),
    "swap": Installer(swap=512, disks=("/dev/sda",)),
    "lvm": Installer(layout="lvm", hostname="web1.example.org"),
    "raid1": Installer(layout="raid1", disks=("/dev/sda", "/dev/sdb")),
    "encrypted": Installer(encrypt=True, network=STATIC, finish="poweroff"),
}
# Read by bootstrap-base, by partman-base's commit.sh and for a mirror with https, yet declared by no component: an
# answer makes them exist.
UNDECLARED = (
    {"base-installer/debootstrap_variant"}
    | {f"partman-{kind}/confirm_nooverwrite" for kind in ("lvm", "md", "crypto")}
    | {f"mirror/https/{part}" for part in ("hostname", "directory", "proxy")}
)
# Asked at any priority, but not on the way to a plain system: menus for a person, and what follows an error.
NOT_ON_THE_WAY = (
    *("mdcfg/", "partman-iscsi/", "rescue/", "save-logs/", "cdrom-detect/", "shared/enter_device"),
    *("debconf/priority", "debian-installer/shell-plugin", "di-utils-reboot/really_reboot"),
    *("partman-lvm/lv", "partman-lvm/vg", "partman-lvm/mainmenu"),
    *("partman-md/createmain", "partman-md/delete", "partman-md/mainmenu", "partman-md/raid"),
    *("partman-crypto/create/partitions", "partman-crypto/mainmenu", "partman-crypto/install_udebs_low_mem"),
    *("partman-basicfilesystems/choose_label", "partman-basicfilesystems/mountpoint"),
    *("partman-basicfilesystems/specify_", "partman-partitioning/new_", "partman-partitioning/set_"),
    *("partman-partitioning/confirm_new_label", "partman-partitioning/confirm_resize"),
    # Of a partition that the recipe does not make, or a disk whose table cannot be read and is replaced anyway.
    *("partman-basicfilesystems/boot_not_ext2", "partman-basicfilesystems/no_mount_point", "partman-ext3/"),
    *("partman-basicfilesystems/boot_not_first_partition", "partman/boot_not_first_partition"),
    *("partman-basicfilesystems/check_failed", "partman-basicmethods/method_only", "partman-target/mount_failed"),
    *("partman-auto-lvm/no_boot", "partman-efi/no_efi"),
    *("partman-partitioning/unknown_label", "partman-partitioning/unsupported_label"),
    # Replaced: the boot loader is not the installer's, no account is made, no package is fetched by it.
    *("grub-installer/", "apt-setup/local/key-error", "apt-setup/mirror/error", "clock-setup/hwclock-wait"),
    *("preseed/url", "passwd/user", "passwd/root-password"),
)


def known(release: int) -> dict[str, Any]:
    path = Path(__file__).parent / f"questions-{release}.json"
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def answers(text: str) -> dict[str, tuple[str, str]]:
    """Type and value by question."""
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    split = [re.fullmatch(r"d-i (\S+) (\S+) ?(.*)", line) for line in lines]
    assert all(split), lines
    return {one[1]: (one[2], one[3]) for one in split if one}


def every_preseed() -> dict[str, str]:
    """One for each layout and way of delivery."""
    texts = {
        f"{name}-{'wipes' if wipes else 'asks'}-{'offline' if offline else 'mirror'}": installer.preseed(
            replace(SPEC, installer=wish), wipes=wipes, offline=offline
        )
        for name, wish in WISHES.items()
        for wipes in (True, False)
        for offline in (True, False)
    }
    mirror = replace(SPEC, mirror=Mirror("https://mirror.example/debian", "https://mirror.example/security"))
    return texts | {"https": installer.preseed(mirror, wipes=True)}


PRESEEDS = every_preseed()


@pytest.mark.parametrize("name", PRESEEDS)
def test_every_answer_is_to_a_question_of_its_type(name: str) -> None:
    """An answer to a question that trixie's installer does not know, or of another type, would be ignored by it."""
    questions = known(13)["questions"]
    for question, (kind, _) in answers(PRESEEDS[name]).items():
        if question not in UNDECLARED:
            assert (question, kind) == (question, questions.get(question))


@pytest.mark.parametrize("name", PRESEEDS)
def test_bookworm_has_the_same_questions(name: str) -> None:
    """No answer contradicts what those components of bookworm's installer declare that could be read."""
    questions = known(12)["questions"]
    for question, (kind, _) in answers(PRESEEDS[name]).items():
        assert questions.get(question, kind) == kind


@pytest.mark.parametrize("name", PRESEEDS)
def test_what_is_asked_at_any_priority_is_answered(name: str) -> None:
    """Each question that the components ask even of an expert's silence has an answer, or a reason to have none."""
    given = answers(PRESEEDS[name])
    asked = [one for one in known(13)["asked_at_critical"] if not one.startswith(NOT_ON_THE_WAY)]
    assert len(asked) > 5
    confirmations = ("confirm_write_new_label", "device_remove_lvm", "device_remove_md")
    left_to_a_person = confirmations if "-asks-" in name else ()
    online = () if "offline" in name else ("apt-setup/no_mirror",)
    for question in asked:
        assert question in given or question in online or question.endswith(left_to_a_person), question


def test_a_disk_is_not_wiped_without_a_question() -> None:
    """Unless the spec names the disk, no confirmation is answered."""
    asks = answers(installer.preseed(SPEC, wipes=False))
    assert not [question for question in asks if "confirm" in question or "device_remove" in question]
    wipes = answers(installer.preseed(SPEC, wipes=True))
    assert wipes["partman/confirm"] == wipes["partman/confirm_nooverwrite"] == ("boolean", "true")


@pytest.mark.tool
@pytest.mark.parametrize("name", PRESEEDS)
def test_debconf_accepts_it(name: str, tmp_path: Path) -> None:
    """debconf-set-selections finds nothing wrong."""
    file = tmp_path / "preseed.cfg"
    file.write_text(PRESEEDS[name])
    done = command.run(["debconf-set-selections", "-c", file])
    assert done.stdout + done.stderr == ""


def test_network_and_mirror() -> None:
    """A static address, a name with its domain, and the parts of a mirror's URL are said as the questions want."""
    wish = Installer(network=STATIC, hostname="web1.example.org")
    mirror = Mirror("http://mirror.example:8080/debian/{snapshot}/", snapshot="20260101T000000Z")
    given = {
        key: value
        for key, (_, value) in answers(
            installer.preseed(replace(SPEC, installer=wish, mirror=mirror), wipes=True)
        ).items()
    }
    assert (given["netcfg/get_ipaddress"], given["netcfg/get_netmask"]) == ("192.0.2.10", "255.255.255.0")
    assert (given["netcfg/get_hostname"], given["netcfg/get_domain"]) == ("web1", "example.org")
    assert given["mirror/http/hostname"] == "mirror.example:8080"
    assert given["mirror/http/directory"] == "/debian/20260101T000000Z/"


def test_a_mirror_the_installer_cannot_read() -> None:
    """A mirror on this host's disk is refused, with the field to change."""
    with pytest.raises(InputError, match="cannot read the mirror file:/srv/debian"):
        installer.preseed(replace(SPEC, mirror=Mirror("file:/srv/debian")), wipes=True)


class TestRecipe:
    @pytest.mark.parametrize("name", WISHES)
    def test_boots_under_bios_and_uefi(self, name: str) -> None:
        """Each layout has a partition for GRUB and one for EFI; sizes are in order, and brackets are closed."""
        text = installer.machine_files(replace(SPEC, installer=WISHES[name]))["installer/initrd/skyvyos/recipe"]
        parts = text.split(":", 1)[1].split(" .\n")[:-1]
        assert "method{ biosgrub }" in parts[0]
        assert "method{ efi } format{ }" in parts[1]
        for part in parts:
            least, wished, most, _ = part.split()[:4]
            assert int(least) <= int(wished) <= (int(most) if most != "-1" else int(wished))
            assert part.count("{") == part.count("}")

    def test_root(self) -> None:
        """The root filesystem is ext4 with noatime, and takes what is left of the disk."""
        text = installer.machine_files(SPEC)["installer/initrd/skyvyos/recipe"]
        root = next(line for line in text.splitlines() if "mountpoint{ / }" in line)
        assert root.split()[2:4] == ["-1", "ext4"]
        assert "options/noatime{ noatime }" in root

    def test_encrypted_volume_is_made_by_the_partitioner(self) -> None:
        """A volume group that a recipe names on an encrypted volume the partitioner does not find: it has no recipe."""
        text = installer.machine_files(replace(SPEC, installer=Installer(encrypt=True)))[
            "installer/initrd/skyvyos/recipe"
        ]
        assert "crypto" not in text
        assert "vg" not in text.split(":", 1)[1]
        assert "$lvmok{ } lv_name{ root }" in text


class TestMachine:
    def test_first_boot_configures_and_lets_the_user_in(self) -> None:
        """The seed holds the whole configuration, the host's name, and the spec's user; then the machine restarts."""
        wish = Installer(hostname="web1.example.org", network=STATIC)
        files = installer.machine_files(replace(SPEC, installer=wish))
        seed = "installer/initrd/skyvyos/seed"
        config = yaml.safe_load(files[f"{seed}/user-data"])
        assert config["fqdn"] == "web1.example.org"
        assert [user["name"] for user in config["users"]] == ["admin"]
        assert config["users"][0]["ssh_authorized_keys"] == [KEY]
        assert config["power_state"]["mode"] == "reboot"
        assert "packages" not in config
        network = yaml.safe_load(files[f"{seed}/network-config"])
        assert network["ethernets"]["first"]["addresses"] == ["192.0.2.10/24"]

    def test_a_medium_knows_its_own_work(self) -> None:
        """Only one that wipes unasked has a mark, the same for the same spec, another for another one."""

        def mark(wish: Installer, version: str = "1.0.0") -> str | None:
            files = installer.machine_files(replace(SPEC, version=version, installer=wish))
            return files.get("installer/initrd/skyvyos/medium")

        named = Installer(disks=("/dev/sda",))
        assert mark(named)
        assert mark(named) == mark(named)
        assert mark(named) != mark(named, "1.0.1")
        assert mark(Installer()) is None
        assert mark(replace(named, reinstall=True)) is None

    def test_example(self) -> None:
        """examples/machine.yaml asks before it wipes, mirrors the network in the seed, and has swap on LVM."""
        files = installer.machine_files(load(Path(__file__).parents[2] / "examples" / "machine.yaml"))
        assert "ATTENDED=yes\n" in files["installer/initrd/skyvyos/settings.env"]
        assert "lv_name{ swap }" in files["installer/initrd/skyvyos/recipe"]
        assert "192.0.2.10/24" in files["installer/initrd/skyvyos/seed/network-config"]

    def test_nobody_could_log_in(self) -> None:
        """A machine without a user who has a key is refused before anything is made."""
        with pytest.raises(InputError, match="nobody could log in"):
            installer.machine_files(replace(SPEC, users=()))

    def test_kernel_and_tools_of_real_hardware(self) -> None:
        """Not the kernel for clouds; somebody can type at it; what the layout needs comes with it."""
        assert {"linux-image-amd64", "console-setup"} <= {*installer.machine_packages(SPEC)}
        assert not {"linux-image-cloud-amd64", "lvm2", "mdadm"} & {*installer.machine_packages(SPEC)}
        assert {"mdadm"} <= {*installer.machine_packages(replace(SPEC, installer=WISHES["raid1"]))}
        encrypted = installer.machine_packages(replace(SPEC, installer=WISHES["encrypted"]))
        assert {"cryptsetup-initramfs", "lvm2"} <= {*encrypted}

    @pytest.mark.parametrize(
        ("wish", "attended"),
        [
            (Installer(), "yes"),
            (Installer(disks=("/dev/sda",)), "no"),
            (Installer(disks=("/dev/sda",), encrypt=True), "yes"),
        ],
    )
    def test_somebody_is_asked_only_when_there_is_a_choice(self, wish: Installer, attended: str) -> None:
        """Who names the disk is asked nothing; who encrypts types the passphrase."""
        files = installer.machine_files(replace(SPEC, installer=wish))
        assert f"ATTENDED={attended}\n" in files["installer/initrd/skyvyos/settings.env"]
        last = "console=tty0" if attended == "yes" else "console=ttyS0,115200"
        assert f"{last}'" in files["installer/source.env"]
        # At each start somebody types the passphrase, at whichever console there is.
        assert ("installer/initrd/skyvyos/consoles.sh" in files) == wish.encrypt


def test_bundle_holds_no_access() -> None:
    """A bundle's installer has no user, no key and no data for cloud-init: prepare.sh adds the build account."""
    files = installer.bundle_files(replace(SPEC, base=Base("iso", url="d.iso", checksum="sha256:" + "0" * 64)))
    assert not [path for path in files if "/seed/" in path]
    assert not [path for path, text in files.items() if "AAAA" in text or "admin" in text]
    assert "ATTENDED=no\n" in files["installer/initrd/skyvyos/settings.env"]
