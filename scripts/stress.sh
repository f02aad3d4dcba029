#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Several CPUs under load: the bare-metal tests of several CPUs, repeated longer and in more ways, then stress-ng with
# --verify in the Debian guest.  Ends with status 1 when anything was wrong.
#
#   usage: scripts/stress.sh BUILD_DIR
#
#   SCALE=    how much longer than in `make check` (default 10)
#   SECONDS_EACH=  of each stress-ng test (default 10)
#   SMP=      numbers of CPUs for stress-ng (default "2 4")
#   ONLY=     "images" or "linux"

set -eu

dir=$1
top=$(cd "$(dirname "$0")/.." && pwd)
export XBT_LAUNCHER="$dir/qemu-xbt" XBT_BUILD="$dir"
off=$(sed -n 's/^OPTIMISATION(\w*, *"\([a-z0-9-]*\)".*/,\1=off/p' "$top/translator/optimisations.inc" | tr -d '\n')
status=0

images()
{
    for name in smpinit64 smpapic64 smpatom64 smpcode64 smporder64 smptlb64; do
        echo "$name"
        XBT_TEST_SCALE=${SCALE:-10} /usr/bin/python3 "$top/tests/system/run.py" $name '' ,hostmap-heat=0 ,tlb=tagged \
            ,tb-size=1 ,flush-every=300 ,wx=on ,thread=single ,one-insn=on ,chain=off "$off" || status=1
    done
}

# The guest's side: what it tells is one line for each test.
guest_script()
{
    cat <<END
export TMPDIR=/tmp
cd /tmp
for s in "atomic 4" "mutex 4" "futex 4" "sem 4" "lockbus 2" "membarrier 2" "switch 4" "pipe 2" "yield 4" \\
         "mmap 4 --mmap-bytes 32m" "mprotect 2" "mremap 2 --mremap-bytes 16m" "tlb-shootdown 2" "fault 2" \\
         "vm 4 --vm-bytes 32m" "malloc 2" "brk 2" "fork 4" "vfork 2" "clone 2" "pthread 2" "exec 2" "icache 2" \\
         "cache 2" "sigsegv 2" "sigq 2" "misaligned 2" "memthrash 2"; do
    timeout $((10 * $1)) stress-ng --\$s --timeout $1s --verify -q >/tmp/out 2>&1
    echo "XBT-STRESS \$? \$s \$(grep -iE 'fail|error' /tmp/out | head -3)"
done
dmesg | grep -E 'stall|lockup|hung_task|BUG:|Oops:|WARNING: CPU|general protection' |
    sed 's/^/XBT-STRESS 1 kernel: /'
echo XBT-STRESS-END
END
}

linux()
{
    script=$(mktemp)
    guest_script "${SECONDS_EACH:-10}" >"$script"
    for smp in ${SMP:-2 4}; do
        for accel in xbt xbt,tb-size=4 xbt,tlb=tagged xbt,thread=single; do
            echo "stress-ng, -smp $smp -accel $accel"
            /usr/bin/python3 "$top/scripts/guest_run.py" --accel "$accel" --cpu max --memory 1024 --timeout 7200 \
                --root "$dir/guest/rootfs.img" --qemu-args "-smp $smp" "$script" >"$script.out" || status=1
            grep -q '^XBT-STRESS-END' "$script.out" || { status=1; echo "it did not end:"; tail -5 "$script.out"; }
            if grep '^XBT-STRESS [1-9]' "$script.out"; then
                status=1
            fi
        done
    done
    rm -f "$script" "$script.out"
}

case ${ONLY:-all} in images) images ;; linux) linux ;; *) images; linux ;; esac
[ $status = 0 ] && echo "nothing was wrong"
exit $status
