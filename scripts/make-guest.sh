#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Make the small Linux guest that `make boot` and the tests run: Debian's
# cloud kernel and an initramfs with busybox and a few modules.
#
#   usage: scripts/make-guest.sh [BUILD_DIR [FLAVOUR]]        (default: build)
#
#   BUILD_DIR/guest/vmlinuz       the kernel
#   BUILD_DIR/guest/initrd.img    the initramfs (scripts/guest/ says what it
#                                 does with xbt.selftest, xbt.poweroff)
#   BUILD_DIR/guest/cache         the downloaded package
#
# FLAVOUR is the end of a kernel package's name, linux-image-FLAVOUR: amd64,
# 686, 686-pae.  These guests have more modules and are made in
# BUILD_DIR/guest/FLAVOUR; those of Debian i386 have an i386 busybox.
#
# Nothing is installed and no root is needed.  A second run returns at once
# and needs no network; the initramfs is made again when scripts/guest/ or
# busybox has changed.

set -eu

top=$(cd "$(dirname "$0")/.." && pwd)
build=${1:-$top/build}
meta=linux-image-cloud-amd64
arch=amd64
modules="virtio_pci virtio_blk virtio_net virtio_console virtio_rng
         virtio_balloon virtio_mem virtio_scsi sd_mod sr_mod ata_piix ahci
         ext4 crc32c_generic isofs vfat nls_cp437 nls_ascii squashfs overlay loop
         9p 9pnet_virtio e1000 e1000e"
flavour=${2:-}
folder=
if [ -n "$flavour" ]; then
    folder=$build/guest/$flavour
    meta=linux-image-$flavour
    case $flavour in
    *amd64) arch=amd64 ;;
    *) arch=i386 ;;
    esac
    # Drivers of older and other devices, which the cloud kernel does not have.
    modules="$modules 8139cp 8139too ne2k-pci pcnet32 vmxnet3
         nvme sym53c8xx mptspi mptsas pata_legacy floppy sdhci-pci mmc_block
         ehci-pci uhci-hcd ohci-pci xhci-pci usb-storage uas usbhid hid-generic
         bochs cirrus virtio-gpu snd-hda-intel snd-hda-codec-generic snd-ens1370
         i6300esb virtio_input evdev psmouse
         aesni-intel crc32c-intel sha512-ssse3 raid6_pq xor test_bpf"
fi

say() { echo "make-guest: $*"; }
die() { echo "make-guest: error: $*" >&2; exit 1; }

PATH=$PATH:/usr/sbin:/sbin
for tool in cpio depmod modprobe dpkg-deb apt-get flock gzip; do
    command -v $tool >/dev/null ||
        die "$tool not found: run scripts/install-deps.sh"
done

guest=${folder:-$build/guest}
mkdir -p "$guest/cache"
guest=$(cd "$guest" && pwd)
cache=$guest/cache
exec 9>"$guest/.lock"
flock 9

# ---- the packages ----------------------------------------------------------

# apt with package lists of our own, for another architecture or when the
# machine's lists are missing or too old to download from.
private_lists=
[ "$arch" = amd64 ] || private_lists=yes
apt()
{
    tool=$1
    shift
    if [ -n "$private_lists" ]; then
        mkdir -p "$cache/apt/lists/partial" "$cache/apt/archives/partial"
        : >"$cache/status"
        "$tool" -q -o Dir::State::Lists="$cache/apt/lists" \
            -o Dir::Cache="$cache/apt" -o APT::Sandbox::User=root \
            -o Dir::State::status="$cache/status" \
            -o APT::Architecture="$arch" -o APT::Architectures="$arch" \
            -o Acquire::Languages=none -o Acquire::Retries=3 "$@"
    else
        "$tool" -q -o APT::Sandbox::User=root -o Acquire::Retries=3 "$@"
    fi
}

kernel_package()
{
    apt apt-cache depends --important "$meta" 2>/dev/null |
        sed -n 's/^ *Depends: *\(linux-image-[^ ]*\).*/\1/p' | head -n 1
}

download_kernel()
{
    package=$(kernel_package)
    [ -n "$package" ] || return 1
    say "downloading $package ..."
    (cd "$cache" && apt apt-get download "$package") \
        >"$cache/download.log" 2>&1
}

update_lists()
{
    say "reading package lists ..."
    apt apt-get update >"$cache/update.log" 2>&1 || :
}

kernel_deb() { ls -t "$cache"/linux-image-*.deb 2>/dev/null | head -n 1; }

