#!/bin/sh
# Choose the disk to install to, or say why none can be: before the partitioner touches anything.
# Runs in Debian's installer (busybox), as partman/early_command. settings.env says:
#   DISKS     devices of the spec, none for the only one there is
#   COUNT     how many are needed
#   LEAST     MiB a disk must have
#   ATTENDED  yes when a person can be asked
# A file `medium` beside it is what a disk is marked with once it is installed, see install.sh: it is then left alone.
set -u
here=${SKYVYOS_FOLDER:-/skyvyos}
# shellcheck source=/dev/null
. "$here/settings.env"

say() { echo "skyvypack: $*" > "${SKYVYOS_CONSOLE:-/dev/console}"; }

# Nothing was written yet. A person can read it and switch off; nobody else would, so the machine does it itself.
refuse() {
    say "error: $*; nothing was written to any disk"
    if [ "$ATTENDED" = yes ]; then
        tell "$*"
    else
        sleep 5
    fi
    halt_machine
    exit 1
}

# The installer's own windows.
debconf() {
    debconf-loadtemplate d-i "$here/messages.templates"
    # shellcheck source=/dev/null
    . "${SKYVYOS_CONFMODULE:-/usr/share/debconf/confmodule}"
}

tell() {
    debconf
    db_subst skyvyos/refused REASON "$1"
    db_input critical skyvyos/refused || true
    db_go || true
}

halt_machine() {
    sync
    poweroff -f
    sleep 60
}

# Where the installer itself runs from: never a choice.
media() {
    awk '$2 == "/cdrom" || $2 == "/hd-media" { print $1 }' "${SKYVYOS_MOUNTS:-/proc/mounts}"
}

disks_here() {
    from=" $(media | tr '\n' ' ') "
    for disk in $(list-devices disk); do
        case "$from" in
        *" $disk"*) ;;
        *) echo "$disk" ;;
        esac
    done
}

mebibytes() { echo $(($(cat "${SKYVYOS_SYS:-/sys}/class/block/${1##*/}/size") / 2048)); }

# The partitioner would first ask how to partition, with no regard to the layout.
choose() {
    debconf
    question=skyvyos/disk choices='' chosen=''
    [ "$COUNT" -eq 1 ] || question=skyvyos/disks
    for disk in $present; do
        model=$(cat "${SKYVYOS_SYS:-/sys}/class/block/${disk##*/}/device/model" 2> /dev/null | tr -d ,)
        # shellcheck disable=SC2086
        choices="${choices:+$choices, }$(echo $disk "$(mebibytes "$disk") MiB" $model)"
    done
    db_subst "$question" CHOICES "$choices"
    while [ "$(echo "$chosen" | wc -w)" -ne "$COUNT" ]; do
        db_fset "$question" seen false
        db_input critical "$question" || true
        db_go || true
        db_get "$question"
        chosen=$(echo "$RET" | tr , '\n' | awk '{ printf "%s%s", sep, $1; sep = " " }')
    done
}

# What the installer runs at its very end it lists before the packages are there; so this is put there now.
root=${SKYVYOS_ROOT:-}
hooks=$root/usr/lib/finish-install.d
mkdir -p "$hooks"
cp "$here/tidy.sh" "$hooks/93skyvyos"
chmod +x "$hooks/93skyvyos"

# The installer's parts ask for packages of their own, such as fonts for the console and tools of the hypervisor it runs
# on. A baked system has none of them: install.sh installs all that there is to be.
printf '#!/bin/sh\nexit 0\n' > "$root/bin/apt-install"
rm -f "$root/var/lib/apt-install/queue"
# Nor does the installer try the mirror once more, which takes a while and may end in a question.
mkdir -p "$root/usr/lib/apt-setup/generators"
printf '#!/bin/sh\necho "# install.sh says where packages come from" > "$1"\n' > "$root/usr/lib/apt-setup/generators/50mirror"
chmod +x "$root/usr/lib/apt-setup/generators/50mirror"

