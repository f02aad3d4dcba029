/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * smp.h - several vCPUs: who may change what while the others run.
 *
 * Purpose:  a vCPU's TLB and jump caches belong to its thread; blocks and their links are everybody's.  Three things
 *           need the others' cooperation: taking a page out of their write tables before its bytes are translated,
 *           emptying the code cache, and LOCKed accesses that the host cannot do atomically (two pages, devices).
 * Phases:   what a vCPU's thread holds of the shared world.
 *             OUT     nothing: outside xbt_vcpu_run(), or at the top of its loop
 *             PAUSED  blocks, but no host address of guest memory: waiting for something, or in a callback of the host
 *             ACTIVE  everything
 *           A vCPU that becomes ACTIVE first does what others have asked it for, and waits while one has the machine for
 *           itself.
 * Locks:    none may be held by the callers, except where said; the BQL may be held by nobody who waits here.
 * Cost:     nothing of this happens in a machine that can have one vCPU only.
 */
#ifndef XBT_SMP_H
#define XBT_SMP_H

#include "tlb/tlb.h"

enum smp_phase { SMP_OUT, SMP_PAUSED, SMP_ACTIVE };

static inline bool smp_on(const struct xbt_vm *vm) { return vm->max_cpus > 1; }

/* The vCPU's thread.  rest: to a lower phase; returns the old one, which wake takes.  In a machine of one both do
 * nothing. */
unsigned smp_rest_slow(struct guest_cpu *c, unsigned phase);
void smp_wake_slow(struct guest_cpu *c, unsigned phase);
static inline unsigned smp_rest(struct guest_cpu *c, unsigned phase)
{
    return smp_on(c->vm) ? smp_rest_slow(c, phase) : SMP_ACTIVE;
}
static inline void smp_wake(struct guest_cpu *c, unsigned old)
{
    if (smp_on(c->vm)) {
        smp_wake_slow(c, old);
    }
}

/* XREQ_SYNC: at the top of the loop.  Blocks may be gone afterwards (c->flush_epoch tells). */
void smp_sync(struct guest_cpu *c);

/* Have the machine for oneself: returns when no other vCPU is above `phase`, and none will be until smp_release().
 * False: given up, because this vCPU is wanted outside or at the top of its loop: go there.  The caller holds no address
 * of guest memory; with OUT no block either. */
bool smp_seize(struct guest_cpu *c, unsigned phase);
void smp_release(struct guest_cpu *c);

/* Does this vCPU have it? */
static inline bool smp_owns(const struct guest_cpu *c)
{
    return (__atomic_load_n(&c->vm->smp_owner, __ATOMIC_RELAXED) & 0xffff) == c->index + 1;
}

/* tlb_unwrite_page() on every vCPU that may have the page in a write table; returns when none can store to it
 * unnoticed any more.  The caller holds no address of guest memory to store to. */
void smp_unwrite_page(struct guest_cpu *c, uint64_t ram_addr);

/* Is every vCPU outside of its loop?  Under the BQL, with nobody being started. */
bool smp_all_out(const struct xbt_vm *vm);

/*
 * Grace: links are two patches (tb-store/link.c), and a vCPU may be between the two branches.  A stamp is over when
 * every vCPU has been at the top of its loop, or out of it, since it was taken.
 */
uint32_t smp_stamp(struct xbt_vm *vm);
bool smp_over(const struct xbt_vm *vm, uint32_t stamp);
static inline void smp_at_top(struct guest_cpu *c)
{
    __atomic_store_n(&c->smp.seen, __atomic_load_n(&c->vm->smp_clock, __ATOMIC_ACQUIRE), __ATOMIC_RELEASE);
}

#endif
