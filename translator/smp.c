/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * smp.c - phases of vCPUs, requests between them, and having the machine for oneself (smp.h).
 *
 * Every handshake is a pair of a store and a load on both sides with a full barrier between them: "I am ACTIVE" before
 * "has anybody asked me?", and "I ask" before "are you ACTIVE?".  At least one of the two sees the other.
 *
 * System calls only, no libc functions that might use vector registers: the guest's are live.
 */
#define _GNU_SOURCE
#include <linux/futex.h>
#include <sched.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "tb-store/stats.h"
#include "tb-store/tb.h"
#include "translator/smp.h"

#define SPINS 200u
#define YIELDS 50u
#define NAP_NS 50000

/* One turn of waiting for another thread, the longer the lazier. */
static void wait_turn(unsigned n)
{
    if (n < SPINS) {
        __builtin_ia32_pause();
    } else if (n < SPINS + YIELDS) {
        syscall(SYS_sched_yield);
    } else {
        struct timespec t = { 0, NAP_NS };
        syscall(SYS_nanosleep, &t, NULL);
    }
}

static inline unsigned phase_of(const struct guest_cpu *c) { return __atomic_load_n(&c->smp.phase, __ATOMIC_SEQ_CST); }

static inline struct guest_cpu *cpu_at(const struct xbt_vm *vm, unsigned i)
{
    return __atomic_load_n(&vm->cpus[i], __ATOMIC_ACQUIRE);
}

/* ---- pages to be taken out of write tables ---- */

static void shots_lock(struct guest_cpu *c)
{
    while (__atomic_exchange_n(&c->smp.lock, 1, __ATOMIC_ACQUIRE)) {
        syscall(SYS_sched_yield);
    }
}

static void shots_unlock(struct guest_cpu *c) { __atomic_store_n(&c->smp.lock, 0, __ATOMIC_RELEASE); }

/* Owner. */
static void drain(struct guest_cpu *c)
{
    uint64_t page[SMP_SHOTS];
    bool all;

    shots_lock(c);
    unsigned n = c->smp.n_shots;
    uint32_t posted = c->smp.posted;
    for (unsigned i = 0; i < n && i < SMP_SHOTS; i++) {
        page[i] = c->smp.shot[i];
    }
    all = n > SMP_SHOTS;
    c->smp.n_shots = 0;
    shots_unlock(c);
    if (all) {
        tlb_flush_all(c, TLBF_LOG);
    }
    for (unsigned i = 0; !all && i < n; i++) {
        tlb_unwrite_page(c, page[i]);
        tb_clear_writer(c, page[i]);
    }
    c->stat[ST_SMP_SHOT] += n;
    __atomic_store_n(&c->smp.done, posted, __ATOMIC_SEQ_CST);
}

static uint32_t post(struct guest_cpu *to, uint64_t page)
{
    shots_lock(to);
    unsigned n = to->smp.n_shots;
    if (n < SMP_SHOTS) {
        to->smp.shot[n] = page;
    }
    to->smp.n_shots = n < SMP_SHOTS ? n + 1 : SMP_SHOTS + 1;
    uint32_t ticket = __atomic_add_fetch(&to->smp.posted, 1, __ATOMIC_SEQ_CST);
    shots_unlock(to);
    return ticket;
}

static inline bool answered(const struct guest_cpu *to, uint32_t ticket)
{
    return phase_of(to) != SMP_ACTIVE || (int32_t)(__atomic_load_n(&to->smp.done, __ATOMIC_SEQ_CST) - ticket) >= 0;
}

static void shoot(struct guest_cpu *to, uint64_t page)
{
    uint32_t ticket = post(to, page);

    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    if (answered(to, ticket)) {
        return;                     /* it looks before it becomes active */
    }
    cpu_kick(to, XREQ_SYNC);
    for (unsigned n = 0; !answered(to, ticket); n++) {
        wait_turn(n);
    }
}

void smp_unwrite_page(struct guest_cpu *c, uint64_t page)
{
    struct xbt_vm *vm = c->vm;

    tlb_unwrite_page(c, page);
    if (!smp_on(vm)) {
        return;
    }
    unsigned old = smp_rest(c, SMP_PAUSED);
    for (unsigned i = 0; i < vm->n_cpus; i++) {
        struct guest_cpu *to = cpu_at(vm, i);
        if (to && to != c && tb_is_writer(to, page)) {
            shoot(to, page);
            c->stat[ST_SMP_SHOOT]++;
        }
    }
    smp_wake(c, old);
}

/* ---- phases ---- */

unsigned smp_rest_slow(struct guest_cpu *c, unsigned phase)
{
    unsigned old = c->smp.phase;

    if (phase < old) {
        __atomic_store_n(&c->smp.phase, phase, __ATOMIC_SEQ_CST);
    }
    return old;
}

/* smp_owner: 0, or who has the machine, and above which phase no other vCPU may be. */
static inline uint32_t owner_of(const struct guest_cpu *c, unsigned phase) { return (c->index + 1) | phase << 16; }
static inline unsigned owner_index(uint32_t owner) { return (owner & 0xffff) - 1; }
static inline unsigned owner_phase(uint32_t owner) { return owner >> 16; }

