#!/bin/sh
# Give cloud-init the user-data that lies in /tmp, and restart: it configures the guest at that boot.
# Run as root in a build guest that could not be started with its user-data.
set -eu

say() { echo "skyvypack: $*"; }
trap '[ $? -eq 0 ] || say "error: the configuration could not be handed to cloud-init"' EXIT

say "handing the configuration to cloud-init"
cloud-init clean --logs
seed=/var/lib/cloud/seed/nocloud
mkdir -p "$seed"
for name in user-data meta-data vendor-data; do
    install -m 0600 "/tmp/$name" "$seed/$name"
    rm -f "/tmp/$name"
done
# Sealing removes both. Until then this seed alone counts, and the network stays as the platform has set it up.
# No label: a disc of the platform's own with data (Proxmox makes one of each setting) would win over the seed.
cat > /etc/cloud/cloud.cfg.d/99-skyvypack-bake.cfg << 'END'
datasource_list: [NoCloud]
datasource: {NoCloud: {fs_label: null}}
network: {config: disabled}
END
sync

say "restarting"
systemctl reboot
# Until the connection ends: whatever came next would run on a guest that is going down.
sleep 300
