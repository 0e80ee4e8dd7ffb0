#!/bin/sh
# Make an installer that sets up a machine by itself out of one of Debian's:
#
#     sh installer.sh [--seed FOLDER] [--pool FOLDER] SOURCE OUTPUT.iso
#
# SOURCE is an installer ISO of Debian, or the package debian-installer-<release>-netboot-amd64. Without --seed the
# machine gets the cloud-init data that stands in installer/initrd, if any; with it, the user-data, meta-data and
# vendor-data of FOLDER, or else beside this file. --pool adds a folder of packages with its index, for a machine without a network. What ISO
# brings to boot by, under BIOS and UEFI, from a disc and from a USB stick, stays as it is.
#
# Beside this file: installer/source.env (release, checksum, kernel arguments) and installer/initrd, a tree that is
# added to the installer's own. OUTPUT.iso must not exist, and appears only when it is whole.
set -eu
umask 022
export LC_ALL=C.UTF-8 PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin"
here=$(cd "$(dirname "$0")" && pwd)

fail() {
    echo "installer.sh: $*" >&2
    exit 2
}

usage() {
    echo "usage: sh installer.sh [--seed FOLDER] [--pool FOLDER] SOURCE OUTPUT.iso" >&2
    exit 2
}

stage() { echo "== $*"; }

need() {
    for tool; do
        command -v "$tool" > /dev/null || fail "$tool is not installed${hint:+: $hint}"
    done
}

# The source against what the spec says of it; CHECKSUMS is the URL or path of a SHA256SUMS or SHA512SUMS.
verify() {
    wanted=$CHECKSUM
    if [ -z "$wanted" ]; then
        [ -n "$CHECKSUMS" ] || fail "the source has no checksum: what is not verified is not used"
        case "$CHECKSUMS" in
        *://*) need curl && curl -fsSL "$CHECKSUMS" > "$work/sums" ;;
        *) cp "$CHECKSUMS" "$work/sums" ;;
        esac || fail "cannot read $CHECKSUMS"
        digest=$(awk -v name="${URL##*/}" '{ sub(/^[*]?([.]\/)?/, "", $2) } $2 == name { print $1; exit }' "$work/sums")
        case ${#digest} in
        64) wanted=sha256:$digest ;;
        128) wanted=sha512:$digest ;;
        *) fail "$CHECKSUMS does not list ${URL##*/}" ;;
        esac
    fi
    found=${wanted%%:*}:$("${wanted%%:*}sum" < "$source" | cut -d ' ' -f 1)
    [ "$found" = "$wanted" ] || fail "$source is not what its checksum says: $found, expected $wanted"
}

# The release and the architecture of the source, against the spec's.
recognise() {
    case "$source" in
    *.deb)
        kind=netboot
        hint="apt-get install grub-common grub-pc-bin grub-efi-amd64-bin mtools"
        need dpkg-deb grub-mkrescue mformat
        hint=
        name=$(dpkg-deb -f "$source" Package 2> /dev/null) || fail "$source is no Debian package"
        [ "$name" = "debian-installer-$NUMBER-netboot-amd64" ] ||
            fail "$source is $name; the spec wants debian-installer-$NUMBER-netboot-amd64 for $SUITE"
        [ -z "$pool" ] || fail "a netboot installer fetches its own parts from a mirror: --offline needs an ISO"
        ;;
    *)
        kind=iso
        xorriso -osirrox on -indev "$source" -extract /.disk/info "$work/info" > "$work/log" 2>&1 ||
            fail "$source is no installer of Debian: it has no /.disk/info"
        about=$(cat "$work/info")
        case "$about" in
        *"made by skyvypack"*) fail "$source is '$about' already: give the installer of Debian that it was made from" ;;
        "Debian GNU/Linux $NUMBER"[.\ ]*amd64*) ;;
        *) fail "$source is '$about'; the spec wants Debian $NUMBER ($SUITE) for amd64" ;;
        esac
        ;;
    esac
}

# As much as the result takes, and as much again while it is made.
room() {
    wanted=$(($(du -Lkc "$source" ${pool:+"$pool"} | tail -n 1 | cut -f 1) + 262144))
    for folder in "$(dirname "$output")" "$work"; do
        free=$(df -Pk "$folder" | awk 'NR == 2 { print $4 }')
        [ "$free" -ge "$wanted" ] || fail "no space left in $folder: $((wanted / 1024)) MiB are needed, $((free / 1024)) are free"
    done
}

