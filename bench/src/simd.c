// SPDX-License-Identifier: GPL-2.0-or-later
/* Four floats at a time: packed SSE arithmetic. */
#include "bench.h"

typedef float vec __attribute__((vector_size(16)));
#define COUNT 4096
static vec x[COUNT], y[COUNT];

static uint64_t bench_run(unsigned rounds)
{
    uint64_t sum = 0;
    vec half = { 0.5f, 0.5f, 0.5f, 0.5f };
    vec low = { 0.25f, 0.5f, 0.75f, 1.0f };

    for (unsigned i = 0; i < COUNT; i++) {
        x[i] = low * (float)(i % 17);
        y[i] = half + (float)(i % 5);
    }
    while (rounds--) {
        for (unsigned i = 0; i < COUNT; i++) {
            x[i] = (x[i] * half + y[i]) * low;
            y[i] = y[i] - x[i] * half + low;
        }
        sum = bench_mix_double(sum, x[rounds % COUNT][rounds & 3]);
        sum = bench_mix_double(sum, y[rounds % COUNT][~rounds & 3]);
    }
    return sum;
}

BENCH("simd", 4000)
