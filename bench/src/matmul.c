// SPDX-License-Identifier: GPL-2.0-or-later
/* Product of matrices of doubles: scalar SSE2. */
#include "bench.h"

#define N 96
static double a[N][N], b[N][N], c[N][N];

__attribute__((optimize("no-tree-vectorize")))
static void multiply(void)
{
    for (unsigned i = 0; i < N; i++) {
        for (unsigned j = 0; j < N; j++) {
            double s = 0;

            for (unsigned k = 0; k < N; k++) {
                s += a[i][k] * b[k][j];
            }
            c[i][j] = s;
        }
    }
}

static uint64_t bench_run(unsigned rounds)
{
    uint64_t sum = 0;

    for (unsigned i = 0; i < N; i++) {
        for (unsigned j = 0; j < N; j++) {
            a[i][j] = (i * 7 + j * 3) % 11 / 4.0 - 1;
            b[i][j] = (i + j * 5) % 13 / 8.0 - 0.5;
        }
    }
    while (rounds--) {
        multiply();
        a[rounds % N][0] += c[1][2] / 1024;
        sum = bench_mix_double(sum, c[rounds % N][N - 1]);
    }
    return sum;
}

BENCH("matmul", 60)
