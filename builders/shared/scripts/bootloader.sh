#!/bin/sh
# Make a bootstrapped disk boot by itself, under BIOS and under UEFI, on any machine its clones run on.
# Run as root in the build guest, which so far was booted by -kernel. Running it again changes nothing.
set -eu
# Roles may have made this account's files private; what is written here is for all to read.
umask 022

say() { echo "skyvypack: $*"; }
trap '[ $? -eq 0 ] || say "error: the boot loader could not be installed"' EXIT

root=$(findmnt -no SOURCE /)
# Every disk under the root file system: one, or the members of a mirror.
disks=$(lsblk -nslpo NAME,TYPE "$root" | awk '$2 == "disk" { print $1 }' | sort -u)
[ -n "$disks" ] || { say "error: no disk is found under $root"; exit 1; }
esp_type=c12a7328-f81f-11d2-ba4b-00a0c93ec93b

# What a partition holds, read from the disk itself: in an installer there is no database of udev's to ask.
probe() { blkid -p -o value -s "$1" "$2" || :; }

# By label, so that a restored or re-made file system still fits; by UUID where Debian's installer gave none.
named() {
    label=$(probe LABEL "$1")
    uuid=$(probe UUID "$1")
    [ -n "$label$uuid" ] || { say "error: the file system on $1 has neither label nor UUID" >&2; return 1; }
    if [ -n "$label" ]; then echo "LABEL=$label"; else echo "UUID=$uuid"; fi
}

# disks.sh has the installer's partitioner say in its type what an EFI system partition is. One of another version may not
# take that; the partition in use gets its type here then.
mounted=$(findmnt -no SOURCE /boot/efi || true)
if [ -n "$mounted" ] && [ "$(probe PART_ENTRY_TYPE "$mounted")" != "$esp_type" ]; then
    number=$(cat "/sys/class/block/${mounted##*/}/partition")
    sfdisk -q --no-reread --part-type "/dev/$(lsblk -dno PKNAME "$mounted")" "$number" "$esp_type"
fi
# Read from the partitions themselves, as in probe. A mirror's second disk has one of its own.
esps=$(for partition in $(lsblk -lnpo NAME,TYPE $disks | awk '$2 == "part" { print $1 }' | sort -u); do
    [ "$(probe PART_ENTRY_TYPE "$partition")" != "$esp_type" ] || echo "$partition"
done)
esp=${mounted:-$(echo "$esps" | head -n 1)}
[ -n "$esp" ] || { say "error: there is no EFI system partition on $disks"; exit 1; }

say "fstab"
mkdir -p /boot/efi
root_name=$(named "$root")
esp_name=$(named "$esp")
# What an installer made beside root, such as /boot and swap, stays. No check of the ESP: it is written at upgrades only.
others=$(awk '$1 !~ /^#/ && NF > 3 && $2 != "/" && $2 != "/boot/efi" && $2 !~ "^/media/"' /etc/fstab 2> /dev/null || true)
{
    echo "$root_name / ext4 noatime,errors=remount-ro 0 1"
    [ -z "$others" ] || echo "$others"
    echo "$esp_name /boot/efi vfat umask=0077,nofail 0 0"
} > /etc/fstab
mount -o remount,noatime /
mountpoint -q /boot/efi || mount /boot/efi

say "grub"
mkdir -p /boot/grub
# The kernel gets root=UUID=…, GRUB's own default: a clone keeps its UUID on whatever bus its disk is, and another
# disk with a file system called "root" cannot be taken for it. ttyS0 comes last, so that init's messages reach the
# serial console; the kernel's reach both.
cat > /etc/default/grub <<'END'
GRUB_DEFAULT=0
GRUB_TIMEOUT=1
GRUB_DISTRIBUTOR=SkyvyOS
GRUB_CMDLINE_LINUX_DEFAULT=""
GRUB_CMDLINE_LINUX="console=tty0 console=ttyS0,115200"
GRUB_TERMINAL="console serial"
GRUB_SERIAL_COMMAND="serial --unit=0 --speed=115200"
GRUB_DISABLE_OS_PROBER=true
GRUB_DISABLE_RECOVERY=true
GRUB_DISABLE_SUBMENU=y
END
for disk in $disks; do
    grub-install --target=i386-pc --no-floppy "$disk"
done
# --removable: the path every firmware tries; no entry in the build machine's NVRAM, which clones do not have.
efi() { grub-install --target=x86_64-efi --efi-directory="$1" --removable --no-nvram; }
efi /boot/efi
for other in $(echo "$esps" | grep -vx "$esp"); do
    spare=$(mktemp -d)
    mount "$other" "$spare"
    efi "$spare"
    umount "$spare"
    rmdir "$spare"
done
update-grub
sync
say "$disks boots by BIOS and UEFI"
