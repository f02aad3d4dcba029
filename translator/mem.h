/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * mem.h - copying and clearing without vector registers.
 * Engine code that runs while the guest's FP state is in the host's registers must not call libc's memcpy/memset.
 */
#ifndef XBT_MEM_H
#define XBT_MEM_H
#include <stddef.h>
#include <stdint.h>

/* Guest data and immediates of any alignment; one host access each. */
typedef uint16_t __attribute__((aligned(1), may_alias)) any16;
typedef uint32_t __attribute__((aligned(1), may_alias)) any32;
typedef uint64_t __attribute__((aligned(1), may_alias)) any64;

static inline void xbt_copy(void *dst, const void *src, size_t n)
{
    __asm__ volatile("rep movsb" : "+D"(dst), "+S"(src), "+c"(n) : : "memory");
}
/* n: a multiple of 8, not much more than a hundred as a rule. */
static inline void xbt_zero_words(void *dst, size_t n)
{
    volatile any64 *p = dst, *end = p + n / 8;                  /* volatile: no call of memset() */

    while (p < end) {
        *p++ = 0;
    }
}
static inline void xbt_zero(void *dst, size_t n)
{
    if (__builtin_constant_p(n) && n % 8 == 0 && n <= 256) {    /* REP STOS takes long to start */
        volatile any64 *p = dst;                               /* volatile: no call of memset() */

#pragma GCC unroll 32
        for (size_t i = 0; i < n / 8; i++) {
            p[i] = 0;
        }
        return;
    }
    __asm__ volatile("rep stosb" : "+D"(dst), "+c"(n) : "a"(0) : "memory");
}
#endif
