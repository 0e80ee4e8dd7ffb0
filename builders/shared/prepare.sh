#!/bin/sh
# Make in build/ what must not be in a bundle: a key for this build alone, and what the build starts from: the layer (if
# layer.sh is here), an installer that asks nothing (if installer.sh is), or what Debian's own may fetch. Running it
# again makes only what is missing. Then: packer build .
set -eu
cd "$(dirname "$0")"
mkdir -p build
(
    umask 077
    if [ ! -s build/id_ed25519 ] || [ ! -s build/id_ed25519.pub ]; then
        rm -f build/id_ed25519 build/id_ed25519.pub
        ssh-keygen -q -t ed25519 -N '' -C skyvypack -f build/id_ed25519
    fi
    # Nothing in a public key means anything to sed but "/".
    sed "s|@PUBLIC_KEY@|$(cat build/id_ed25519.pub)|" vendor-data.in > build/vendor-data.part
    mv build/vendor-data.part build/vendor-data
)
if [ -f layer.sh ] && [ ! -d build/layer ]; then
    sh layer.sh build/layer
fi
if [ -f installer.sh ] && [ ! -e build/installer.iso ]; then
    # shellcheck source=/dev/null
    URL=$(. installer/source.env && echo "$URL")
    case "$URL" in
    http://* | https://*)
        iso=build/${URL##*/}
        if [ ! -e "$iso" ]; then
            curl -fL -o "$iso.part" "$URL"
            mv "$iso.part" "$iso"
        fi
        ;;
    *) iso=$URL ;;
    esac
    sh installer.sh --seed build "$iso" build/installer.iso
    (cd build && sha256sum installer.iso > installer.iso.sha256)
elif [ -d installer ] && [ ! -f installer.sh ]; then
    # What Debian's installer may fetch from Packer's web server: its answers, and the rest as an archive; never the key.
    rm -rf build/http build/tree
    mkdir -p build/http
    cp -R installer/initrd build/tree
    mkdir -p build/tree/skyvyos/seed
    cp user-data meta-data build/vendor-data build/tree/skyvyos/seed/
    cat build/tree/preseed.cfg > build/http/preseed.cfg
    cat >> build/http/preseed.cfg << 'END'

### What installer.sh would have added to the initrd
d-i preseed/early_command string preseed_fetch skyvyos.tar /tmp/skyvyos.tar && tar -x -C / -f /tmp/skyvyos.tar
END
    tar -c -C build/tree --owner=0 --group=0 -f build/http/skyvyos.tar skyvyos
    rm -rf build/tree
fi
