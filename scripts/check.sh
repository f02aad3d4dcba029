#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Run the whole test suite; the last line says how many tests passed and
# failed.
#
#   usage: scripts/check.sh MESON_BUILD_DIR [meson test arguments]

set -eu

dir=$1
shift
log=$dir/meson-logs/testlog.json
rm -f "$log"
status=0
meson test -C "$dir" --print-errorlogs "$@" || status=$?

/usr/bin/python3 - "$log" "$status" <<'END'
import json
import os
import sys

log, status = sys.argv[1], int(sys.argv[2])
results = []
if os.path.exists(log):
    with open(log, encoding='utf-8') as lines:
        results = [json.loads(line)['result'] for line in lines if line.strip()]
passed = sum(r in ('OK', 'EXPECTEDFAIL') for r in results)
skipped = results.count('SKIP')
failed = len(results) - passed - skipped
if skipped:
    print(f'{skipped} skipped')
print(f'{passed} passed, {failed} failed')
sys.exit(status or (1 if failed or not passed else 0))
END
