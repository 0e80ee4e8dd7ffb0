#!/bin/sh
# Make a bootstrapped disk boot by itself, under BIOS and under UEFI, on any machine its clones run on.
# Run as root in the build guest, which so far was booted by -kernel. Running it again changes nothing.
set -eu

say() { echo "skyvypack: $*"; }
trap '[ $? -eq 0 ] || say "error: the boot loader could not be installed"' EXIT

root=$(findmnt -no SOURCE /)
disk=/dev/$(lsblk -no PKNAME "$root" | head -n 1)
root_label=$(lsblk -no LABEL "$root")
esp=$(lsblk -lnpo NAME,PARTTYPE "$disk" | awk '$2 == "c12a7328-f81f-11d2-ba4b-00a0c93ec93b" { print $1; exit }')
esp_label=$(lsblk -no LABEL "$esp")
[ -n "$root_label" ] && [ -n "$esp_label" ] || { say "error: the root or the EFI file system has no label"; exit 1; }

say "fstab"
mkdir -p /boot/efi
# Labels, so that a restored or re-made file system still fits; no check of the ESP, which is written at upgrades only.
cat > /etc/fstab <<END
LABEL=$root_label / ext4 noatime,errors=remount-ro 0 1
LABEL=$esp_label /boot/efi vfat umask=0077,nofail 0 0
END
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
grub-install --target=i386-pc --no-floppy "$disk"
# --removable: the path every firmware tries; no entry in the build machine's NVRAM, which clones do not have.
grub-install --target=x86_64-efi --efi-directory=/boot/efi --removable --no-nvram
update-grub
sync
say "$disk boots by BIOS and UEFI"
