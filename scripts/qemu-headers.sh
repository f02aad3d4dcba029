#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Obtain the headers of exactly the installed QEMU package.
#
# Debian has no development package for QEMU, so the headers come from the
# source package: download, unpack (with Debian's patches), configure, and
# let ninja write the generated headers.  Nothing of QEMU is compiled.
#
#   usage: scripts/qemu-headers.sh [BUILD_DIR]      (default: build)
#
#   BUILD_DIR/qemu/VERSION/src      the unpacked source package
#   BUILD_DIR/qemu/VERSION/build    the configured build directory
#   BUILD_DIR/qemu/VERSION/cflags   compiler flags, one a line
#   BUILD_DIR/qemu/VERSION/xbt-qemu.env
#                                   stamp and versions
#   BUILD_DIR/qemu/current          symlink to VERSION
#
# VERSION is the binary package's version with ':' replaced by '_'.  The
# system's apt configuration is read, never written.  A second run for the
# same package returns at once and needs no network.

set -eu

top=$(cd "$(dirname "$0")/.." && pwd)
build=${1:-$top/build}
package=${QEMU_PACKAGE:-qemu-system-x86}
qemu=${QEMU:-qemu-system-x86_64}

say() { echo "qemu-headers: $*"; }
die() { echo "qemu-headers: error: $*" >&2; exit 1; }
. "$top/scripts/deb-src.sh"

# Run a long step quietly; show its output only when it fails.
step()
{
    what=$1 log=$2
    shift 2
    say "$what ..."
    if ! "$@" >"$log" 2>&1; then
        tail -n 30 "$log" >&2
        die "$what failed (whole output: $log)"
    fi
}

command -v dpkg-query >/dev/null ||
    die "dpkg-query not found: this needs a Debian system"
qemu_path=$(command -v "$qemu") ||
    die "$qemu not found: install the package $package"

query() { dpkg-query -W -f "\${$1}" "$package" 2>/dev/null; }

binary_version=$(query Version) && [ -n "$binary_version" ] ||
    die "package $package is not installed"
source_package=$(query source:Package)
source_version=$(query source:Version)
pkgversion="Debian $binary_version"

# The stamp the binary itself asks a module to carry.
stamp_of_binary()
{
    grep -a -o 'qemu_stamp_[0-9a-f]\{40\}' "$qemu_path" | sort -u | head -n 1
}
want_stamp=$(stamp_of_binary)
[ -n "$want_stamp" ] ||
    die "$qemu_path carries no module stamp: it was built without modules"

mkdir -p "$build/qemu"
build=$(cd "$build" && pwd)
version_dir=$(echo "$binary_version" | tr ':/ ' '___')
qemu_root=$build/qemu
current=$version_dir
case $build in
*[[:space:]:]*)
    # QEMU's configure refuses such a path: keep the tree elsewhere.
    qemu_root=${XDG_CACHE_HOME:-$HOME/.cache}/xbt/qemu
    mkdir -p "$qemu_root"
    current=$qemu_root/$version_dir
    ;;
esac
dir=$qemu_root/$version_dir
env_file=$dir/xbt-qemu.env

# meson reads cflags: a switch between two packages must look like a change.
point_current()
{
    if [ "$(readlink "$build/qemu/current" || :)" != "$current" ]; then
        ln -sfn "$current" "$build/qemu/current"
        touch "$dir/cflags"
    fi
}

# What this script writes changes with the script.
script_id=$(cat "$0" "$top/scripts/deb-src.sh" | cksum | tr ' ' -)

if [ -f "$env_file" ] && grep -qx "stamp=$want_stamp" "$env_file" &&
   grep -qx "script=$script_id" "$env_file"; then
    point_current
    say "$package $binary_version: headers are up to date"
    exit 0
fi

for tool in apt-get dpkg-source ninja pkg-config cc flock; do
    command -v $tool >/dev/null ||
        die "$tool not found: run scripts/install-deps.sh"
done
mkdir -p "$dir"
exec 9>"$qemu_root/.lock"
flock 9

# ---- 1. the source package -------------------------------------------------

source_versions()
{
    private_apt apt-cache showsrc --only-source "$source_package" 2>/dev/null |
        sed -n 's/^Version: //p' | sort -u
}

download_source()
{
    write_source_lists "$dir/apt"
    # A third-party archive without sources is no reason to stop: what counts
    # is whether the wanted version can be had.
    say "reading the archives' source lists ..."
    private_apt apt-get update >"$dir/apt-update.log" 2>&1 || :
    if ! source_versions | grep -qxF "$source_version"; then
        grep -E '^(E|W|Err)' "$dir/apt-update.log" >&2 || :
        die "the archives have no source of $source_package" \
            "$source_version (wanted for $package $binary_version);" \
            "they have: $(source_versions | tr '\n' ' ')." \
            "Run 'apt-get update && apt-get install $package' to have" \
            "the binary follow the archive."
    fi
    mkdir -p "$dir/download"
    (cd "$dir/download" &&
     step "downloading source of $source_package $source_version" \
          "$dir/download.log" \
          private_apt apt-get source --download-only --only-source \
          "$source_package=$source_version")
}

# dpkg's own file name: the epoch is not in it.
dsc=$dir/download/${source_package}_$(echo "$source_version" |
    sed 's/^[0-9]*://').dsc

