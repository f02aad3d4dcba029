// SPDX-License-Identifier: GPL-2.0-or-later
/* The C library's memcpy, strlen and memset on blocks of all sizes. */
#include "bench.h"

#define SIZE (1 << 16)
static char from[SIZE], to[SIZE + 64];

static uint64_t bench_run(unsigned rounds)
{
    uint64_t sum = 0, seed = 777;

    while (rounds--) {
        for (unsigned i = 0; i < 200; i++) {
            unsigned shift = bench_random(&seed) & 63;
            unsigned size = (bench_random(&seed) & 0x3fff) >> (i & 7);

            memset(from, 'a' + (i & 15), size + 1);
            from[size] = 0;
            bench_barrier();
            memcpy(to + shift, from, size + 1);
            bench_barrier();
            sum = bench_mix(sum, strlen(to + shift));
        }
    }
    return sum;
}

BENCH("memfunc", 1000)
