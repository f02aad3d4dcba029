/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * 2000 different functions of some forty instructions each, in a section of their own ("once").  They are
 * leaves and refer to nothing by address, so a copy of the section runs anywhere.
 */
#ifndef GROWTH_CODE_H
#define GROWTH_CODE_H

#include "../bench.h"

#define N_FUNCTIONS 2000
#define TABLE 64

typedef uint64_t (*code_function)(uint64_t, uint64_t *);

#define FUNCTION(n)                                                                            \
    static __attribute__((noinline, section("once"))) uint64_t f##n(uint64_t x, uint64_t *t)   \
    {                                                                                          \
        x += 1##n##ull * 0x9e3779b97f4a7c15ull;                                                \
        x ^= x >> (1##n % 29 + 3);                                                             \
        t[x % TABLE] += x;                                                                     \
        if (x & (1u << (1##n % 13))) {                                                         \
            x += t[1##n % TABLE] + 1##n;                                                       \
        } else {                                                                               \
            x ^= (x << 5) - t[(1##n / 7) % TABLE];                                             \
        }                                                                                      \
        x = x << (1##n % 31 + 1) | x >> (63 - 1##n % 31);                                      \
        if ((x & 255) > 1##n % 251) {                                                          \
            t[(1##n / 3) % TABLE] = x;                                                         \
            x -= 1##n % 17;                                                                    \
        }                                                                                      \
        x *= 1##n * 2ull + 1;                                                                  \
        t[(x >> 32) % TABLE] ^= x >> 11;                                                       \
        return x ^ t[(1##n / 11) % TABLE];                                                     \
    }
#define TEN(F, n) F(n##0) F(n##1) F(n##2) F(n##3) F(n##4) F(n##5) F(n##6) F(n##7) F(n##8) F(n##9)
#define HUNDRED(F, n) \
    TEN(F, n##0) TEN(F, n##1) TEN(F, n##2) TEN(F, n##3) TEN(F, n##4) \
    TEN(F, n##5) TEN(F, n##6) TEN(F, n##7) TEN(F, n##8) TEN(F, n##9)
#define THOUSAND(F, n) \
    HUNDRED(F, n##0) HUNDRED(F, n##1) HUNDRED(F, n##2) HUNDRED(F, n##3) HUNDRED(F, n##4) \
    HUNDRED(F, n##5) HUNDRED(F, n##6) HUNDRED(F, n##7) HUNDRED(F, n##8) HUNDRED(F, n##9)

THOUSAND(FUNCTION, 0)
THOUSAND(FUNCTION, 1)

#define ENTRY(n) f##n,
static const code_function functions[N_FUNCTIONS] = {
    THOUSAND(ENTRY, 0) THOUSAND(ENTRY, 1)
};

#endif