if [ ! -f "$dir/src/configure" ]; then
    [ -f "$dsc" ] || download_source
    [ -f "$dsc" ] || die "apt-get source did not leave $dsc"
    rm -rf "$dir/src" "$dir/src.new"
    step "unpacking $(basename "$dsc")" "$dir/unpack.log" \
        dpkg-source --no-check -x "$dsc" "$dir/src.new"
    mv "$dir/src.new" "$dir/src"
fi

# ---- 2. configure and generated headers ------------------------------------


configure_qemu()
{
    rm -rf "$dir/build"
    mkdir -p "$dir/build"
    (cd "$dir/build" && PATH=/usr/bin:/bin:$PATH \
     ../src/configure --target-list=x86_64-softmmu \
        --without-default-features --enable-modules --enable-plugins \
        --enable-tcg --enable-kvm --disable-install-blobs \
        --with-git-submodules=ignore --with-pkgversion="$pkgversion")
}

# ninja knows every header that a generator writes; those of tests and of
# other targets are not wanted.
generated_headers()
{
    ninja -C "$dir/build" -t targets all |
        sed -n 's/^\([^ :]*\.h\): .*/\1/p' |
        grep -v -e '^/' -e '^tests/' -e '^meson-' -e '^target/s390x/' | sort -u
}

generate_headers()
{
    generated_headers | (cd "$dir/build" && xargs ninja)
}

configured_stamp()
{
    sed -n 's/^#define CONFIG_STAMP _*\([0-9a-f]*\).*/qemu_stamp_\1/p' \
        "$dir/build/config-host.h"
}

if [ ! -f "$dir/build/xbt-generated" ] ||
   [ "$(configured_stamp)" != "$want_stamp" ]; then
    step "configuring QEMU ($pkgversion)" "$dir/configure.log" configure_qemu
    step "generating headers" "$dir/generate.log" generate_headers
    : >"$dir/build/xbt-generated"
fi

# ---- 3. the stamp, and what a compiler needs -------------------------------

have_stamp=$(configured_stamp)
[ "$have_stamp" = "$want_stamp" ] ||
    die "the configured source has $have_stamp but $qemu_path wants" \
        "$want_stamp: $qemu_path is not the binary of $package" \
        "$binary_version"

# What turns a plain C file into one that is compiled against this target.
cat >"$dir/xbt-qemu-target.h" <<END
/* Generated by scripts/qemu-headers.sh for $package $binary_version. */
#define NEED_CPU_H
#define COMPILING_PER_TARGET
#define CONFIG_TARGET "x86_64-softmmu-config-target.h"
#define CONFIG_DEVICES "x86_64-softmmu-config-devices.h"
#define XBT_QEMU_STAMP $want_stamp
#define XBT_QEMU_STAMP_STRING "$want_stamp"
#define XBT_QEMU_VERSION "$(cat "$dir/src/VERSION")"
#define XBT_QEMU_PKGVERSION "$pkgversion"
END

# One flag a line, for a response file (cc @cflags) and for meson.
cat >"$dir/cflags" <<END
-include
$dir/xbt-qemu-target.h
-iquote$dir/src
-iquote$dir/src/include
-isystem$dir/src/linux-headers
-isystem$dir/build/linux-headers
-I$dir/build
-I$dir/build/qapi
-I$dir/build/trace
-I$dir/build/ui
-I$dir/src/target/i386
-D_GNU_SOURCE=
-D_FILE_OFFSET_BITS=64
-mcx16
-fno-strict-aliasing
-fno-common
-fwrapv
-Wno-unused-parameter
-Wno-sign-compare
-Wno-missing-field-initializers
-Wno-shift-negative-value
-Wno-psabi
END

cat >"$dir/probe.c" <<END
#include "qemu/osdep.h"
#include "cpu.h"
#include "qemu/accel.h"
#include "exec/memory.h"
#include "hw/core/accel-cpu.h"
unsigned long xbt_sizeof_x86_cpu(void);
unsigned long xbt_sizeof_x86_cpu(void) { return sizeof(X86CPU); }
END
step "compiling a probe against the headers" "$dir/probe.log" \
    sh -c 'cc -std=gnu11 -O2 -fPIC -Wall -Wextra -Werror "@$1/cflags" \
           $(pkg-config --cflags glib-2.0) -c "$1/probe.c" -o "$1/probe.o"' \
    sh "$dir"

cat >"$qemu_root/HOWTO.txt" <<END
Headers of the installed QEMU package: how to compile against them.

  current/src, current/build   source and configured build directory
  current/cflags               response file with every flag that is needed
  current/xbt-qemu-target.h    force-included by cflags: NEED_CPU_H,
                               CONFIG_TARGET, CONFIG_DEVICES, XBT_QEMU_STAMP,
                               XBT_QEMU_STAMP_STRING, XBT_QEMU_PKGVERSION
  current/xbt-qemu.env         stamp and versions, KEY=VALUE

A target-specific file compiles with

  cc -std=gnu11 -O2 -fPIC -Wall -Wextra -Werror @build/qemu/current/cflags \\
     \$(pkg-config --cflags glib-2.0) -c file.c

"qemu/osdep.h" comes first, then "cpu.h" (target/i386).  In meson the flags
are the variable qemu_cflags.  ui/console.h also needs pixman-1.
END

cat >"$env_file.new" <<END
stamp=$want_stamp
script=$script_id
package=$package
binary_version=$binary_version
source_version=$source_version
qemu_version=$(cat "$dir/src/VERSION")
END
mv "$env_file.new" "$env_file"
rm -rf "$dir/apt" "$dir"/*.orig.tar.*
point_current
say "headers of $package $binary_version are ready ($want_stamp)"
