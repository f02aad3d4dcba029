#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Make a Debian root file system for the guest, for virtio-blk: what
# `make bench` and the long guest tests run their real programs from.
#
#   usage: scripts/make-rootfs.sh [BUILD_DIR]        (default: build)
#
#   BUILD_DIR/guest/rootfs.img    ext4, to be used with snapshot=on
#   BUILD_DIR/guest/rootfs        the same as a tree: the native side of a
#                                 comparison runs the same binaries from it
#   BUILD_DIR/guest/rootfs-cache  the downloaded packages
#
# The packages are resolved by apt against an empty status file, from the
# machine's own archives, and unpacked; no maintainer script is run, nothing
# is installed and no root is needed.  A second run returns at once and needs
# no network.  XBT_ROOTFS_PACKAGES adds packages; XBT_ROOTFS_DIR names another
# folder than BUILD_DIR/guest, XBT_ROOTFS_ARCH another architecture than amd64
# (i386).

set -eu

top=$(cd "$(dirname "$0")/.." && pwd)
build=${1:-$top/build}
guest=${XBT_ROOTFS_DIR:-$build/guest}
arch=${XBT_ROOTFS_ARCH:-amd64}
packages="base-files libc-bin debianutils hostname busybox bash dash coreutils findutils diffutils grep sed mawk tar
          procps util-linux mount kmod file
          xz-utils gzip bzip2 zstd 7zip p7zip-full
          python3 perl sqlite3 openssl gcc libc6-dev make
          sysbench stress-ng ${XBT_ROOTFS_PACKAGES:-}"
image_mib=1024

say() { echo "make-rootfs: $*"; }
die() { echo "make-rootfs: error: $*" >&2; exit 1; }

PATH=/usr/bin:/bin:$PATH:/usr/sbin:/sbin
for tool in apt-get dpkg-deb mke2fs flock; do
    command -v $tool >/dev/null || die "$tool not found: this needs Debian" \
        "with apt, dpkg and e2fsprogs"
done

mkdir -p "$guest/rootfs-cache/archives/partial" \
    "$guest/rootfs-cache/none/partial"
guest=$(cd "$guest" && pwd)
cache=$guest/rootfs-cache
exec 9>"$guest/.rootfs-lock"
flock 9

id=$({ cat "$0"; echo "$packages $arch"; } | sha256sum | cut -c 1-16)
if [ -f "$guest/rootfs.img" ] && [ -d "$guest/rootfs" ] &&
   [ "$(cat "$guest/rootfs-id" 2>/dev/null)" = "$id" ]; then
    say "the root file system is up to date"
    exit 0
fi

# ---- packages --------------------------------------------------------------

: >"$cache/status"
private_lists=
[ "$arch" = amd64 ] || private_lists=yes
apt_get()
{
    if [ -n "$private_lists" ]; then
        mkdir -p "$cache/lists/partial"
        set -- -o Dir::State::Lists="$cache/lists" "$@"
    fi
    apt-get -q -y -o Dir::State::status="$cache/status" \
        -o Dir::Cache::Archives="$cache/archives" \
        -o Dir::Cache::pkgcache= -o Dir::Cache::srcpkgcache= \
        -o APT::Sandbox::User=root -o APT::Install-Recommends=false \
        -o APT::Architecture="$arch" -o APT::Architectures="$arch" \
        -o Debug::NoLocking=true -o Acquire::Languages=none \
        -o Acquire::Retries=3 "$@"
}

# The names of the files wanted go to $cache/wanted: what would be downloaded
# if nothing were there yet.
download()
{
    apt_get install --print-uris -o Dir::Cache::Archives="$cache/none" \
        $packages >"$cache/uris" || return 1
    sed -n "s/^'[^']*' \([^ ]*\.deb\) .*/\1/p" "$cache/uris" >"$cache/wanted"
    apt_get install --download-only $packages
}

