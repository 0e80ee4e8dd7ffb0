#!/bin/sh
# cryptsetup asks for a passphrase on the last of the kernel's consoles; a person may sit at another, such as the screen
# where the last one is a serial line. There its own `cryptroot-unlock` asks too. For the initramfs: begins in local-top,
# where cryptsetup's script comes last, and ends in local-bottom.
[ "$1" != prereqs ] || exit 0
asking=/run/skyvyos-asking
if [ -e "$asking" ]; then
    while read -r session; do
        kill -- "-$session" 2> /dev/null
    done < "$asking"
    rm "$asking"
    exit 0
fi
# shellcheck disable=SC2046
set -- $(cat /sys/class/tty/console/active)
while [ $# -gt 1 ]; do
    setsid sh -c 'until cryptroot-unlock; do sleep 1; done' <> "/dev/$1" >&0 2>&1 &
    echo $! >> "$asking"
    shift
done
