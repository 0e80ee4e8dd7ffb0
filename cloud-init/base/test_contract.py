"""The contract of role base."""

import re

import pytest

# What listens besides the ports of the roles: resolved's stub, and DHCP clients. The kernel cuts names at 15 letters.
SYSTEM_PROCESSES = {"systemd-resolve", "systemd-network"}


@pytest.fixture(scope="module")
def os_release(host):
    lines = host.check_output("cat /etc/os-release").splitlines()
    return {key: value.strip('"') for key, _, value in (line.partition("=") for line in lines)}


@pytest.mark.requirement("BAS-1")
def test_debian_of_the_chosen_release_on_amd64(host, spec, os_release):
    """Debian's release is the one of the spec, 64 bit, with /usr merged and the web folders there."""
    assert os_release["VERSION_CODENAME"] == spec.debian
    assert host.check_output("dpkg --print-architecture") == "amd64"
    links = host.check_output("readlink /bin /sbin /lib").split()
    assert links == ["usr/bin", "usr/sbin", "usr/lib"]
    assert host.run("test -d /srv/www -a -d /var/www").rc == 0


@pytest.mark.once
@pytest.mark.requirement("BAS-2")
def test_nothing_graphical_and_no_recommends(host):
    """No X server, desktop or sound package; apt installs no recommends."""
    installed = host.check_output("dpkg-query -W -f '${db:Status-Abbrev} ${Package}\n'")
    names = {line.split()[1] for line in installed.splitlines() if line.startswith("ii")}
    pattern = r"xserver-.*|x11-(common|utils|xserver-utils)|xorg.*|gnome-.*|kde-.*|pulseaudio.*|pipewire.*|alsa-utils"
    assert not {name for name in names if re.fullmatch(pattern, name)}
    assert 'APT::Install-Recommends "false";' in host.check_output("apt-config dump APT::Install-Recommends")


def names_of(relations):
    """Each alternative of a field such as Depends: a list of lists of names."""
    groups = [group.split("|") for group in relations.split(",") if group.strip()]
    return [[re.split(r"[\s:(]", one.strip())[0] for one in group] for group in groups]


@pytest.mark.once
@pytest.mark.requirement("BAS-2")
def test_every_package_was_asked_for_or_is_needed(host, spec):
    """No package is there that neither a role, nor the spec, nor Debian's core, nor a dependency of these explains."""
    if spec.base != "bootstrap":
        pytest.skip("a base that was not made of the roles' packages has more")
    fields = "${db:Status-Abbrev}\t${Package}\t${Essential}\t${Priority}\t${Depends},${Pre-Depends}\t${Provides}\n"
    rows = [row.split("\t") for row in host.check_output(f"dpkg-query -W -f '{fields}'").splitlines()]
    rows = [row[1:] for row in rows if row[0][1] not in "nc"]  # what is only unpacked, or on hold, is there too
    needs = {name: names_of(depends) for name, _, _, depends, _ in rows}
    providers = {name: {name} for name in needs}
    for name, *_, provides in rows:
        for (provided,) in names_of(provides):
            providers.setdefault(provided, set()).add(name)
    open_ = {name for name, essential, priority, *_ in rows if essential == "yes" or priority == "required"}
    open_ |= {"apt", *spec.requested} & set(needs)
    explained = set()
    while open_:
        name = open_.pop()
        explained.add(name)
        for alternatives in needs[name]:
            open_ |= {found for one in alternatives for found in providers.get(one, ())} - explained
    unexplained = sorted(set(needs) - explained)
    assert unexplained == [], f"nobody asked for {', '.join(unexplained)}"


@pytest.mark.requirement("BAS-3")
def test_the_system_says_what_it_is(host, spec, settings, os_release):
    """os-release, login banner and motd name the template; the system stays a Debian for programs."""
    wanted = {"ID": "debian", "PRETTY_NAME": spec.title, "VARIANT_ID": "skyvyos-server"}
    wanted |= {"IMAGE_ID": spec.name, "IMAGE_VERSION": spec.version}
    assert {key: os_release.get(key) for key in wanted} == wanted
    for path in ("/etc/issue", "/etc/issue.net", "/etc/motd"):
        assert spec.title in host.file(path).content_string
    assert settings["login_warning"] in host.file("/etc/issue").content_string
    diverted = host.check_output("dpkg-divert --truename /etc/os-release")
    assert diverted != "/etc/os-release", "an update of base-files would overwrite it"


