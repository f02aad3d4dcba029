#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Random programs under the engine and on the bare host, until stopped or until one differs.  A difference is shrunk
# and written to tests/fuzz/regress/, which `make check` replays.
#
#   usage: scripts/fuzz.sh MESON_BUILD_DIR
#
#   SEED=     of the first round (default: the clock); each round and machine has its own
#   COUNT=    programs per round and machine (default 20000); with it the script ends after one round
#   MODE=     64, compat, 32 or 16 (default: all)
#   MACHINE=  a way to run the engine, see tests/insn/machine.c (default: each in turn)

set -eu

dir=$1
seed=${SEED:-$(date +%s)}
machines=${MACHINE:-default tagged no-opt no-chain no-jump-cache tiny one-insn no-bmi2 wx flush}

while :; do
    for m in $machines; do
        "$dir/tests/fuzz/fuzz" --machine "$m" --seed "$seed" --count "${COUNT:-20000}" --mode "${MODE:-all}" \
            --save tests/fuzz/regress
        seed=$((seed + 1))
    done
    [ -z "${COUNT:-}" ] || break
done
