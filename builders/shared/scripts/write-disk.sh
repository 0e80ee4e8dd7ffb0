#!/bin/sh
# Write the disk that lies beside the build account to the one volume of this machine that is empty.
# Run as root in a helper guest. What was written is read back and compared.
set -eu

say() { echo "skyvypack: $*"; }
trap '[ $? -eq 0 ] || say "error: the disk could not be written"' EXIT
file=/home/packer/disk.raw.gz

# Disks without partitions, file system or mount, by name.
empty_disks() {
    for disk in $(lsblk -dnpo NAME,TYPE | awk '$2 == "disk" { print $1 }'); do
        [ "$(lsblk -nro NAME "$disk" | wc -l)" -eq 1 ] || continue
        [ -z "$(lsblk -dnro FSTYPE,MOUNTPOINT "$disk" | tr -d ' ')" ] || continue
        echo "$disk"
    done
}

# A volume may appear a little after the machine that it belongs to.
for _ in $(seq 60); do
    udevadm settle || :
    disks=$(empty_disks)
    [ -z "$disks" ] || break
    sleep 1
done
if [ "$(echo "$disks" | wc -w)" -ne 1 ]; then
    say "error: just one disk should be empty, found: ${disks:-none}"
    exit 1
fi
disk=$disks

size=$(gzip -dc "$file" | wc -c)
room=$(lsblk -dnbo SIZE "$disk" | tr -d ' ')
if [ "$size" -gt "$room" ]; then
    say "error: the disk has $size bytes, $disk only $room"
    exit 1
fi
say "writing $size bytes to $disk"
# A new volume reads as zeros, which therefore need not be written.
gzip -dc "$file" | dd of="$disk" bs=4M iflag=fullblock conv=sparse,fsync status=none
say "comparing"
gzip -dc "$file" | cmp -n "$size" - "$disk"
rm -f "$file"
say "written"
