// SPDX-License-Identifier: GPL-2.0-or-later
/* Five bodies under gravity: doubles with divisions and square roots. */
#include <math.h>

#include "bench.h"

#define BODIES 5
struct body {
    double at[3], speed[3], mass;
};

static struct body bodies[BODIES];

static void place(void)
{
    for (unsigned i = 0; i < BODIES; i++) {
        for (unsigned k = 0; k < 3; k++) {
            bodies[i].at[k] = (i * 5 + k * 3) % 7 * 1.25 - 3;
            bodies[i].speed[k] = (i * 3 + k) % 5 * 0.125 - 0.25;
        }
        bodies[i].mass = i ? 0.01 * i : 40;
    }
}

static void pull(struct body *a, struct body *b, double dt)
{
    double d[3], r2 = 0.01, f;

    for (unsigned k = 0; k < 3; k++) {
        d[k] = a->at[k] - b->at[k];
        r2 += d[k] * d[k];
    }
    f = dt / (r2 * sqrt(r2));
    for (unsigned k = 0; k < 3; k++) {
        a->speed[k] -= d[k] * b->mass * f;
        b->speed[k] += d[k] * a->mass * f;
    }
}

static uint64_t bench_run(unsigned rounds)
{
    uint64_t sum = 0;

    place();
    while (rounds--) {
        for (unsigned step = 0; step < 1000; step++) {
            for (unsigned i = 0; i < BODIES; i++) {
                for (unsigned j = i + 1; j < BODIES; j++) {
                    pull(&bodies[i], &bodies[j], 0.001);
                }
            }
            for (unsigned i = 0; i < BODIES; i++) {
                for (unsigned k = 0; k < 3; k++) {
                    bodies[i].at[k] += 0.001 * bodies[i].speed[k];
                }
            }
        }
        sum = bench_mix_double(sum, bodies[rounds % BODIES].at[rounds % 3]);
    }
    return sum;
}

BENCH("nbody", 250)
