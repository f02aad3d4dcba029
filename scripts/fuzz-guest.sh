#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Hostile guests until stopped or until one does harm: the engine alone under ASan and UBSan (tests/hostile/hostile.c),
# in turn with stock QEMU (tests/hostile/hostile_qemu.py).
#
#   usage: scripts/fuzz-guest.sh BUILD_DIR
#
#   SEED=     number of the first guest (default: the clock)
#   COUNT=    rounds per machine; with it the script ends after one pass (default 5000, no end)

set -eu

build=$1
seed=${SEED:-$(date +%s)}
count=${COUNT:-5000}
here=$(cd "$(dirname "$0")/.." && pwd)
export ASAN_OPTIONS=detect_leaks=0:use_sigaltstack=0 UBSAN_OPTIONS=print_stacktrace=1
export XBT_LAUNCHER=$here/$build/meson/loader/qemu-xbt XBT_BUILD=$here/$build

ninja -C "$build/meson" tests/hostile/hostile >/dev/null
while :; do
    for m in default tagged tiny no-opt one-insn no-chain no-jump-cache no-bmi2 wx flush; do
        "$build/meson/tests/hostile/hostile" --machine "$m" --first "$seed" --rounds "$count"
        seed=$((seed + count))
    done
    python3 "$here/tests/hostile/hostile_qemu.py" --first "$seed" --count 28 --seconds 5
    [ -z "${COUNT:-}" ] || break
done
