#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Build the programs of gcc's own test suite that run instruction set
# extensions (gcc.target/i386, "dg-do run": SSE to AVX2, AES, PCLMUL, FMA, F16C,
# BMI, ADX, SHA), from Debian's gcc-12 source package, as the suite gcc.  Each
# compares the processor with plain C and aborts when they differ.
#
#   usage: build-gcc.sh GCC_SOURCE_DIR OUT
#
# GCC_SOURCE_DIR has the package's gcc-12_*.orig.tar.gz.

set -eu

tarball=$(ls "$1"/gcc-12_*.orig.tar.gz)
mkdir -p "$2"
out=$(cd "$2" && pwd)
tests=$out/gcc-source

if [ ! -d "$tests" ]; then
    rm -rf "$tests.new"
    mkdir -p "$tests.new"
    inner=$(tar -tzf "$tarball" | grep '/gcc-12[^/]*\.tar\.xz$')
    tar -xzOf "$tarball" "$inner" |
        tar -xJ -C "$tests.new" --strip-components=5 --wildcards \
            'gcc-*/gcc/testsuite/gcc.target/i386'
    mv "$tests.new" "$tests"
fi

# compile FILE: with the options the file asks for
cat >"$out/gcc-compile" <<'END'
source=$1 suite=$2
name=$(basename "$source" .c)
options=$(sed -n 's/.*{ *dg-options *"\([^"]*\)".*/\1/p' "$source" | head -n 1)
gcc $options -w -o "$suite/$name" "$source" -lm >/dev/null 2>&1 ||
    echo "$name"
END

suite=$out/gcc
rm -rf "$suite"
mkdir -p "$suite"
cd "$tests"
# Of the others QEMU 7.2 has no CPU, or they are for 32-bit code.
grep -lE 'dg-do run' sse*.c avx-*.c avx2-*.c mmx-*.c aes*.c pclmul*.c fma-*.c f16c*.c bmi*.c \
    adx*.c lzcnt*.c popcnt*.c sha*.c ssse3*.c tbm*.c movbe*.c crc32*.c 2>/dev/null |
    grep -vE '^(sse5|tbm|fma4)' | xargs -P 2 -I{} sh "$out/gcc-compile" "$tests/{}" "$suite" \
    >"$out/gcc.not-built"
for file in "$suite"/*; do
    name=$(basename "$file")
    echo "$name 60 ./$name"
done >"$suite/list.new"
mv "$suite/list.new" "$suite/list"
echo "build-gcc: $(wc -l <"$suite/list") programs, $(wc -l <"$out/gcc.not-built") not built"