static void wait_for_owner(struct xbt_vm *vm, uint32_t owner)
{
    for (unsigned n = 0; n < SPINS; n++) {
        if (__atomic_load_n(&vm->smp_owner, __ATOMIC_ACQUIRE) != owner) {
            return;
        }
        __builtin_ia32_pause();
    }
    syscall(SYS_futex, &vm->smp_owner, FUTEX_WAIT_PRIVATE, owner, NULL, NULL, 0);
}

/* Blocks are gone, and their memory may hold others by now: nothing of it may have been fetched before (SDM vol. 3, 8.1.3). */
static void note_flush(struct guest_cpu *c)
{
    uint32_t now = __atomic_load_n(&c->vm->flushes, __ATOMIC_ACQUIRE), eax = 0, ebx, ecx, edx;

    if (now != c->smp.flushes) {
        c->smp.flushes = now;
        c->flush_epoch++;
        c->exit_from = NULL;
        __asm__ volatile("cpuid" : "+a"(eax), "=b"(ebx), "=c"(ecx), "=d"(edx) : : "memory");
    }
}

void smp_wake_slow(struct guest_cpu *c, unsigned phase)
{
    struct xbt_vm *vm = c->vm;
    unsigned low = c->smp.phase;
    uint32_t owner;

    if (phase <= low) {
        return;
    }
    for (;;) {
        __atomic_store_n(&c->smp.phase, phase, __ATOMIC_SEQ_CST);
        owner = __atomic_load_n(&vm->smp_owner, __ATOMIC_SEQ_CST);
        /* One that wants more rest than there was still waits for this vCPU. */
        if (!owner || owner_index(owner) == c->index || low > owner_phase(owner)) {
            break;
        }
        __atomic_store_n(&c->smp.phase, low, __ATOMIC_SEQ_CST);
        wait_for_owner(vm, owner);
    }
    if (phase != SMP_ACTIVE) {
        return;
    }
    smp_at_top(c);
    if (low == SMP_OUT) {
        note_flush(c);
    }
    if (__atomic_load_n(&c->smp.posted, __ATOMIC_SEQ_CST) != c->smp.done) {
        drain(c);
    }
}

void smp_sync(struct guest_cpu *c)
{
    unsigned old = smp_rest(c, SMP_OUT);

    c->stat[ST_SMP_SYNC]++;
    smp_wake(c, old);
}

/* ---- the machine for oneself ---- */

/* False: the owner waits for more rest than this vCPU can take. */
static bool take_turn(struct guest_cpu *c, unsigned phase)
{
    struct xbt_vm *vm = c->vm;

    for (;;) {
        uint32_t owner = 0;
        if (__atomic_compare_exchange_n(&vm->smp_owner, &owner, owner_of(c, phase), false, __ATOMIC_SEQ_CST,
                                        __ATOMIC_SEQ_CST)) {
            return true;
        }
        if (phase > owner_phase(owner)) {
            return false;
        }
        wait_for_owner(vm, owner);
    }
}

/* Someone outside waits for this vCPU, and maybe those that we wait for do as well. */
static inline bool wanted(const struct guest_cpu *c, unsigned turns)
{
    return turns > SPINS + 2 * YIELDS && (__atomic_load_n(&c->exit_request, __ATOMIC_RELAXED) & (XREQ_POLL | XREQ_STOP));
}

bool smp_seize(struct guest_cpu *c, unsigned phase)
{
    struct xbt_vm *vm = c->vm;

    if (!smp_on(vm)) {
        return true;
    }
    unsigned old = smp_rest(c, phase);
    if (!take_turn(c, phase)) {
        smp_wake(c, old);
        return false;
    }
    for (unsigned i = 0; i < vm->n_cpus; i++) {
        struct guest_cpu *v = cpu_at(vm, i);
        if (!v || v == c || phase_of(v) <= phase) {
            continue;
        }
        cpu_kick(v, XREQ_SYNC);
        for (unsigned n = 0; phase_of(v) > phase; n++) {
            if (phase == SMP_OUT && wanted(c, n)) {
                smp_release(c);
                smp_wake(c, old);
                return false;
            }
            wait_turn(n);
        }
    }
    smp_wake(c, old);               /* nobody else has the machine: no waiting */
    c->stat[ST_SMP_SEIZE]++;
    return true;
}

void smp_release(struct guest_cpu *c)
{
    struct xbt_vm *vm = c->vm;

    if (smp_on(vm)) {
        __atomic_store_n(&vm->smp_owner, 0, __ATOMIC_SEQ_CST);
        syscall(SYS_futex, &vm->smp_owner, FUTEX_WAKE_PRIVATE, vm->max_cpus, NULL, NULL, 0);
    }
}

bool smp_all_out(const struct xbt_vm *vm)
{
    for (unsigned i = 0; i < vm->n_cpus; i++) {
        const struct guest_cpu *v = cpu_at(vm, i);
        if (v && phase_of(v) != SMP_OUT) {
            return false;
        }
    }
    return true;
}

/* ---- grace ---- */

uint32_t smp_stamp(struct xbt_vm *vm) { return __atomic_add_fetch(&vm->smp_clock, 1, __ATOMIC_SEQ_CST); }

bool smp_over(const struct xbt_vm *vm, uint32_t stamp)
{
    for (unsigned i = 0; i < vm->n_cpus; i++) {
        const struct guest_cpu *v = cpu_at(vm, i);
        if (v && phase_of(v) != SMP_OUT && (int32_t)(__atomic_load_n(&v->smp.seen, __ATOMIC_ACQUIRE) - stamp) < 0) {
            return false;
        }
    }
    return true;
}
