#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Build tests/tcg of the QEMU source package: the programs for Linux become
# the suites qemu-i386 and qemu-x86_64, the bare-metal images go to
# qemu-system/ARCH.  QEMU's own make files compile them.
#
#   usage: build-qemu.sh QEMU_SOURCE OUT [quick]
#
# quick leaves out what takes long to compile or run, and test-i386, which
# needs a kernel with modify_ldt().

set -eu

source=$(cd "$1" && pwd)
mkdir -p "$2"
out=$(cd "$2" && pwd)
skip=
[ "${3:-}" != quick ] || skip="test-avx test-i386-fprem test-i386"

# gcc-multilib brings /usr/include/asm but conflicts with cross compilers;
# without it -m32 finds the header files so.
headers="-idirafter /usr/include/$(gcc -print-multiarch)"

# make_tests DIR TARGET FLAG: with QEMU's make files
make_tests()
{
    mkdir -p "$1"
    for name in $skip; do
        rm -f "$1/$name"
    done
    make -s -k ${skip:+$(printf ' -o %s' $skip)} -j2 -C "$1" -f "$source/tests/tcg/Makefile.target" V= \
        TARGET="$2" TARGET_NAME="${2%%-*}" SRC_PATH="$source" SPEED=slow \
        CC="gcc $3 $headers" CROSS_CC_HAS_I386_NOPIE=y EXTRA_CFLAGS=-no-pie \
        PYTHON=/usr/bin/python3 BUILD_STATIC=y all >"$1.log" 2>&1 || {
        tail -n 20 "$1.log" >&2
        echo "build-qemu: error: $2 does not build (log: $1.log)" >&2
        exit 1
    }
}

# make_list DIR: every program is a test; what it prints is its result.
make_list()
{
    rm -f "$1"/*.h "$1"/*.mak
    for file in "$1"/*; do
        [ -x "$file" ] || continue
        name=$(basename "$file")
        case $name in
        testthread) # two threads print in any order
            echo "$name 120 ./$name >out; s=\$?; sort out; exit \$s" ;;
        test-i386-fprem)
            echo "$name 900 ./$name" ;;
        *)
            echo "$name 120 ./$name" ;;
        esac
    done >"$1/list.new"
    mv "$1/list.new" "$1/list"
}

make_tests "$out/qemu-i386" i386-linux-user -m32
make_list "$out/qemu-i386"
make_tests "$out/qemu-x86_64" x86_64-linux-user -m64
make_list "$out/qemu-x86_64"
make_tests "$out/qemu-system/i386" i386-softmmu -m32
make_tests "$out/qemu-system/x86_64" x86_64-softmmu -m64
