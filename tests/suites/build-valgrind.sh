#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Build the instruction tests of Debian's valgrind source package
# (none/tests/amd64, none/tests/x86 and their -linux siblings), as the suites
# valgrind-amd64 and valgrind-x86.  Valgrind itself is not used: the programs
# print what the instructions did.
#
#   usage: build-valgrind.sh VALGRIND_SOURCE OUT

set -eu

source=$(cd "$1" && pwd)
mkdir -p "$2"
out=$(cd "$2" && pwd)
vector="-msse4.2 -maes -mpclmul -mavx2 -mfma -mbmi -mbmi2 -mlzcnt -mf16c -mmovbe -mrdrnd -mrdseed"
log=$out/valgrind.log
: >"$log"

# Not of the processor: what leaves the outcome open.
#   looper, allexec: run for ever, run another program
skipped="looper allexec tls rdrand rdseed bug514_memcpy faultstatus"

compile()
{
    gcc $flag -O -g -w -fno-pie -no-pie -fno-stack-protector -static "$@" -I"$source" -I"$source/include" \
        -I"$dir" -o "$suite/$name" "$c" -lm -lpthread >>"$log" 2>&1
}

# build SUITE FLAG FOLDER...: every program that has a .vgtest file
build()
{
    suite=$out/$1 flag=$2
    rm -rf "$suite"
    mkdir -p "$suite"
    shift 2
    for folder; do
        dir=$source/none/tests/$folder
        for test in "$dir"/*.vgtest; do
            name=$(basename "$test" .vgtest)
            case " $skipped " in *" $name "*) continue ;; esac
            c=$dir/$name.c
            if [ -f "$dir/$name.def" ]; then
                c=$suite/$name.c
                perl "$dir/gen_insn_test.pl" <"$dir/$name.def" >"$c"
            fi
            [ -f "$c" ] || continue
            compile || compile $vector || {
                echo "build-valgrind: $folder/$name does not build (log: $log)" >&2
                continue
            }
            args=$(sed -n 's/^args: //p' "$test")
            echo "$name 120 ./$name $args" >>"$suite/list"
        done
    done
    rm -f "$suite"/*.c
    echo "build-valgrind: $(wc -l <"$suite/list") programs in $suite"
}

build valgrind-amd64 -m64 amd64 amd64-linux
build valgrind-x86 -m32 x86 x86-linux