# The file systems get the features of a baked one, see layer.sh. orphan_file would also keep a sealed one from being
# clean: some processes are in folders that were deleted, and the kernel then takes no such file system for read-only.
[ ! -e "$root/etc/mke2fs.conf" ] || sed -i 's/,metadata_csum_seed//; s/,orphan_file//' "$root/etc/mke2fs.conf"

# Under BIOS the partitioner makes an EFI system partition, but does not give it that type.
flag=$root/lib/partman/update.d/21efi_sync_flag
[ ! -e "$flag" ] || sed -i '/^if .*\/sys\/firmware\/efi/,/^fi/d' "$flag"

# dpkg waits for the disk with every file. The installer tells it not to only once the base system is there, and takes that
# back at its end; an installation that dies is begun anew.
mkdir -p "$root/lib/partman/finish.d"
cat > "$root/lib/partman/finish.d/60skyvyos" << END
#!/bin/sh
mkdir -p $root/target/etc/dpkg/dpkg.cfg.d
echo force-unsafe-io > $root/target/etc/dpkg/dpkg.cfg.d/force-unsafe-io
END
chmod +x "$root/lib/partman/finish.d/60skyvyos"

# A netboot installer loads its drivers from the mirror, which may hold those of another kernel only.
driverless() {
    [ -z "$(find "${SKYVYOS_MODULES:-/lib/modules/$(uname -r)}" -name 'virtio_blk.ko*' 2> /dev/null)" ]
}

present=$(disks_here)
count=$(echo $present | wc -w)
if [ "$count" -eq 0 ]; then
    ! driverless || refuse "no disk was found, and the mirror has no drivers for this installer's kernel $(uname -r): \
take an installer of the mirror's point release, or an ISO that brings its own"
    refuse "no disk was found"
fi

chosen=
for wish in $DISKS; do
    device=$(readlink -f "$wish")
    case " $(echo $present) " in
    *" $device "*) chosen="${chosen:+$chosen }$device" ;;
    *) refuse "there is no disk $wish; there is: $(echo $present)" ;;
    esac
done
if [ -z "$chosen" ]; then
    [ "$count" -ge "$COUNT" ] || refuse "$COUNT disks are needed, and there is only $present"
    if [ "$count" -gt "$COUNT" ]; then
        [ "$ATTENDED" = yes ] ||
            refuse "there are $count disks ($(echo $present)); name one in the spec: installer: {disks: [/dev/…]}"
        choose
    else
        chosen=$present
    fi
fi
for disk in $chosen; do
    size=$(mebibytes "$disk")
    [ "$size" -ge "$LEAST" ] || refuse "the disk $disk has $size MiB, and $LEAST MiB are needed"
done

# Firmware that prefers the medium would have it install again and again, and lose what the machine has become.
finished() {
    found=1
    folder=$root/run/skyvyos-esp
    mkdir -p "$folder"
    modprobe -a vfat nls_cp437 nls_ascii nls_utf8 2> /dev/null
    for partition in $(list-devices partition); do
        case "$partition" in "$1"[0-9]* | "$1"p[0-9]*) ;; *) continue ;; esac
        mount -t vfat -o ro "$partition" "$folder" 2> /dev/null || continue
        ! cmp -s "$here/medium" "$folder/skyvyos-medium" || found=0
        umount "$folder"
    done
    return "$found"
}

if [ -e "$here/medium" ]; then
    for disk in $chosen; do
        ! finished "$disk" || refuse "$disk was installed by this medium already: take it out. To install there again, \
make another with installer: {reinstall: true} in the spec"
    done
fi

debconf-set partman-auto/disk "$chosen"
if [ "$LAYOUT" = raid1 ]; then
    members=
    for disk in $chosen; do
        case "$disk" in
        *[0-9]) members="${members:+$members#}${disk}p3" ;;
        *) members="${members:+$members#}${disk}3" ;;
        esac
    done
    debconf-set partman-auto-raid/recipe "1 2 0 ext4 / $members ."
fi
say "installing to $chosen"
