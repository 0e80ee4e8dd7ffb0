#!/bin/sh
# Make a bootable Debian disk out of packages; nothing is booted, mounted on the host or run as the host's root:
#
#     sh layer.sh OUTPUT_FOLDER
#
# OUTPUT_FOLDER gets disk.qcow2, vmlinuz, initrd.img and packages.tsv (package, version, KiB installed), made from
# layer/packages.txt, layer/settings.env and, if there, layer/apt.sources and layer/repositories/ beside this file. It
# must not exist yet, and appears only when it is whole. An ordinary user needs newuidmap and a line in /etc/subuid and
# in /etc/subgid.
#
# Environment, all optional:
#   LAYER_SOURCES      deb822 file of apt sources, instead of layer/apt.sources; mmdebstrap's own default without either
#   LAYER_DEBS         folder that keeps downloaded packages for the next layer
#   SOURCE_DATE_EPOCH  the time written into the disk; the same packages and time give the same bytes
#   TMPDIR             where the tree is built: two to three times the size of what is installed
set -eu
umask 022
export LC_ALL=C.UTF-8 PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin"
keyring=/usr/share/keyrings/debian-archive-keyring.gpg

stage() { echo "== $*"; }

usage() {
    echo "usage: sh layer.sh OUTPUT_FOLDER" >&2
    exit 2
}

# Runs a program as root of namespaces of its own: its mounts and processes end with it, however it ends.
namespace() {
    if [ "$(id -u)" -eq 0 ]; then
        exec unshare --mount --pid --fork --kill-child --mount-proc "$@"
    fi
    exec unshare --map-root-user --map-auto --mount --pid --fork --kill-child --mount-proc "$@"
}

# The half that is started: it owns the work folder and removes it, also when it is told to stop.
outside() {
    [ ! -e "$1" ] || { echo "layer.sh: $1 exists" >&2; exit 2; }
    here=$(cd "$(dirname "$0")" && pwd)
    # shellcheck source=/dev/null
    . "$here/layer/settings.env"
    SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-${EPOCH:-$(date +%s)}}
    [ -n "${LAYER_SOURCES:-}" ] || [ ! -e "$here/layer/apt.sources" ] || LAYER_SOURCES=$here/layer/apt.sources
    work=$(mktemp -d "${TMPDIR:-/tmp}/layer.XXXXXX")
    export here work output="$1" SUITE DISK_GIB SOURCE_DATE_EPOCH LAYER_SOURCES="${LAYER_SOURCES:-}"
    export LAYER_DEBS="${LAYER_DEBS:-}"
    trap '(namespace rm -rf "$work" "$output.part")' EXIT
    # unshare itself holds back SIGTERM; its death takes the namespace with it.
    trap 'kill -KILL "$inner" 2>/dev/null || :; wait "$inner" 2>/dev/null || :; exit 143' HUP INT TERM
    (namespace sh "$here/layer.sh" --inside) &
    inner=$!
    wait "$inner"
}

# --share FROM TO: hard links (copies across file systems) to all .deb files. Their names carry the version, so a file
# that is there already is the same one, and two layers may do this at once.
share() {
    for deb in "$1"/*.deb; do
        to=$2/${deb##*/}
        [ -e "$deb" ] && [ ! "$deb" -ef "$to" ] || continue
        { ln "$deb" "$to.$$" || cp "$deb" "$to.$$"; } 2> /dev/null && mv -f "$to.$$" "$to"
    done
}

# --drivers TREE: what every target's disks and network cards need is in the initramfs, whatever machine it is made on. A
# hook, not a line for each in initramfs-tools' `modules`: those are all loaded at every boot, these when their device is.
drivers() {
    mkdir -p "$1/etc/initramfs-tools/hooks"
    cat > "$1/etc/initramfs-tools/hooks/skyvyos-drivers" << 'END'
#!/bin/sh
[ "$1" != prereqs ] || exit 0
. /usr/share/initramfs-tools/hook-functions
manual_add_modules ext4 virtio_pci virtio_blk virtio_scsi virtio_net nvme ahci ata_piix sd_mod sr_mod \
    vmw_pvscsi vmxnet3 hv_vmbus hv_storvsc hv_netvsc ena
END
    chmod 0755 "$1/etc/initramfs-tools/hooks/skyvyos-drivers"
}

