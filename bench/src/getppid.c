// SPDX-License-Identifier: GPL-2.0-or-later
/* The cheapest system call. */
#include <sys/syscall.h>
#include <unistd.h>

#include "bench.h"

static uint64_t bench_run(unsigned rounds)
{
    uint64_t sum = 0;
    long parent = syscall(SYS_getppid);

    while (rounds--) {
        sum = bench_mix(sum, syscall(SYS_getppid) == parent);
    }
    return sum;
}

BENCH("getppid", 1500000)
