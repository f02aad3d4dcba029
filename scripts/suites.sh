#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Others' test suites under xbt, and under TCG for comparison: fetch their
# sources from Debian, build them, run them natively and in the guests, print a
# table (docs/suites.md explains it).
#
#   usage: scripts/suites.sh BUILD_DIR [SUITE...]    (default: all)
#
#   qemu       QEMU's tests/tcg: Linux programs and bare-metal images
#   kselftest  the kernel's selftests: x86, timers, signals, ptrace, ...
#   valgrind   valgrind's instruction tests
#   gcc        gcc's run-time tests of SSE to AVX2, BMI, FMA, AES ...
#   qtest      QEMU's qtests of the CPU, the machine and migration
#   i686       QEMU's and valgrind's 32-bit programs, and Debian's own, in a
#              guest with a 32-bit kernel and root file system
#
# ACCEL is what is run: default xbt/tcg.  Downloads (about 400 MiB) and builds
# go to BUILD_DIR/suites; nothing of them is ever committed.

set -eu

top=$(cd "$(dirname "$0")/.." && pwd)
build=$(cd "${1:-$top/build}" && pwd)
[ $# -eq 0 ] || shift
accel=${ACCEL:-xbt/tcg}
suites=$build/suites
here=$top/tests/suites

say() { echo "suites: $*"; }
die() { echo "suites: error: $*" >&2; exit 1; }
. "$top/scripts/deb-src.sh"

mkdir -p "$suites/src"
status=0

update_lists()
{
    [ -z "${lists:-}" ] || return 0
    say "reading the archives' source lists ..."
    write_source_lists "$suites/src/apt"
    private_apt apt-get update >"$suites/src/update.log" 2>&1 || :
    lists=yes
}

# source_of PACKAGE: its files in $suites/src/PACKAGE
source_of()
{
    [ -z "$(ls "$suites/src/$1"/*.dsc 2>/dev/null)" ] || return 0
    update_lists
    say "downloading the source of $1 ..."
    mkdir -p "$suites/src/$1"
    (cd "$suites/src/$1" &&
     private_apt apt-get source --download-only --only-source "$1" \
         >"$suites/src/$1.log" 2>&1) ||
        die "cannot download the source of $1 (log: $suites/src/$1.log)"
}

# guest FLAVOUR ARCH PACKAGES: kernel, initramfs, root file system
guest()
{
    "$top/scripts/make-guest.sh" "$build" "$1"
    XBT_ROOTFS_DIR="$build/guest/$1" XBT_ROOTFS_ARCH="$2" XBT_ROOTFS_PACKAGES="$3" \
        "$top/scripts/make-rootfs.sh" "$build"
}

# The cloud kernel lacks modify_ldt() and more: Debian's general one.
guest_amd64() { guest amd64 amd64 "libc6-i386 lib32gcc-s1 libcap2 libcap-ng0"; }
guest_i386() { guest 686-pae i386 ""; }

# run FLAVOUR OPTIONS... SUITE...
run()
{
    flavour=$1
    shift
    XBT_BUILD="$build" /usr/bin/python3 "$here/run.py" --accel "$accel" \
        --guest "$build/guest/$flavour" "$@" || status=1
}

suite_qemu()
{
    say "building QEMU's tests/tcg ..."
    sh "$here/build-qemu.sh" "$build/qemu/current/src" "$suites"
    guest_amd64
    run amd64 "$suites/qemu-i386" "$suites/qemu-x86_64"
    XBT_BUILD="$build" /usr/bin/python3 "$here/bare_metal.py" --accel "$accel" \
        "$suites/qemu-system/i386" "$suites/qemu-system/x86_64" || status=1
}

suite_kselftest()
{
    deb=$(ls "$suites/src"/linux-source-6.1_*.deb 2>/dev/null | tail -n 1)
    if [ -z "$deb" ]; then
        say "downloading linux-source-6.1 ..."
        (cd "$suites/src" && apt-get -q -o APT::Sandbox::User=root download linux-source-6.1 \
             >"$suites/src/linux.log" 2>&1) ||
            die "cannot download linux-source-6.1 (log: $suites/src/linux.log)"
        deb=$(ls "$suites/src"/linux-source-6.1_*.deb | tail -n 1)
    fi
    say "building the kernel's selftests ..."
    sh "$here/build-kselftest.sh" "$deb" "$suites"
    guest_amd64
    # They are for this kernel, not for the host's: no native run.
    run amd64 --no-native "$suites/kselftest-x86" "$suites/kselftest"
}

build_valgrind()
{
    source_of valgrind
    if [ ! -d "$suites/src/valgrind/tree" ]; then
        dpkg-source --no-check -x "$suites/src/valgrind"/*.dsc \
            "$suites/src/valgrind/tree" >"$suites/src/valgrind.log" 2>&1 ||
            die "cannot unpack valgrind (log: $suites/src/valgrind.log)"
    fi
    say "building valgrind's instruction tests ..."
    sh "$here/build-valgrind.sh" "$suites/src/valgrind/tree" "$suites"
}

suite_valgrind()
{
    build_valgrind
    guest_amd64
    run amd64 "$suites/valgrind-amd64" "$suites/valgrind-x86"
}

suite_gcc()
{
    source_of gcc-12
    say "building gcc's tests ..."
    sh "$here/build-gcc.sh" "$suites/src/gcc-12" "$suites"
    guest_amd64
    run amd64 "$suites/gcc"
}

suite_i686()
{
    [ -d "$suites/qemu-i386" ] ||
        sh "$here/build-qemu.sh" "$build/qemu/current/src" "$suites"
    [ -d "$suites/valgrind-x86" ] || build_valgrind
    guest_i386
    run 686-pae --out "$suites/out-i686" --no-native "$here/programs"
    run 686-pae --out "$suites/out-i686" "$suites/qemu-i386" "$suites/valgrind-x86"
}

suite_qtest()
{
    say "building QEMU's tests/qtest ..."
    sh "$here/build-qtest.sh" "$build/qemu/current/src" "$suites"
    XBT_LAUNCHER="$build/qemu-xbt" /usr/bin/python3 "$here/run_qtests.py" --accel "$accel" "$suites/qtest" || status=1
}

[ $# -gt 0 ] || set -- qemu valgrind gcc kselftest i686 qtest
for suite; do
    case $suite in
    qemu | kselftest | valgrind | gcc | i686 | qtest) suite_$suite ;;
    *) die "no suite '$suite' (qemu, kselftest, valgrind, gcc, i686, qtest)" ;;
    esac
done
exit $status