update_lists()
{
    say "reading package lists ..."
    apt_get update >"$cache/update.log" 2>&1 || :
}

[ -z "$private_lists" ] || update_lists
say "resolving and downloading packages ..."
if ! download >"$cache/download.log" 2>&1; then
    private_lists=yes
    update_lists
    download >>"$cache/download.log" 2>&1 || {
        tail -n 5 "$cache/download.log" >&2
        die "cannot download the packages (log: $cache/download.log)"
    }
fi
rm -rf "$cache/lists"

# ---- the tree --------------------------------------------------------------

work=$guest/rootfs.new
rm -rf "$work"
mkdir -p "$work"
trap 'rm -rf "$work" "$guest/rootfs.img.new"' EXIT
trap 'exit 1' INT TERM HUP

# Merged /usr, as Debian has it, before anything is unpacked.
for dir in bin sbin lib lib32 lib64; do
    mkdir -p "$work/usr/$dir"
    ln -s "usr/$dir" "$work/$dir"
done

say "unpacking $(wc -l <"$cache/wanted") packages ..."
while read -r deb; do
    [ -f "$cache/archives/$deb" ] || die "$deb is missing from $cache/archives"
    dpkg-deb --fsys-tarfile "$cache/archives/$deb" |
        tar -x -C "$work" --keep-directory-symlink --no-same-owner \
            --exclude='./usr/share/doc/*' --exclude='./usr/share/man/*' \
            --exclude='./usr/share/locale/*' --exclude='./usr/share/info/*'
done <"$cache/wanted"

# What the maintainer scripts would have done, as far as it is wanted here.
mkdir -p "$work/proc" "$work/sys" "$work/dev" "$work/tmp" "$work/run" \
    "$work/root" "$work/mnt" "$work/etc"
chmod 1777 "$work/tmp"
[ -e "$work/bin/sh" ] || ln -s dash "$work/bin/sh"
[ -e "$work/usr/bin/awk" ] || ln -s mawk "$work/usr/bin/awk"
[ -e "$work/usr/bin/cc" ] || ln -s gcc "$work/usr/bin/cc"
echo 'root:x:0:0:root:/root:/bin/bash' >"$work/etc/passwd"
echo 'root:x:0:' >"$work/etc/group"
echo xbt-guest >"$work/etc/hostname"
rm -f "$work/sbin/init"
cat >"$work/sbin/init" <<'END'
#!/bin/sh
# The root file system's first process: a shell on the console.
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root TERM=linux
mountpoint -q /proc || mount -t proc proc /proc
mountpoint -q /sys || mount -t sysfs sysfs /sys
mountpoint -q /dev || mount -t devtmpfs dev /dev
mountpoint -q /tmp || mount -t tmpfs tmpfs /tmp
cd /root
setsid busybox cttyhack bash -l || bash -l
sync
busybox poweroff -f
END
chmod 755 "$work/sbin/init"

# Python without its .pyc files would measure its compiler.  Byte code can
# only be written by this very python; without root this takes a user
# namespace.
compile='python3 -m compileall -q -j 1 /usr/lib/python3.*'
{ chroot "$work" sh -c "$compile" || unshare -r chroot "$work" sh -c "$compile"
} >"$cache/compileall.log" 2>&1 ||
    say "warning: python's library is not byte-compiled"

# ---- the image -------------------------------------------------------------

say "writing the image ..."
rm -f "$guest/rootfs.img.new"
mke2fs -q -t ext4 -L xbt-root -m 0 -E root_owner=0:0,lazy_itable_init=0 \
    -O ^has_journal -d "$work" "$guest/rootfs.img.new" ${image_mib}M

rm -rf "$guest/rootfs"
mv "$work" "$guest/rootfs"
mv "$guest/rootfs.img.new" "$guest/rootfs.img"
echo "$id" >"$guest/rootfs-id"
say "$guest/rootfs.img ($(du -h "$guest/rootfs.img" | cut -f 1)), $guest/rootfs"