deb=$(kernel_deb)
if [ -z "$deb" ]; then
    [ -z "$private_lists" ] || update_lists
    if ! download_kernel; then
        private_lists=yes
        update_lists
        download_kernel || {
            tail -n 5 "$cache/update.log" "$cache/download.log" >&2 || :
            die "cannot download the kernel that $meta depends on"
        }
    fi
    deb=$(kernel_deb)
    [ -n "$deb" ] || die "apt-get download left no kernel package in $cache"
fi

busybox=/bin/busybox
if [ "$arch" != amd64 ]; then
    busybox=$cache/busybox/bin/busybox
    if [ ! -x "$busybox" ]; then
        [ -d "$cache/apt" ] || update_lists
        (cd "$cache" && apt apt-get download busybox-static &&
         dpkg-deb -x busybox-static_*.deb busybox) >"$cache/busybox.log" 2>&1 ||
            die "cannot download busybox-static of $arch (log:" \
                "$cache/busybox.log)"
    fi
fi
rm -rf "$cache/apt"
[ -x "$busybox" ] || die "$busybox not found: run scripts/install-deps.sh"
if ldd "$busybox" >/dev/null 2>&1; then
    die "$busybox is not static: install busybox-static"
fi

# ---- is there anything to do? ----------------------------------------------

id=$(cat "$0" "$top"/scripts/guest/* "$busybox" | sha256sum | cut -c 1-16)
id="$id $(basename "$deb")"
if [ -f "$guest/vmlinuz" ] && [ -f "$guest/initrd.img" ] &&
   [ "$(cat "$guest/id" 2>/dev/null)" = "$id" ]; then
    say "the guest is up to date"
    exit 0
fi
say "making the guest from $(basename "$deb") ..."

work=$(mktemp -d "$guest/work.XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 1' INT TERM HUP

# ---- kernel and modules ----------------------------------------------------

mkdir -p "$work/kernel" "$work/root"
dpkg-deb --fsys-tarfile "$deb" |
    tar -x -C "$work/kernel" --exclude='./usr/share/*'
vmlinuz=$(ls "$work"/kernel/boot/vmlinuz-*)
release=${vmlinuz##*/vmlinuz-}
depmod -b "$work/kernel" "$release"

# modprobe names a module's files in the order they are loaded; what the
# kernel has built in or lacks is no file.
for module in $modules; do
    modprobe -d "$work/kernel" -S "$release" --show-depends "$module" \
        2>/dev/null | sed -n 's/^insmod \(.*\.ko\).*/\1/p' || :
done | sort -u >"$work/module-files"
root=$work/root
while read -r file; do
    path=${file#"$work/kernel"}
    mkdir -p "$root$(dirname "$path")"
    cp "$file" "$root$path"
done <"$work/module-files"
mkdir -p "$root/lib/modules/$release"
cp "$work/kernel/lib/modules/$release"/modules.order \
   "$work/kernel/lib/modules/$release"/modules.builtin* \
   "$root/lib/modules/$release"
depmod -b "$root" "$release"

# ---- the initramfs ---------------------------------------------------------

mkdir -p "$root/bin" "$root/selftest/expected"
cp "$busybox" "$root/bin/busybox"
cp "$top/scripts/guest/init" "$root/init"
chmod 755 "$root/init"
cp "$top/scripts/guest/cases" "$top/scripts/guest/run" "$root/selftest"

# What each case prints on this machine, with the same busybox and, as in the
# guest, nothing but its applets in PATH.
mkdir -p "$work/bin" "$work/scratch"
"$busybox" --install -s "$work/bin"
cat >"$work/native" <<'END'
. "$1/selftest/cases"
for name in $cases; do
    rm -rf "$dir"
    mkdir -p "$dir"
    case_$name >"$1/selftest/expected/$name" 2>&1
done
END
env -i PATH="$work/bin" dir="$work/scratch/dir" \
    "$busybox" sh "$work/native" "$root" ||
    die "the self-test's cases do not run natively"
for file in "$root"/selftest/expected/*; do
    [ -s "$file" ] || die "self-test case $(basename "$file") prints nothing"
    if grep -q -e 'not found' -e 'applet' "$file"; then
        die "self-test case $(basename "$file"): $(head -n 1 "$file")"
    fi
done

(cd "$root" && find . | sort | cpio -o -H newc -R 0:0 --quiet) |
    gzip -9n >"$guest/initrd.img.new"
cp "$vmlinuz" "$guest/vmlinuz.new"
chmod 644 "$guest/vmlinuz.new"
mv "$guest/initrd.img.new" "$guest/initrd.img"
mv "$guest/vmlinuz.new" "$guest/vmlinuz"
echo "$id" >"$guest/id"
say "$guest/vmlinuz ($release), $guest/initrd.img"
