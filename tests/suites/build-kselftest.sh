#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Build the kernel's selftests that concern the processor, from Debian's
# linux-source-6.1 package: the suites kselftest-x86 (tools/testing/
# selftests/x86, 64-bit and 32-bit) and kselftest (timers, signals, ptrace,
# breakpoints, seccomp, futex, rseq and the like).  They are meant for the
# guest; many want to be root and some set the clock.
#
#   usage: build-kselftest.sh LINUX_SOURCE_DEB OUT

set -eu

deb=$1
mkdir -p "$2"
out=$(cd "$2" && pwd)
src=$out/linux

if [ ! -d "$src/tools" ]; then
    rm -rf "$src.new"
    mkdir -p "$src.new"
    dpkg-deb --fsys-tarfile "$deb" |
        tar -xO --wildcards './usr/src/linux-source-*.tar.xz' |
        tar -xJ -C "$src.new" --strip-components=1 --wildcards \
            --no-wildcards-match-slash \
            'linux-source-*/tools' 'linux-source-*/arch/x86/include'
    mv "$src.new" "$src"
fi

tests=$src/tools/testing/selftests
folders="x86 breakpoints sigaltstack timers ptrace seccomp futex/functional
         membarrier rseq syscall_user_dispatch clone3 mincore vDSO timens
         kcmp prctl splice sync core perf_events"
for folder in $folders; do
    log=$out/linux-$(echo $folder | tr / -).log
    make -s -k -j2 -C "$tests/$folder" CAN_BUILD_I386=1 >"$log" 2>&1 ||
        echo "build-kselftest: not all of $folder builds (log: $log)" >&2
done
for name in map_populate mremap_dontunmap mlock2-tests \
            on-fault-limit madv_populate \
            userfaultfd transhuge-stress; do
    (cd "$tests/vm" &&
     gcc -O2 -w -no-pie -o $name $name.c vm_util.c -lrt -lpthread) >>"$out/linux-vm.log" 2>&1 ||
        echo "build-kselftest: vm/$name does not build (log: $out/linux-vm.log)" >&2
done

# put SUITE SECONDS FILE [ARGUMENTS]
put()
{
    dir=$out/$1 seconds=$2 file=$3
    shift 3
    [ -x "$tests/$file" ] || {
        echo "build-kselftest: $file was not built: left out" >&2
        return 0
    }
    name=$(echo "$file $*" | sed 's/ *$//; s/[ /]/-/g')
    mkdir -p "$dir/$(dirname "$file")"
    cp "$tests/$file" "$dir/$file"
    echo "$name $seconds cd $(dirname "$file") && ./$(basename "$file") $*" >>"$dir/list"
}

rm -rf "$out/kselftest-x86" "$out/kselftest"
for file in "$tests"/x86/*_32 "$tests"/x86/*_64; do
    # AMX is no feature of QEMU 7.2.
    case $file in */amx_64) continue ;; esac
    put kselftest-x86 120 "x86/$(basename "$file")"
done

for file in \
    breakpoints/breakpoint_test sigaltstack/sas \
    ptrace/get_syscall_info ptrace/peeksiginfo ptrace/vmaccess \
    seccomp/seccomp_bpf syscall_user_dispatch/sud_test \
    membarrier/membarrier_test_single_thread \
    membarrier/membarrier_test_multi_thread \
    rseq/basic_test rseq/basic_percpu_ops_test \
    clone3/clone3 clone3/clone3_clear_sighand mincore/mincore_selftest \
    vDSO/vdso_test_correctness vDSO/vdso_test_abi \
    vDSO/vdso_test_clock_getres vDSO/vdso_test_getcpu \
    vDSO/vdso_standalone_test_x86 vDSO/vdso_test_gettimeofday \
    timens/timens timens/clock_nanosleep timens/timer timens/timerfd \
    timens/exec timens/procfs timens/futex \
    kcmp/kcmp_test prctl/disable-tsc-test \
    prctl/disable-tsc-on-off-stress-test \
    prctl/disable-tsc-ctxt-sw-stress-test \
    core/close_range_test sync/sync_test \
    perf_events/sigtrap_threads perf_events/remove_on_exec \
    timers/posix_timers timers/nanosleep timers/nsleep-lat \
    timers/inconsistency-check timers/mqueue-lat timers/set-timer-lat \
    timers/raw_skew timers/threadtest timers/set-2038 timers/adjtick \
    timers/valid-adjtimex timers/set-tai timers/set-tz timers/leapcrash \
    vm/map_populate vm/mremap_dontunmap vm/mlock2-tests \
    vm/on-fault-limit vm/madv_populate; do
    case $file in
    rseq/basic_percpu_ops_test) seconds=900 ;; # 200 threads that spin
    *) seconds=180 ;;
    esac
    put kselftest $seconds "$file"
done
put kselftest 180 vm/userfaultfd anon 20 16
put kselftest 60 vm/transhuge-stress
for mode in s l b m i r; do
    put kselftest 180 rseq/param_test -T $mode -r 200 -t 4
done
for file in "$tests"/futex/functional/futex_*; do
    case $file in *.[cho]) continue ;; esac
    [ ! -x "$file" ] || put kselftest 60 "futex/functional/$(basename "$file")"
done
cp "$tests"/rseq/librseq.so "$out/kselftest/rseq/"
wc -l "$out/kselftest-x86/list" "$out/kselftest/list" | sed 's/^/build-kselftest: /'