@pytest.mark.each_boot
@pytest.mark.requirement("BAS-4")
def test_root_is_ext4_with_a_journal_without_atime_and_fills_the_disk(host):
    """The root filesystem is ext4 with a journal, mounted noatime, and its partition reaches the end of the disk."""
    kind, options, device = host.check_output("findmnt -no FSTYPE,OPTIONS,SOURCE /").split()
    assert kind == "ext4"
    assert "noatime" in options.split(",")
    assert "has_journal" in host.check_output(f"dumpe2fs -h {device} 2>/dev/null | grep 'features:'")
    parent = host.check_output(f"lsblk -ndo PKNAME {device}")
    disk = int(host.check_output(f"blockdev --getsize64 /dev/{parent}"))
    partition = int(host.check_output(f"blockdev --getsize64 {device}"))
    blocks = host.check_output("stat -fc '%b %S' /").split()
    assert disk - partition < 256 * 1024**2, "the root partition does not reach the end of the disk"
    assert partition - int(blocks[0]) * int(blocks[1]) < 0.1 * partition, "the filesystem does not fill its partition"


@pytest.mark.each_boot
@pytest.mark.requirement("BAS-5")
def test_tmp_is_cleared_on_boot(host):
    """Nothing in /tmp is older than this boot; a file is left there for the boot after this one to clear."""
    boot = host.check_output("cat /proc/sys/kernel/random/boot_id")
    left = host.check_output("find /tmp -maxdepth 1 -name 'skyvyos-contract-*' -printf '%f\n'").splitlines()
    assert [name for name in left if not name.endswith(boot)] == []
    host.check_output(f"touch -d 2001-01-01 /tmp/skyvyos-contract-{boot}")
    assert host.check_output("stat -c '%a %U:%G' /tmp") == "1777 root:root"


@pytest.mark.once
@pytest.mark.requirement("BAS-6")
def test_kernel_has_the_drivers_of_every_target(host):
    """Disks and network cards of every hypervisor are in the kernel or its initramfs, and both consoles are used."""
    disks = {"virtio_blk", "virtio_scsi", "vmw_pvscsi", "hv_storvsc", "nvme", "ahci", "ata_piix", "sd_mod"}
    cards = {"virtio_net", "vmxnet3", "hv_netvsc", "ena"}
    script = """
        release=$(uname -r)
        cat /lib/modules/$release/modules.builtin
        lsinitramfs /boot/initrd.img-$release
    """
    found = re.findall(r"/([^/\s]+)\.ko", host.check_output(script))
    assert (disks | cards) - {name.replace("-", "_") for name in found} == set()
    consoles = host.check_output("cat /proc/consoles")
    assert "ttyS0" in consoles
    assert "tty0" in consoles


@pytest.mark.each_boot
@pytest.mark.requirement("BAS-7")
def test_the_clone_has_an_identity_and_nothing_of_the_build(host):
    """A machine-id of its own, and no account, key, sudoers entry or history of the build."""
    assert re.fullmatch("[0-9a-f]{32}", host.check_output("cat /etc/machine-id"))
    assert host.run("getent passwd packer").rc != 0
    assert host.run("grep -rqw packer /etc/sudoers /etc/sudoers.d").rc != 0
    assert host.run("test -e /root/.bash_history -o -e /root/.ssh/id_rsa -o -e /home/packer").rc != 0


@pytest.mark.requirement("SVC-1")
def test_nothing_listens_but_the_ports_of_the_roles(host, ports):
    """Every socket open to other machines is a role's port."""
    wanted = {(port.protocol, port.port) for port in ports}
    unasked = []
    for line in host.check_output("ss -Hltunp").splitlines():
        protocol, _, _, _, local = line.split()[:5]
        address, _, port = local.rpartition(":")
        process = re.search(r'\(\("([^"]+)"', line)
        inside = address.startswith(("127.", "[::1]")) or (process and process[1] in SYSTEM_PROCESSES)
        if (protocol, int(port)) not in wanted and not inside:
            unasked.append(line)
    assert unasked == []
    assert host.run("ss -Hltun sport = :5355 | grep .").rc != 0, "LLMNR listens"