# --repositories TREE: vendors' repositories, and pins that let nothing but their own packages come from them.
repositories() {
    for sources in "$here"/layer/repositories/*.sources; do
        name=${sources##*/}
        cp "$sources" "$1/etc/apt/sources.list.d/$name"
        cp "${sources%.sources}.pins" "$1/etc/apt/preferences.d/${name%.sources}"
    done
}

# --settle TREE: what has to run inside it once all packages are in.
settle() {
    chroot "$1" systemctl --quiet enable systemd-networkd.service systemd-resolved.service
    chroot "$1" update-initramfs -c -k all
    # Packages have run ldconfig, sysusers and the like; systemd need not do it again at boots.
    chroot "$1" touch -r /usr /etc/.updated /var/.updated
    # The next step of mmdebstrap empties the archives; all it needed is kept, and marked as used now.
    if [ -n "$LAYER_DEBS" ]; then
        share "$1/var/cache/apt/archives" "$LAYER_DEBS"
        find "$1/var/cache/apt/archives" -name '*.deb' -exec touch {} +
    fi
}

# The kernel's own postinst would build the initramfs a first time, before the rest is configured (INITRD=No).
install_packages() {
    set -- --mode=root --variant=minbase --format=directory --skip=output/dev,essential/unlink,download/empty \
        --include="$(tr -s '\n' , < "$here/layer/packages.txt")" \
        --aptopt='Acquire::Retries "3"' --dpkgopt=force-unsafe-io \
        --essential-hook='sh "$here/layer.sh" --drivers "$1"' \
        --customize-hook='sh "$here/layer.sh" --settle "$1"'
    # Else what merges /usr in a tree that is not merged yet is installed, with all of Perl.
    [ "$SUITE" != bookworm ] || set -- "$@" --hook-dir=/usr/share/mmdebstrap/hooks/merged-usr
    [ -z "$LAYER_DEBS" ] || set -- "$@" \
        --setup-hook='mkdir -p "$1/var/cache/apt/archives"' \
        --setup-hook='sh "$here/layer.sh" --share "$LAYER_DEBS" "$1/var/cache/apt/archives"'
    [ ! -d "$here/layer/repositories" ] || set -- "$@" --setup-hook='sh "$here/layer.sh" --repositories "$1"'
    INITRD=No mmdebstrap "$@" "$SUITE" "$tree" ${LAYER_SOURCES:+"$LAYER_SOURCES"}
}

# The tree's own apt sources: those it was made from, in deb822 form and with the key that they are to be signed by.
write_sources() {
    if [ -n "$LAYER_SOURCES" ]; then
        cat "$LAYER_SOURCES" > "$work/debian.sources"
    else
        awk -v keyring="$keyring" '$1 == "deb" {
            sub(/\[[^]]*\] */, "")
            printf "Types: deb\nURIs: %s\nSuites: %s\nComponents:", $2, $3
            for (i = 4; i <= NF; i++) printf " %s", $i
            printf "\nSigned-By: %s\n\n", keyring
        }' "$tree/etc/apt/sources.list" > "$work/debian.sources"
    fi
    rm -rf "$tree/etc/apt/sources.list" "$tree"/etc/apt/sources.list.d/*
    cp "$work/debian.sources" "$tree/etc/apt/sources.list.d/debian.sources"
}

# What belongs to this host, this run or one machine's identity.
clean() {
    rm -rf "$tree"/etc/ssh/ssh_host_* "$tree/etc/hostname" "$tree/etc/resolv.conf" "$tree/var/lib/dbus/machine-id" \
        "$tree"/etc/apt/apt.conf.d/99mmdebstrap "$tree"/etc/dpkg/dpkg.cfg.d/99mmdebstrap "$tree"/etc/*- \
        "$tree"/var/lib/apt/lists/* "$tree"/var/cache/apt/* "$tree"/var/cache/debconf/*-old "$tree"/var/lib/dpkg/*-old \
        "$tree/var/cache/ldconfig/aux-cache" "$tree/var/lib/systemd/random-seed" "$tree"/tmp/* "$tree"/run/* \
        "$tree"/dev/*
    find "$tree/var/log" -type f -delete
    : > "$tree/etc/machine-id"
    ln -s ../run/systemd/resolve/stub-resolv.conf "$tree/etc/resolv.conf"
    # Only what was made just now: Python's byte code remembers the time of each packaged file.
    find "$tree" -newer "$work/began" -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +
}

# identity PURPOSE: a UUID that depends on nothing but the inputs.
identity() {
    { cat "$here/layer.sh" "$here/layer/packages.txt" "$here/layer/settings.env" ${LAYER_SOURCES:+"$LAYER_SOURCES"}
      echo "$SOURCE_DATE_EPOCH $1"; } | sha256sum |
        sed 's/^\(.\{8\}\)\(.\{4\}\).\(.\{3\}\).\(.\{3\}\)\(.\{12\}\).*/\1-\2-4\3-8\4-\5/'
}

