#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Boot the small guest: to a shell on the serial console when stdin is a
# terminal, else through its self-test to power-off.
#
#   usage: scripts/boot.sh [BUILD_DIR [ACCEL]]
#
# XBT_BOOT_ARGS adds arguments for QEMU, XBT_BOOT_TIMEOUT (seconds, default
# 300) limits the self-test.

set -eu

top=$(cd "$(dirname "$0")/.." && pwd)
build=${1:-$top/build}
accel=${2:-xbt}

run_guest()
{
    append=$1
    shift
    "$@" "$build/qemu-xbt" -accel "$accel" -m 512 -nographic -no-reboot \
        -kernel "$build/guest/vmlinuz" -initrd "$build/guest/initrd.img" \
        -append "console=ttyS0 panic=-1 $append" ${XBT_BOOT_ARGS:-}
}

if [ -t 0 ]; then
    echo "boot: Debian's kernel with -accel $accel; Ctrl-A x ends QEMU"
    run_guest quiet
    exit
fi

echo "boot: self-test of the guest with -accel $accel"
log=$build/guest/selftest-$accel.log
# The pipe would hide QEMU's exit status: the guest's last word decides.
{
    run_guest "quiet xbt.selftest" timeout "${XBT_BOOT_TIMEOUT:-300}" \
        </dev/null 2>&1 || echo "boot: QEMU ended with status $?"
} | tee "$log"

if grep -q '^XBT-SELFTEST: PASS' "$log" &&
   ! grep -q '^boot: QEMU ended' "$log"; then
    echo "boot: self-test passed, the guest has powered off"
else
    echo "boot: self-test FAILED with -accel $accel (output: $log)" >&2
    exit 1
fi