@pytest.mark.requirement("SVC-2")
def test_every_enabled_unit_has_a_reason(host, spec, services):
    """What runs at boot is a role's, with its reason, or of a package that the spec names; what is disabled is so."""
    listing = host.check_output("systemctl list-unit-files --state=enabled --no-legend --no-pager")
    enabled = {line.split()[0] for line in listing.splitlines()}
    explained = set(services.enable)
    if spec.packages:
        owned = host.run(f"dpkg -L {' '.join(spec.packages)}").stdout.splitlines()
        folders = ("/usr/lib/systemd/system", "/lib/systemd/system")
        explained |= {path.rpartition("/")[2] for path in owned if path.rpartition("/")[0] in folders}
    assert enabled - explained == set()
    assert enabled & (set(services.disable) | set(services.mask)) == set()


@pytest.mark.each_boot
@pytest.mark.requirement("SRV-1")
def test_the_system_runs_and_nothing_failed(host, services):
    """Boot is finished, no unit failed, and every service a role enables to stay up is up."""
    state = host.run("systemctl is-system-running --wait").stdout.strip()
    assert host.check_output("systemctl --failed --no-legend --no-pager") == ""
    assert state == "running"
    units = " ".join(unit for unit in services.enable if "@." not in unit)
    shown = host.check_output(f"systemctl show -p Id,Type,ConditionResult,ActiveState,UnitFileState {units}")
    dead = []
    for block in shown.split("\n\n"):
        facts = dict(line.split("=", 1) for line in block.splitlines())
        # cloud-init's is gone once its stages are through; whether they went well is in `systemctl --failed`.
        stays = facts.get("Type") not in {"oneshot", None} and not facts["Id"].startswith("cloud-")
        if stays and facts["ConditionResult"] == "yes" and facts["ActiveState"] != "active":
            dead.append(facts["Id"])
    assert dead == []


@pytest.mark.each_boot
@pytest.mark.requirement("SRV-1")
def test_the_boot_is_over_and_timed(host):
    """systemd-analyze tells how long kernel and services took."""
    assert re.search(r"Startup finished in .*\(userspace\) = ", host.check_output("systemd-analyze time"))


def test_clock_zone_and_locale_are_those_of_the_spec(host, settings):
    """Time zone, locale and time servers follow the settings."""
    assert host.check_output("readlink -f /etc/localtime").endswith(f"/{settings['timezone']}")
    assert f"LANG={settings['locale']}" in host.check_output("cat /etc/default/locale")
    assert settings["locale"].lower().replace("-", "") in host.check_output("locale -a").lower().replace("-", "")
    servers = host.check_output("systemd-analyze cat-config systemd/timesyncd.conf | grep ^NTP= || :")
    assert servers == (f"NTP={' '.join(settings['ntp_servers'])}" if settings["ntp_servers"] else "")


def test_files_and_packages_of_the_spec_are_there(host, spec):
    """What the spec adds by itself: each file with its text, mode and owner, each package."""
    for file in spec.files:
        there = host.file(file["path"])
        assert there.content_string == file["text"], file["path"]
        assert f"{there.mode:04o}" == file["mode"].rjust(4, "0")
        assert f"{there.user}:{there.group}" == file["owner"]
    if spec.packages:
        assert host.run(f"dpkg -s {' '.join(spec.packages)}").rc == 0


def test_swap_and_proxy_are_those_of_the_settings(host, settings):
    """The swap file has its size and is used; the proxy reaches apt, logins and services."""
    script = """
        swapon --show=NAME,SIZE --bytes --noheadings --raw
        echo =; sh -lc 'echo $http_proxy'
        echo =; systemd-run --quiet --pipe --wait sh -c 'echo $http_proxy'
        echo =; apt-config dump Acquire::http::Proxy
    """
    shown = re.split(r"^=$", host.run(script).stdout, flags=re.M)
    swap, login, services, apt = (part.strip() for part in shown)
    assert bool(swap) == (settings["swap"] > 0)
    assert not swap or abs(int(swap.split()[1]) // 1024**2 - settings["swap"]) <= 1
    assert login == settings["proxy"]
    assert services == settings["proxy"]
    assert apt == (f'Acquire::http::Proxy "{settings["proxy"]}";' if settings["proxy"] else "")
