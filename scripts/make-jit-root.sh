#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Make a second root file system for `bench/run jit`: that of make-rootfs.sh
# with node and OpenJDK, and bench/inputs/*.java compiled in /opt/xbt.
#
#   usage: scripts/make-jit-root.sh [BUILD_DIR]      (default: build)
#
#   BUILD_DIR/guest/jit/rootfs.img, BUILD_DIR/guest/jit/rootfs
#
# The Java machine's class archive is made as its package's maintainer script
# does; this needs root or user namespaces.  A second run returns at once.

set -eu

top=$(cd "$(dirname "$0")/.." && pwd)
build=${1:-$top/build}
jvm=/usr/lib/jvm/java-17-openjdk-amd64/bin

say() { echo "make-jit-root: $*"; }
die() { echo "make-jit-root: error: $*" >&2; exit 1; }

PATH=/usr/bin:/bin:$PATH:/usr/sbin:/sbin
mkdir -p "$build/guest/jit/rootfs-cache/archives"
jit=$(cd "$build/guest/jit" && pwd)
exec 8>"$jit/.lock"
flock 8

if [ -d "$build/guest/rootfs-cache/archives" ]; then
    cp -n "$build"/guest/rootfs-cache/archives/*.deb "$jit/rootfs-cache/archives" 2>/dev/null || :
fi
XBT_ROOTFS_DIR=$jit XBT_ROOTFS_PACKAGES="nodejs openjdk-17-jdk-headless" "$top/scripts/make-rootfs.sh" "$build"

id=$(cat "$0" "$jit/rootfs-id" "$top"/bench/inputs/*.java | sha256sum | cut -c 1-16)
if [ "$(cat "$jit/id" 2>/dev/null)" = "$id" ]; then
    say "the root file system is up to date"
    exit 0
fi
rm -f "$jit/id"
mkdir -p "$jit/rootfs/opt/xbt"
cp "$top"/bench/inputs/*.java "$jit/rootfs/opt/xbt"

namespace=
[ "$(id -u)" = 0 ] || namespace=-r
unshare -m --propagation private $namespace sh -c '
    set -e
    mount --rbind /proc "$1/proc"
    chroot "$1" "$2/java" -Xshare:dump
    chroot "$1" sh -c "cd /opt/xbt && $2/javac *.java"' sh "$jit/rootfs" "$jvm" >"$jit/java.log" 2>&1 ||
    die "cannot compile the Java programs (log: $jit/java.log)"

say "writing the image ..."
mke2fs -q -t ext4 -L xbt-jit -m 0 -E root_owner=0:0,lazy_itable_init=0 -O ^has_journal \
    -d "$jit/rootfs" "$jit/rootfs.img.new" 1200M
mv "$jit/rootfs.img.new" "$jit/rootfs.img"
echo "$id" >"$jit/id"
say "$jit/rootfs.img ($(du -h "$jit/rootfs.img" | cut -f 1)), $jit/rootfs"