# BIOS boot partition for GRUB's core, ESP, and root over the rest; sizes in sectors of 512 bytes.
partition() {
    truncate -s "${DISK_GIB}G" "$disk"
    sfdisk -q "$disk" << END
label: gpt
label-id: $(identity disk)
start=2048, size=2048, type=21686148-6449-6E6F-744E-656564454649, uuid=$(identity bios), name=bios
start=4096, size=131072, type=C12A7328-F81F-11D2-BA4B-00A0C93EC93B, uuid=$(identity esp), name=ESP
start=$root_start, size=$root_size, type=4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709, uuid=$(identity root), name=root
END
}

make_esp() {
    truncate -s 64M "$work/esp"
    mkfs.vfat --invariant -F 32 -s 1 -h 4096 -n ESP -i "$(identity esp-id | cut -c1-8)" "$work/esp" > /dev/null
    dd if="$work/esp" of="$disk" bs=1M seek=2 conv=notrunc,sparse status=none
}

# Features that GRUB of an older release cannot read are left out, whatever this host's default.
make_root() {
    export E2FSPROGS_FAKE_TIME="$SOURCE_DATE_EPOCH"
    mke2fs -q -F -t ext4 -L root -m 1 -U "$(identity root-id)" -O '^metadata_csum_seed,^orphan_file' \
        -E "hash_seed=$(identity hash),offset=$((root_start * 512)),lazy_itable_init=0,lazy_journal_init=0" \
        -d "$tree" "$disk" "$((root_size / 2))k"
    # mke2fs takes over access and change times, which nobody can set in a tree.
    root="$disk?offset=$((root_start * 512))"
    dumpe2fs -h "$root" 2> /dev/null | awk -v time="@$SOURCE_DATE_EPOCH" '
        /^Inode count/ { all = $3 }
        /^Free inodes/ { free = $3 }
        END {
            for (i = 2; i <= all - free; i = i == 2 ? 11 : i + 1)
                printf "sif <%d> atime %s\nsif <%d> ctime %s\nsif <%d> crtime %s\n", i, time, i, time, i, time
        }' > "$work/times"
    debugfs -w -f "$work/times" "$root" > "$work/times.log" 2>&1
}

inside() {
    tree=$work/tree disk=$work/disk.raw
    root_start=$((66 * 2048))
    root_size=$((DISK_GIB * 2097152 - root_start - 2048))
    stage packages "Install Debian's packages"
    mkdir "$tree"
    touch "$work/began"
    install_packages
    chroot "$tree" dpkg-query -W -f '${Package}\t${Version}\t${Installed-Size}\n' > "$work/packages.tsv"
    write_sources
    clean
    stage disk "Make the disk"
    partition
    make_esp
    make_root
    mkdir "$output.part"
    cp "$tree"/boot/vmlinuz-* "$output.part/vmlinuz"
    cp "$tree"/boot/initrd.img-* "$output.part/initrd.img"
    cp "$work/packages.tsv" "$output.part/packages.tsv"
    rm -rf "$tree"
    qemu-img convert -f raw -O qcow2 "$disk" "$output.part/disk.qcow2"
    mv "$output.part" "$output"
}

case "${1:-}" in
    --inside) inside ;;
    --share) share "$2" "$3" ;;
    --drivers) drivers "$2" ;;
    --repositories) repositories "$2" ;;
    --settle) settle "$2" ;;
    '' | -*) usage ;;
    *) [ $# -eq 1 ] || usage; outside "$1" ;;
esac
