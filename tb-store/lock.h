/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * lock.h - the engine's mutex.
 *
 * A three-state futex lock: 0 free, 1 held, 2 held and somebody may sleep.  Uncontended it is one
 * compare-and-swap and one exchange, and it never touches vector registers, so it may be taken while
 * the guest's FP state is in the host's. With XBT_CHECKS the order of lock_ranks.inc is checked per
 * thread; a violation aborts.
 */
#ifndef XBT_LOCK_H
#define XBT_LOCK_H

#include <linux/futex.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

enum xbt_rank {
#define RANK(id, name, text) RANK_##id,
#include "tb-store/lock_ranks.inc"
#undef RANK
    RANK_COUNT
};

struct xbt_lock {
    uint32_t v;
    uint32_t rank;
};

#ifdef XBT_CHECKS
#include <stdio.h>
/* Ranks held by this thread, one bit each.  Defined in region.c. */
extern __thread uint32_t xbt_ranks_held __attribute__((tls_model("initial-exec")));
#define XBT_ASSERT(cond) ((cond) ? (void)0 : xbt_assert_fail(#cond, __FILE__, __LINE__))
static inline void xbt_assert_fail(const char *cond, const char *file, int line)
{
    fprintf(stderr, "xbt: %s:%d: assertion failed: %s\n", file, line, cond);
    abort();
}
#else
#define XBT_ASSERT(cond) ((void)0)
#endif

static inline void xbt_lock_init(struct xbt_lock *l, enum xbt_rank rank)
{
    l->v = 0;
    l->rank = rank;
}

static inline void xbt_lock(struct xbt_lock *l)
{
    uint32_t free = 0;

#ifdef XBT_CHECKS
    XBT_ASSERT((xbt_ranks_held >> l->rank) == 0);
    xbt_ranks_held |= 1u << l->rank;
#endif
    for (int spin = 0; spin < 64; spin++) {
        if (__atomic_compare_exchange_n(&l->v, &free, 1, false, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED)) {
            return;
        }
        free = 0;
        __builtin_ia32_pause();
    }
    while (__atomic_exchange_n(&l->v, 2, __ATOMIC_ACQUIRE) != 0) {
        syscall(SYS_futex, &l->v, FUTEX_WAIT_PRIVATE, 2, NULL, NULL, 0);
    }
}

static inline void xbt_unlock(struct xbt_lock *l)
{
#ifdef XBT_CHECKS
    XBT_ASSERT(xbt_ranks_held & (1u << l->rank));
    xbt_ranks_held &= ~(1u << l->rank);
#endif
    if (__atomic_exchange_n(&l->v, 0, __ATOMIC_RELEASE) == 2) {
        syscall(SYS_futex, &l->v, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
    }
}

/* For functions that must be called with the lock held. */
static inline void xbt_assert_locked(const struct xbt_lock *l)
{
    (void)l;
#ifdef XBT_CHECKS
    XBT_ASSERT(xbt_ranks_held & (1u << l->rank));
#endif
}

#endif
