#!/bin/sh
# Make in build/ what must not be in a bundle: a key for this build alone; if preseed.cfg is here, what the installer may
# fetch; if layer.sh is here, the layer to start from. Running it again makes only what is missing. Then: packer build .
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
if [ -f preseed.cfg ]; then
    # What Debian's installer may fetch: never the key.
    mkdir -p build/http
    cp preseed.cfg user-data meta-data build/vendor-data build/http/
fi
if [ -f layer.sh ] && [ ! -d build/layer ]; then
    sh layer.sh build/layer
fi
