#!/bin/sh
# Turn the build guest into a template: no identity, no access, no trace of the build; then power off.
# Run as root, as Packer's shutdown command. The SSH session may die at any time; what it says goes to the console.
#
# Order: nothing may write after it was cleaned. So services are stopped first, and the machine is switched off without
# an orderly shutdown, whose units would log, save a random seed and write wtmp. Nothing is lost by that: the file
# systems are made read-only, which writes them out and closes their journals, before the power goes.
set -eu

# Out of /tmp, which is emptied, onto a tmpfs; detached from the SSH session.
case "$0" in
/run/skyvypack/*) ;;
*)
    mkdir -p -m 0700 /run/skyvypack
    cp "$0" /run/skyvypack/seal.sh
    exec setsid sh /run/skyvypack/seal.sh < /dev/null > /dev/console 2>&1
    ;;
esac

trap '' HUP PIPE
step=begin
say() { echo "skyvypack: $*"; }
begin() {
    step=$1
    say "sealing: $step"
}
# Packer waits for the power to go off; who watches the console stops it at this line.
trap '[ $? -eq 0 ] || say "error: sealing failed at: $step"' EXIT
cd /

# Every file and folder in the given folders; the folders stay, with owner and mode.
empty() {
    for folder in "$@"; do
        [ -d "$folder" ] || continue
        # Again, if something came or went meanwhile.
        find "$folder" -xdev -mindepth 1 -delete 2> /dev/null || find "$folder" -xdev -mindepth 1 -delete
    done
}

begin "stopping what writes"
# Timers, sockets and paths first: they would start services again. systemd's own, the bus, logins and sshd stay.
units=$(systemctl list-units --plain --no-legend --state=active,activating,reloading \
    --type=timer,socket,path,service | awk '{ print $1 }' |
    grep -Ev '^(systemd-|dbus|user@|user-runtime-dir@|ssh|getty@|serial-getty@|polkit|cloud-)' || true)
[ -z "$units" ] || systemctl stop $units || say "sealing: a unit did not stop"
systemctl stop systemd-timesyncd.service systemd-networkd-persistent-storage.service 2> /dev/null || true
# From here the journal lives in /run.
journalctl --relinquish-var || true

begin "build account"
rm -f /etc/sudoers.d/90-cloud-init-users /etc/sudoers.d/*packer* /etc/doas.d/*packer*
if getent passwd packer > /dev/null; then
    # -f: although it is logged in, by the session that started us.
    userdel -f -r packer 2> /dev/null || ! getent passwd packer > /dev/null
fi
! getent group packer > /dev/null || groupdel packer
for file in /etc/subuid /etc/subgid; do
    [ ! -f "$file" ] || sed -i '/^packer:/d' "$file"
done
rm -rf /home/packer /var/mail/packer /var/spool/mail/packer /var/lib/systemd/linger/packer
# Who logged in, and who was told how to use sudo.
empty /var/lib/sudo/lectured /var/lib/wtmpdb /var/lib/lastlog

begin "identity"
# Not --machine-id, which writes "uninitialized": systemd would take a clone's first boot for a first boot of the
# system, apply unit presets to all units, those that roles disabled too, and ask questions on the console.
# An empty file gets a new id, and nothing else happens.
# Roles add what is theirs as /etc/cloud/clean.d/<role>, which this runs.
cloud-init clean --logs --seed
empty /var/lib/cloud
rm -f /etc/cloud/cloud.cfg.d/99-skyvypack-bake.cfg
: > /etc/machine-id
[ -L /var/lib/dbus/machine-id ] || rm -f /var/lib/dbus/machine-id
rm -f /etc/ssh/ssh_host_*_key /etc/ssh/ssh_host_*_key.pub /etc/ssh/ssh_host_*-cert.pub
rm -f /etc/ssh/sshd_config.d/50-cloud-init.conf
rm -f /var/lib/systemd/random-seed /var/lib/systemd/credential.secret /boot/efi/loader/random-seed
# "localhost" counts as no name: DHCP's or cloud-init's takes its place.
echo localhost > /etc/hostname
sed -i '/^127\.0\.1\.1[[:space:]]/d' /etc/hosts
rm -f /etc/netplan/50-cloud-init.yaml /etc/systemd/network/*-cloud-init-*.network \
    /etc/systemd/network/*-cloud-init-*.link /etc/network/interfaces.d/50-cloud-init \
    /etc/udev/rules.d/70-persistent-net.rules
empty /var/lib/dhcp /var/lib/dhcpcd /var/lib/dhclient /var/lib/NetworkManager /var/lib/systemd/network \
    /var/lib/systemd/timesync /var/lib/systemd/timers /var/lib/systemd/rfkill /var/lib/systemd/coredump

begin "traces"
# Log files stay, empty: their owners and modes are what the daemons expect. Rotated ones and journals go.
rm -rf /var/log/journal/* /var/log/*.gz /var/log/*.[0-9] /var/log/*/*.gz /var/log/*/*.[0-9] \
    /var/log/installer /var/log/cloud-init*.log /var/lib/logrotate/status
find /var/log -xdev -type f -exec truncate -s 0 {} +
empty /var/lib/apt/lists /var/cache/apt/archives /tmp /var/tmp /var/crash
mkdir -p /var/lib/apt/lists/partial /var/cache/apt/archives/partial
chown _apt:root /var/lib/apt/lists/partial /var/cache/apt/archives/partial
chmod 0700 /var/lib/apt/lists/partial /var/cache/apt/archives/partial
rm -f /var/cache/apt/*.bin /var/cache/debconf/*-old /var/lib/dpkg/*-old /var/backups/* \
    /etc/passwd- /etc/shadow- /etc/group- /etc/gshadow- /etc/subuid- /etc/subgid- /etc/.pwd.lock \
    /etc/.resolv.conf.systemd-resolved.bak
rm -rf /root/.ssh /root/.cache /root/.config /root/.local /root/.gnupg /root/.wget-hsts /root/.lesshst
find /root /home -xdev -maxdepth 2 -name '.*_history' -delete

begin "writing out"
sync
# Freed blocks hold what was deleted; discarded, they are gone from the disk file too, and it is smaller.
fstrim -a || say "sealing: a disk cannot discard"
sync
# Some processes are in folders that were deleted. Where ext4 lists those in a file of their own (the default of Debian
# 13's mke2fs), it takes its becoming read-only for a fault and stays marked by it. Frozen, it is just as clean.
frozen=
if dumpe2fs -h "$(findmnt -n -o SOURCE /)" 2> /dev/null | grep -qw orphan_file; then
    fsfreeze --freeze /
    frozen=yes
fi
# All other file systems read-only, at once, whoever has files open.
echo u > /proc/sysrq-trigger
for _ in $(seq 100); do
    [ -n "$frozen" ] || ! findmnt -n -o OPTIONS / | grep -q '^rw' || { sleep 0.1; continue; }
    say "sealed"
    # Some of Packer's builders wait for their connection to end, and a machine without power ends none.
    for process in /proc/[0-9]*; do
        case "$(cat "$process/comm" 2> /dev/null)" in sshd*) kill -KILL "${process#/proc/}" || : ;; esac
    done
    sleep 0.5
    systemctl poweroff -ff
done
say "error: the root file system cannot be made read-only"
exit 1
