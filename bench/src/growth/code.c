// SPDX-License-Identifier: GPL-2.0-or-later
/* The same number of calls, spread over SCALE * 200 functions. */
#include "code.h"

static uint64_t bench_run(unsigned rounds)
{
    static uint64_t table[TABLE];
    uint64_t sum = 0, state = 88172645463325252ull;

    while (rounds--) {
        sum = functions[(bench_random(&state) >> 20) % (SCALE * (N_FUNCTIONS / 10))](sum, table);
    }
    return sum;
}

BENCH(NAME, 1500000)
