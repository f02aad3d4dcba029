// SPDX-License-Identifier: GPL-2.0-or-later
/* mmap, touch of every page, munmap: page faults. */
#include <sys/mman.h>

#include "bench.h"

#define SIZE (4 << 20)

static uint64_t bench_run(unsigned rounds)
{
    uint64_t sum = 0;

    while (rounds--) {
        unsigned char *p = mmap(NULL, SIZE, PROT_READ | PROT_WRITE,
                                MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

        bench_need(p != MAP_FAILED, "mmap");
        madvise(p, SIZE, MADV_NOHUGEPAGE);
        for (unsigned i = 0; i < SIZE; i += 4096) {
            p[i] += i >> 12;
        }
        for (unsigned i = 0; i < SIZE; i += 4096 * 64) {
            sum = bench_mix(sum, p[i] + p[i + 1]);
        }
        munmap(p, SIZE);
    }
    return sum;
}

BENCH("faults", 60)
