// SPDX-License-Identifier: GPL-2.0-or-later
/* Sieve of Eratosthenes over bytes: simple loops, stores with a stride. */
#include "bench.h"

#define LIMIT (1 << 20)
static unsigned char composite[LIMIT];

static uint64_t bench_run(unsigned rounds)
{
    uint64_t sum = 0;

    while (rounds--) {
        memset(composite, 0, sizeof(composite));
        for (unsigned i = 2; i < LIMIT; i++) {
            if (!composite[i]) {
                sum = bench_mix(sum, i);
                for (unsigned k = i * 2; k < LIMIT; k += i) {
                    composite[k] = 1;
                }
            }
        }
    }
    return sum;
}

BENCH("sieve", 30)
