// SPDX-License-Identifier: GPL-2.0-or-later
/* CRC-32 by table: one dependent chain of loads and shifts. */
#include "bench.h"

#define SIZE (1 << 16)
static uint32_t table[256];
static unsigned char data[SIZE];

static void make_table(void)
{
    for (unsigned i = 0; i < 256; i++) {
        uint32_t c = i;

        for (unsigned k = 0; k < 8; k++) {
            c = c & 1 ? 0xedb88320u ^ (c >> 1) : c >> 1;
        }
        table[i] = c;
    }
}

static uint64_t bench_run(unsigned rounds)
{
    uint64_t seed = 4242, sum = 0;

    make_table();
    for (unsigned i = 0; i < SIZE; i++) {
        data[i] = bench_random(&seed);
    }
    while (rounds--) {
        uint32_t crc = ~0u;

        for (unsigned i = 0; i < SIZE; i++) {
            crc = table[(crc ^ data[i]) & 0xff] ^ (crc >> 8);
        }
        data[rounds % SIZE] ^= crc;
        sum = bench_mix(sum, ~crc);
    }
    return sum;
}

BENCH("crc32", 700)