# Kernel and initrd of the source, the latter with our tree behind it: the kernel unpacks one archive after the other.
assemble() {
    if [ "$kind" = netboot ]; then
        dpkg-deb --fsys-tarfile "$source" | tar -x -C "$work" --wildcards --transform='s|.*/||' \
            './usr/lib/debian-installer/images/*/amd64/text/debian-installer/amd64/linux' \
            './usr/lib/debian-installer/images/*/amd64/text/debian-installer/amd64/initrd.gz'
        mv "$work/linux" "$work/vmlinuz"
    else
        xorriso -osirrox on -indev "$source" -extract /install.amd/vmlinuz "$work/vmlinuz" \
            -extract /install.amd/initrd.gz "$work/initrd.gz" > "$work/log" 2>&1 ||
            fail "$source has no text installer in /install.amd"
    fi
    chmod u+w "$work/vmlinuz" "$work/initrd.gz"
    cp -R "$here/installer/initrd" "$work/tree"
    if [ -n "$seed" ]; then
        mkdir -p "$work/tree/skyvyos/seed"
        for name in user-data meta-data vendor-data; do
            for from in "$seed" "$here"; do
                [ ! -e "$from/$name" ] || { cp "$from/$name" "$work/tree/skyvyos/seed/" && break; }
            done
        done
    fi
    find "$work/tree" -exec touch -h -d @"${SOURCE_DATE_EPOCH:-0}" {} +
    (cd "$work/tree" && find . -mindepth 1 | sort | cpio --quiet -o -H newc -R 0:0 --reproducible) | gzip -9n >> "$work/initrd.gz"
}

write_menus() {
    cat > "$work/grub.cfg" << END
# Made by skyvypack: one entry, which starts by itself.
set default=0
set timeout=$TIMEOUT
insmod all_video
serial --unit=0 --speed=115200
terminal_input console serial
terminal_output console serial
menuentry "Install $TITLE" {
    linux /install.amd/vmlinuz $ARGUMENTS
    initrd /install.amd/initrd.gz
}
END
    cat > "$work/isolinux.cfg" << END
# Made by skyvypack: one entry, which starts by itself.
serial 0 115200
default skyvyos
prompt 0
timeout $((TIMEOUT * 10))
say Install $TITLE
label skyvyos
    kernel /install.amd/vmlinuz
    append initrd=/install.amd/initrd.gz $ARGUMENTS
END
}

# A disc of our own around the netboot installer, bootable as Debian's are.
make_disc() {
    mkdir -p "$work/disc/install.amd" "$work/disc/boot/grub" "$work/disc/.disk"
    mv "$work/vmlinuz" "$work/initrd.gz" "$work/disc/install.amd/"
    cp "$work/grub.cfg" "$work/disc/boot/grub/grub.cfg"
    echo "Debian GNU/Linux $NUMBER \"$SUITE\" - netboot amd64, made by skyvypack" > "$work/disc/.disk/info"
    grub-mkrescue --quiet --output="$output.part" "$work/disc" -- -volid SKYVYOS > "$work/log" 2>&1
}

remaster() {
    set -- -map "$work/vmlinuz" /install.amd/vmlinuz -map "$work/initrd.gz" /install.amd/initrd.gz \
        -map "$work/grub.cfg" /boot/grub/grub.cfg -map "$work/isolinux.cfg" /isolinux/isolinux.cfg
    # The list of checksums speaks of the files that were replaced.
    set -- "$@" -rm /md5sum.txt --
    [ -z "$pool" ] || set -- "$@" -map "$pool" /skyvyos
    xorriso -abort_on FAILURE -return_with SORRY 0 -indev "$source" -outdev "$output.part" -boot_image any replay \
        "$@" -volid SKYVYOS -commit > "$work/log" 2>&1
}

seed='' pool=''
while [ $# -gt 2 ]; do
    case "$1" in
    --seed) seed=$2 ;;
    --pool) pool=$2 ;;
    *) usage ;;
    esac
    shift 2
done
[ $# -eq 2 ] || usage
source=$1 output=$2 hint=''
# shellcheck source=/dev/null
. "$here/installer/source.env"
need xorriso cpio gzip
[ -f "$source" ] || fail "there is no file $source"
[ ! -e "$output" ] || fail "$output exists"
[ -d "$(dirname "$output")" ] || fail "there is no folder $(dirname "$output")"
work=$(mktemp -d "${TMPDIR:-/tmp}/installer.XXXXXX")
trap 'rm -rf "$work" "$output.part"' EXIT
trap 'exit 143' HUP INT TERM

stage "Check ${source##*/}"
verify
recognise
room
stage "Add SkyvyOS to the installer"
assemble
write_menus
stage "Write ${output##*/}"
if [ "$kind" = netboot ]; then make_disc; else remaster; fi || {
    tail -n 20 "$work/log" >&2
    exit 1
}
mv "$output.part" "$output"
