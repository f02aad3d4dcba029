// SPDX-License-Identifier: GPL-2.0-or-later
/* Calls through a table of functions, in an order that looks random. */
#include "bench.h"

typedef uint64_t step(uint64_t);

#define STEP(n, expression)                                                  \
    __attribute__((noinline)) static uint64_t step##n(uint64_t x)            \
    {                                                                        \
        return expression;                                                   \
    }
STEP(0, x + 0x1234567)
STEP(1, x ^ x >> 9)
STEP(2, x * 5)
STEP(3, x - (x << 3))
STEP(4, ~x)
STEP(5, x << 11 | x >> 53)
STEP(6, x + (x >> 31))
STEP(7, x ^ 0x55aa55aa55aaull)

static step *volatile steps[] = {
    step0, step1, step2, step3, step4, step5, step6, step7,
};

static uint64_t bench_run(unsigned rounds)
{
    uint64_t x = 1, seed = 99;

    while (rounds--) {
        for (unsigned i = 0; i < 10000; i++) {
            x = steps[bench_random(&seed) & 7](x);
        }
    }
    return x;
}

BENCH("indirect", 1500)
