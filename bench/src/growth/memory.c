// SPDX-License-Identifier: GPL-2.0-or-later
/* The same number of records of a page each are changed, chosen out of SCALE * 4 MiB. */
#include "../bench.h"

#define WORDS 512
#define RECORDS (SCALE * 1024)

static uint64_t (*records)[WORDS];

static uint64_t bench_run(unsigned rounds)
{
    uint64_t sum = 1, state = 424242;

    records = calloc(RECORDS, sizeof(*records));
    bench_need(records != NULL, "calloc");
    while (rounds--) {
        uint64_t *r = records[(bench_random(&state) >> 16) % RECORDS];

        for (unsigned i = 0; i < WORDS; i += 4) {
            r[i] += sum ^ r[i + 1];
            sum += r[i] >> 3;
        }
    }
    return sum;
}

BENCH(NAME, 300000)
