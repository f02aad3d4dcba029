#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Build the engine and its tests with ASan and UBSan in a folder of their own and run them.  Not the fuzzer: its native
# side would find ASan's shadow memory where the guest finds nothing.
#
#   usage: scripts/check-sanitize.sh BUILD_DIR
#
#   SUITES=   which (default: unit insn smc hostile)

set -eu

dir=$1/sanitize
export ASAN_OPTIONS=detect_leaks=0:use_sigaltstack=0:abort_on_error=1 UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1

[ -e "$dir/build.ninja" ] || meson setup -Db_sanitize=address,undefined -Dmodule=false "$dir"
set --
for s in ${SUITES:-unit insn smc hostile}; do
    set -- "$@" --suite "$s"
done
exec "$(dirname "$0")/check.sh" "$dir" "$@" --timeout-multiplier 10
