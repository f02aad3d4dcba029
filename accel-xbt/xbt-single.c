/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * xbt-single.c - thread=single: one thread runs all vCPUs, each for a slice of time.
 *
 * For guests that are being debugged, and for races that must not happen.  To QEMU's core all vCPUs have the same thread
 * and halt_cond, as under TCG's round robin.
 *
 * Locks: all under the BQL; `turn` is read by kicks from any thread.
 */
#include "qemu/osdep.h"
#include "accel-xbt/xbt-accel.h"

#define SLICE_NS 2000000

static QemuThread *thread;
static QemuCond *halt_cond;
static int thread_id;
static struct xbt_cpu *turn;     /* whose turn it is */
static bool kicked;              /* somebody wants something since the thread last looked */
static QEMUTimer *slice;

/* The running vCPU comes back, and the next one that has something to do gets the turn. */
void xbt_single_kick(void)
{
    struct xbt_cpu *x;

    qatomic_set(&kicked, true);
    smp_mb();
    x = qatomic_read(&turn);
    if (x) {
        qatomic_set(&x->yield, true);
        cpu_kick(x->c, XREQ_POLL);
    }
}

static void slice_over(void *opaque)
{
    xbt_single_kick();
    timer_mod(slice, qemu_clock_get_ns(QEMU_CLOCK_VIRTUAL) + SLICE_NS);
}

static void take_turn(struct xbt_cpu *x)
{
    current_cpu = x->cs;
    xbt_signals_running(x->c);
    qatomic_set(&x->yield, false);
    qatomic_set(&turn, x);
    smp_mb(); /* whoever has seen no turn has been heard, who comes now will find it */
    if (!qatomic_read(&kicked) && cpu_can_run(x->cs)) {
        xbt_vcpu_exec(x);
    }
    qatomic_set(&turn, NULL);
}

static void unplug(void)
{
    struct xbt_cpu *next;

    for (struct xbt_cpu *x = xbt_cpu_next(NULL); x; x = next) {
        CPUState *cs = x->cs;

        next = xbt_cpu_next(x);
        if (cs->unplug && !cpu_can_run(cs)) {
            xbt_vcpu_gone(x);
            cpu_thread_signal_destroyed(cs);
        }
    }
}

static void wait_for_work(void)
{
    qatomic_set(&kicked, false);
    smp_mb();
    while (all_cpu_threads_idle()) {
        qemu_cond_wait_iothread(halt_cond);
    }
    for (struct xbt_cpu *x = xbt_cpu_next(NULL); x; x = xbt_cpu_next(x)) {
        current_cpu = x->cs;
        qemu_wait_io_event_common(x->cs);
    }
}

static void *single_thread(void *arg)
{
    struct xbt_cpu *first = arg;

    rcu_register_thread();
    xbt_bql_lock();
    qemu_thread_get_self(thread);
    thread_id = first->cs->thread_id = qemu_get_thread_id();
    xbt_signals_thread_init(first->c);
    slice = timer_new_ns(QEMU_CLOCK_VIRTUAL, slice_over, NULL);
    timer_mod(slice, qemu_clock_get_ns(QEMU_CLOCK_VIRTUAL) + SLICE_NS);
    cpu_thread_signal_created(first->cs);
    for (struct xbt_cpu *x = first;; x = xbt_cpu_next(x) ?: xbt_cpu_next(NULL)) {
        wait_for_work();
        unplug();
        take_turn(x);
    }
    return NULL;
}

void xbt_single_add(struct xbt_cpu *x)
{
    CPUState *cs = x->cs;

    xbt_allow_io(cs);
    qemu_guest_random_seed_thread_part2(cs->random_seed);
    if (thread) {
        cs->thread = thread;
        cs->halt_cond = halt_cond;
        cs->thread_id = thread_id;
        cs->created = true;
        return;
    }
    xbt_alloc_thread_objects(cs);
    thread = cs->thread;
    halt_cond = cs->halt_cond;
    qemu_thread_create(thread, "ALL CPUs/XBT", single_thread, x, QEMU_THREAD_JOINABLE);
}
