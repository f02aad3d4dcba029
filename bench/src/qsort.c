// SPDX-License-Identifier: GPL-2.0-or-later
/* The C library's qsort: calls through a pointer, data-dependent branches. */
#include "bench.h"

#define COUNT 50000
static uint64_t items[COUNT];

static int compare(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return (x > y) - (x < y);
}

static uint64_t bench_run(unsigned rounds)
{
    uint64_t sum = 0, seed = 88172645463325252ull;

    while (rounds--) {
        for (unsigned i = 0; i < COUNT; i++) {
            items[i] = bench_random(&seed);
        }
        qsort(items, COUNT, sizeof(items[0]), compare);
        for (unsigned i = 0; i < COUNT; i += 97) {
            sum = bench_mix(sum, items[i]);
        }
    }
    return sum;
}

BENCH("qsort", 25)
