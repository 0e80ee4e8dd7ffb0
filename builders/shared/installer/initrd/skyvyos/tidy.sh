#!/bin/sh
# Remove what Debian's installer leaves that a bootstrapped system does not have. Runs as a hook of finish-install,
# after all that write such files and before the disks are unmounted.
rm -rf /target/etc/network/interfaces /target/etc/network/interfaces.d /target/etc/apt/apt.conf.d/00InstallRecommends \
    /target/etc/apt/apt.conf.d/00CDMountPoint /target/etc/apt/apt.conf.d/00trustcdrom /target/etc/apt/sources.list~ \
    /target/media/cdrom* /target/etc/hostname /target/etc/*- /target/var/lib/dbus/machine-id \
    /target/etc/ssh/ssh_host_* /target/etc/securetty /target/etc/adjtime /target/etc/.resolv.conf.systemd-resolved.bak \
    /target/etc/ca-certificates.conf.dpkg-old \
    /target/etc/kernel/cmdline /target/etc/kernel/tries
# The serial console's login is started where the kernel's command line names one, by systemd itself.
rm -f /target/etc/systemd/system/getty.target.wants/serial-getty@*.service
# Of no use to a system without the package that reads it.
[ -e /target/var/lib/dpkg/info/keyboard-configuration.list ] || rm -f /target/etc/default/keyboard
# The installer copies the firmware that it brings along, be there a device for it or not.
[ -e /target/var/lib/dpkg/info/wireless-regdb.list ] || rm -f /target/usr/lib/firmware/regulatory.db*
rmdir /target/usr/lib/firmware 2> /dev/null
# The installer speaks a language of its own; the system's is the business of the role base.
sed -i '/^LANG/d' /target/etc/locale.conf
sed -i 's/^\([^#]\)/# \1/' /target/etc/locale.gen
rm -f /target/usr/lib/locale/locale-archive
rmdir /target/etc/network 2> /dev/null
sed -i '/^127\.0\.1\.1[[:space:]]/d' /target/etc/hosts
ln -sfn ../run/systemd/resolve/stub-resolv.conf /target/etc/resolv.conf
# Anew, as systemd made it read-only.
rm -f /target/etc/machine-id
: > /target/etc/machine-id
# What this ran from: firmware that prefers a disc would install again. The installer itself ejects only what it mounted.
for drive in $(list-devices cd); do
    chroot /target python3 - "$drive" << 'END' > /dev/null 2>&1
import fcntl, os, sys
drive = os.open(sys.argv[1], os.O_RDONLY | os.O_NONBLOCK)
fcntl.ioctl(drive, 0x5329, 0)  # CDROM_LOCKDOOR
fcntl.ioctl(drive, 0x5309)  # CDROMEJECT
END
done
exit 0
