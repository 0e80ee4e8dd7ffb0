#!/bin/sh
# Makes a virtual machine of VirtualBox from this template: {{ spec.title }}.
#
#     sh register.sh NAME [SEED.iso]
#
# SEED.iso holds cloud-init's data (label cidata), as `skyvypack user-data --iso seed.iso` writes it. Without it nobody can
# log in. The machine is not started, so that it can be changed first.
set -eu
[ $# -ge 1 ] && [ $# -le 2 ] || { echo "usage: sh register.sh NAME [SEED.iso]" >&2; exit 2; }
name=$1 seed=${2:-}
here=$(cd "$(dirname "$0")" && pwd)
template="$here/{{ stem }}.{{ "vdi" if "vdi" in digests else "ova" }}"

fail() { echo "register.sh: $*" >&2; exit 1; }
[ -f "$template" ] || fail "there is no $template"
[ -z "$seed" ] || [ -f "$seed" ] || fail "there is no $seed"
! VBoxManage showvminfo "$name" > /dev/null 2>&1 || fail "there is a machine $name already"

undo() { VBoxManage unregistervm "$name" --delete > /dev/null 2>&1 || :; }
{% if "vdi" in digests -%}
folder=$(VBoxManage list systemproperties | sed -n 's/^Default machine folder: *//p')/$name
trap 'undo; exit 1' EXIT
VBoxManage createvm --name "$name" --ostype {{ settings.guest_os_type }} --register
VBoxManage clonemedium disk "$template" "$folder/$name.vdi"
VBoxManage storagectl "$name" --name SATA --add sata --controller IntelAhci --portcount 2
VBoxManage storageattach "$name" --storagectl SATA --port 0 --type hdd --medium "$folder/$name.vdi"
{% else -%}
trap 'undo; exit 1' EXIT
VBoxManage import "$template" --vsys 0 --vmname "$name"
{% endif -%}
VBoxManage modifyvm "$name" --cpus {{ spec.machine.cpus }} --memory {{ spec.machine.memory }} \
    --firmware {{ "efi" if spec.machine.firmware == "uefi" else "bios" }} --chipset {{ settings.chipset }} \
    --nic1 nat --nictype1 {{ settings.nic_type }} --graphicscontroller {{ settings.graphics }} \
    --vram {{ settings.video_memory }} --nested-hw-virt {{ "on" if settings.nested_virtualization else "off" }} \
    --uart1 0x3F8 4 --uartmode1 server "/tmp/$name-console"
if [ -n "$seed" ]; then
    VBoxManage storagectl "$name" --name Seed --add ide
    VBoxManage storageattach "$name" --storagectl Seed --port 0 --device 0 --type dvddrive --medium "$seed"
fi
trap - EXIT
echo "$name is made; start it: VBoxManage startvm '$name' --type headless"
