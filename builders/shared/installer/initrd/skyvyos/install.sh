#!/bin/sh
# Make the base system that Debian's installer left in /target the one that a bake starts from: the same packages, the
# same boot loader, cloud-init with its data. Runs in the installer (busybox), as preseed/late_command.
set -eu
export here=/skyvyos
# shellcheck source=/dev/null
. "$here/settings.env"

# A person looks at the installer's windows, which lines would be written across.
if [ "$ATTENDED" = yes ]; then
    debconf-loadtemplate d-i "$here/messages.templates"
    # shellcheck source=/dev/null
    . /usr/share/debconf/confmodule
    say() { { db_subst skyvyos/step STEP "$*" && db_progress INFO skyvyos/step; } || :; }
else
    say() { echo "skyvypack: $*" > /dev/console; }
fi
watching=''
trap '[ $? -eq 0 ] || { [ -z "$watching" ] || kill "$watching" 2> /dev/null || :; tail -n 15 /var/log/syslog > /dev/console || :; say "error: the installation failed at: $step; see /var/log/syslog"; }' EXIT
begin() {
    step=$1
    say "$step"
}

begin "where packages come from"
keyring=/usr/share/keyrings/debian-archive-keyring.gpg
sources=/target/etc/apt/sources.list.d
mkdir -p "$sources"
if [ -e "$here/apt.sources" ]; then
    cp "$here/apt.sources" "$here/debian.sources"
else
    # Debian's own default: what the installer itself was given.
    scheme=$(debconf-get mirror/protocol)
    host=$(debconf-get "mirror/$scheme/hostname")
    folder=$(debconf-get "mirror/$scheme/directory")
    security=$(debconf-get apt-setup/security_host)
    for archive in "$scheme://$host${folder%/} $SUITE $SUITE-updates" "http://$security/debian-security $SUITE-security"; do
        printf 'Types: deb\nURIs: %s\nSuites: %s\nComponents: main\nSigned-By: %s\n\n' \
            "${archive%% *}" "${archive#* }" "$keyring"
    done > "$here/debian.sources"
fi
rm -f /target/etc/apt/sources.list "$sources"/*
if [ "$OFFLINE" = yes ]; then
    # What is on this medium was verified when it was made. The installer may have let go of it by now.
    grep -q ' /cdrom ' /proc/mounts || mount -r "$(debconf-get cdrom-detect/cdrom_device)" /cdrom
    mkdir -p /target/media/skyvyos
    mount -o bind "$(dirname "$(ls -d /cdrom/skyvyos/Packages /hd-media/skyvyos/Packages 2> /dev/null | head -n 1)")" \
        /target/media/skyvyos
    printf 'Types: deb\nURIs: file:/media/skyvyos\nSuites: ./\nTrusted: yes\n' > "$sources/skyvyos.sources"
else
    cp "$here/debian.sources" "$sources/debian.sources"
    [ ! -d "$here/layer/repositories" ] || sh "$here/layer.sh" --repositories /target
fi

# Someone may be watching, and a build that is silent for long is taken for dead.
watch() {
    while sleep 15; do
        say "packages: $(grep -c ' status installed ' /target/var/log/dpkg.log) are ready"
    done
}

begin "packages"
cp "$here/packages.txt" /target/tmp/skyvyos-packages
sh "$here/layer.sh" --drivers /target
# Not with windows: in-target asks debconf too, whose answers would then go to whoever reads first.
if [ "$ATTENDED" != yes ]; then
    watch &
    watching=$!
fi
# INITRD=No: the kernel's postinst would build the initramfs before everything is configured; --settle builds it.
in-target sh -ec 'exec < /dev/null
    unset DEBCONF_READFD DEBCONF_WRITEFD
    export DEBIAN_FRONTEND=noninteractive INITRD=No
    get() { apt-get -q -y --no-install-recommends -o Dpkg::Options::=--force-unsafe-io -o Acquire::Retries=3 "$@"; }
    get update --error-on=any
    # The base system is as old as the point release: it gets what was mended since, as all that follows does.
    get dist-upgrade
    get install $(cat /tmp/skyvyos-packages)'
[ -z "$watching" ] || kill "$watching"
rm -f /target/tmp/skyvyos-packages

begin "initramfs"
if [ -e "$here/consoles.sh" ]; then
    for stage in local-top local-bottom; do
        mkdir -p "/target/etc/initramfs-tools/scripts/$stage"
        cp "$here/consoles.sh" "/target/etc/initramfs-tools/scripts/$stage/skyvyos-consoles"
        chmod 0755 "/target/etc/initramfs-tools/scripts/$stage/skyvyos-consoles"
    done
fi
cp "$here/layer.sh" "$here/bootloader.sh" /target/tmp/
in-target env LAYER_DEBS= sh /tmp/layer.sh --settle /

# The installer would build it again, for the video card it saw or for a passphrase typed with its keyboard: both are in.
rm -f /usr/lib/finish-install.d/10update-initramfs

begin "boot loader"
in-target sh /tmp/bootloader.sh
# A disc that was ejected is back after the restart of some machines, QEMU's among them, and a stick was never gone.
if [ -d /sys/firmware/efi ]; then
    cp "$here/bootentry.py" /target/tmp/
    # The installer of Debian 12 does not mount the variables where the new system sees them.
    modprobe -q efivarfs || :
    in-target sh -c 'variables=/sys/firmware/efi/efivars
        mountpoint -q $variables || { mount -t efivarfs efivarfs $variables && trap "umount $variables" EXIT; } || exit
        python3 /tmp/bootentry.py "$1"' sh "$(awk '$2 == "/target/boot/efi" { print $1 }' /proc/mounts)" ||
        say "the firmware takes no entry for the new system; take the medium out before it restarts"
fi
rm -f /target/tmp/layer.sh /target/tmp/bootloader.sh /target/tmp/bootentry.py

begin "cloud-init"
if [ -d "$here/seed" ]; then
    mkdir -p /target/var/lib/cloud/seed/nocloud
    cp "$here"/seed/* /target/var/lib/cloud/seed/nocloud/
    chmod 0600 /target/var/lib/cloud/seed/nocloud/*
fi

if [ "$OFFLINE" = yes ]; then
    umount /target/media/skyvyos
    rmdir /target/media/skyvyos
    rm -f "$sources/skyvyos.sources"
    cp "$here/debian.sources" "$sources/debian.sources"
fi
# Last of all: what died half-way is begun anew.
[ ! -e "$here/medium" ] || cp "$here/medium" /target/boot/efi/skyvyos-medium
sync
say "installed"
