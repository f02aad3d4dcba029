// SPDX-License-Identifier: GPL-2.0-or-later
/* long double: the x87 unit. */
#include "bench.h"

static uint64_t bench_run(unsigned rounds)
{
    volatile long double one = 1.0L;
    uint64_t sum = 0;

    while (rounds--) {
        long double s = 0, t = one / 3, u = one * rounds;

        for (unsigned i = 1; i < 5000; i++) {
            s += t / i + u * t;
            t = s - t * 0.5L;
            u = u * 0.875L - s / 64;
        }
        sum = bench_mix_double(sum, s);
    }
    return sum;
}

BENCH("x87", 250)
