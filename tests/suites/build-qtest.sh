#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Build tests/qtest of the QEMU source package: the programs, in OUT/qtest/tests/qtest, and qemu-img for those
# that make disk images.  It needs Debian's libslirp-dev, libattr1-dev and libcap-ng-dev (user networking,
# virtio-9p); cdrom-test needs genisoimage.
#
#   usage: build-qtest.sh QEMU_SOURCE OUT

set -eu

source=$(cd "$1" && pwd)
mkdir -p "$2/qtest"
cd "$2/qtest"
export PATH=/usr/bin:/bin:$PATH

for package in libslirp-dev libattr1-dev libcap-ng-dev genisoimage; do
    dpkg-query -W -f '${db:Status-Status}\n' "$package" 2>/dev/null | grep -qx installed ||
        { echo "build-qtest: error: needs the package $package" >&2; exit 1; }
done

fail() { tail -n 20 "$1" >&2; echo "build-qtest: error: $2 (log: $PWD/$1)" >&2; exit 1; }

[ -f build.ninja ] ||
    "$source/configure" --target-list=x86_64-softmmu --without-default-features --enable-tcg --enable-kvm \
        --enable-slirp --enable-virtfs --enable-attr --enable-cap-ng --enable-tools --disable-install-blobs \
        --disable-docs --with-git-submodules=ignore >configure.out 2>&1 ||
    fail configure.out "QEMU's configure"
programs=$(sed -n 's,^build \(tests/qtest/[a-zA-Z0-9_-]*\):.*,\1,p' build.ninja)
ninja ${XBT_QTESTS:-$programs qemu-img} >ninja.out 2>&1 || fail ninja.out "ninja"
