// SPDX-License-Identifier: GPL-2.0-or-later
/* The Mandelbrot set: doubles, compare and branch. */
#include "bench.h"

static unsigned escape(double cr, double ci)
{
    double zr = 0, zi = 0;
    unsigned n = 0;

    while (n < 200 && zr * zr + zi * zi < 4) {
        double t = zr * zr - zi * zi + cr;

        zi = 2 * zr * zi + ci;
        zr = t;
        n++;
    }
    return n;
}

static uint64_t bench_run(unsigned rounds)
{
    uint64_t sum = 0;

    while (rounds--) {
        for (unsigned y = 0; y < 64; y++) {
            for (unsigned x = 0; x < 64; x++) {
                sum = bench_mix(sum, escape(x / 24.0 - 2 + rounds / 1024.0,
                                            y / 24.0 - 1.25));
            }
        }
    }
    return sum;
}

BENCH("mandelbrot", 60)
