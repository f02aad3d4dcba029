// SPDX-License-Identifier: GPL-2.0-or-later
/* Fibonacci by recursion: calls and returns. */
#include "bench.h"

__attribute__((noinline, noclone, optimize("no-optimize-sibling-calls")))
static unsigned fib(unsigned n)
{
    bench_barrier();
    return n < 2 ? n : fib(n - 1) + fib(n - 2);
}

static uint64_t bench_run(unsigned rounds)
{
    uint64_t sum = 0;

    while (rounds--) {
        sum = bench_mix(sum, fib(27 + (rounds & 1)));
    }
    return sum;
}

BENCH("fib", 80)
