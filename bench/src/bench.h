/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What every workload has in common.  A workload defines BENCH_NAME and
 * bench_run(rounds), which does a fixed amount of work per round and returns
 * a checksum that depends on nothing but rounds.  The program prints
 *
 *     XBT-BENCH name nanoseconds checksum cpu-nanoseconds
 *
 * where the last is the processor's time, children included.
 *
 * usage: program [percent of the usual rounds]
 */
#ifndef BENCH_H
#define BENCH_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

static uint64_t bench_run(unsigned rounds);

static inline uint64_t bench_now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000ull + t.tv_nsec;
}

static inline uint64_t bench_cpu_of(int who)
{
    struct rusage u;

    getrusage(who, &u);
    return (u.ru_utime.tv_sec + u.ru_stime.tv_sec) * 1000000000ull +
           (u.ru_utime.tv_usec + u.ru_stime.tv_usec) * 1000ull;
}

static inline uint64_t bench_cpu(void)
{
    return bench_cpu_of(RUSAGE_SELF) + bench_cpu_of(RUSAGE_CHILDREN);
}

/* A generator that is the same everywhere (Marsaglia's xorshift64). */
static inline uint64_t bench_random(uint64_t *state)
{
    uint64_t x = *state;

    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    return *state = x;
}

static inline uint64_t bench_mix(uint64_t sum, uint64_t value)
{
    return (sum ^ value) * 0x9e3779b97f4a7c15ull + (sum >> 29);
}

static inline uint64_t bench_mix_double(uint64_t sum, double value)
{
    uint64_t bits;

    memcpy(&bits, &value, sizeof(bits));
    return bench_mix(sum, bits);
}

static inline void bench_need(int ok, const char *what)
{
    if (!ok) {
        perror(what);
        exit(2);
    }
}

/* Keeps the compiler from knowing what memory holds. */
#define bench_barrier() __asm__ volatile("" ::: "memory")

#define BENCH(name, usual_rounds)                                            \
    int main(int argc, char **argv)                                          \
    {                                                                        \
        unsigned percent = argc > 1 ? atoi(argv[1]) : 100;                   \
        unsigned rounds = (usual_rounds) * (uint64_t)percent / 100;          \
        uint64_t start, cpu, sum, end;                                       \
                                                                             \
        if (rounds == 0) {                                                   \
            rounds = 1;                                                      \
        }                                                                    \
        cpu = bench_cpu();                                                   \
        start = bench_now();                                                 \
        sum = bench_run(rounds);                                             \
        end = bench_now();                                                   \
        cpu = bench_cpu() - cpu;                                             \
        printf("XBT-BENCH %s %llu %016llx %llu\n", name,                     \
               (unsigned long long)(end - start), (unsigned long long)sum,   \
               (unsigned long long)cpu);                                     \
        return 0;                                                            \
    }

#endif
