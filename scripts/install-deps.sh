#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Install the Debian packages that building, testing and the guest image
# need.  Only missing packages are installed; when none is missing nothing
# is run and no network is needed.  Without root it names the packages and
# fails.
#
#   usage: scripts/install-deps.sh [--list]

set -eu

# What is run, what compiles it, what QEMU's configure asks for, what the
# tests use, what the guest image is made with.
packages="
    qemu-system-x86 seabios
    gcc libc6-dev binutils make meson ninja-build pkg-config
    libglib2.0-dev libcapstone-dev
    dpkg-dev libpixman-1-dev libfdt-dev zlib1g-dev flex bison
    python3 nasm libc6-dev-i386 lib32gcc-12-dev e2fsprogs
    busybox-static cpio gzip xz-utils kmod
    ca-certificates
"

if [ "${1:-}" = --list ]; then
    echo $packages
    exit 0
fi

is_installed()
{
    dpkg-query -W -f '${db:Status-Status}\n' "$1" 2>/dev/null |
        grep -qx installed
}

command -v dpkg-query >/dev/null || {
    echo "install-deps: error: dpkg-query not found: this needs Debian" >&2
    exit 1
}

missing=
for package in $packages; do
    is_installed "$package" || missing="$missing $package"
done
[ -n "$missing" ] || exit 0

if [ "$(id -u)" -ne 0 ]; then
    echo "install-deps: error: packages are missing, as root run:" \
         "apt-get install$missing" >&2
    exit 1
fi

echo "install-deps: installing$missing"
export DEBIAN_FRONTEND=noninteractive
install()
{
    apt-get -q -y -o DPkg::Lock::Timeout=600 \
        install --no-install-recommends "$@"
}
# The package lists of a fresh machine are often missing or old: try with
# what is there only if they cannot be renewed.
apt-get -q -o DPkg::Lock::Timeout=600 update ||
    echo "install-deps: warning: apt-get update failed, going on" >&2
install $missing
