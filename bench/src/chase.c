// SPDX-License-Identifier: GPL-2.0-or-later
/* Pointer chase through 8 MiB: every load misses caches and TLBs. */
#include "bench.h"

#define COUNT (1 << 20)
static uint32_t next[COUNT][2];

static void make_cycle(void)
{
    uint64_t seed = 31337;

    for (unsigned i = 0; i < COUNT; i++) {
        next[i][0] = i;
    }
    for (unsigned i = COUNT - 1; i > 0; i--) { /* Sattolo: one long cycle */
        unsigned k = bench_random(&seed) % i;
        uint32_t t = next[i][0];

        next[i][0] = next[k][0];
        next[k][0] = t;
    }
}

static uint64_t bench_run(unsigned rounds)
{
    uint64_t sum = 0;
    uint32_t at = 0;

    make_cycle();
    while (rounds--) {
        for (unsigned i = 0; i < 10000; i++) {
            at = next[at][0];
        }
        sum = bench_mix(sum, at);
    }
    return sum;
}

BENCH("chase", 200)
