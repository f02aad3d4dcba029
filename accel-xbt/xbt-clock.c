/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * xbt-clock.c - the guest's time stamp counter.
 *
 * QEMU's rule: the TSC of a vCPU is cpu_get_tsc() (host TSC plus an offset that
 * stops while the VM is stopped and that is migrated) plus env->tsc_offset (what
 * the guest wrote).  The engine executes RDTSC natively plus one offset,
 * tsc_offset_guest.  So whenever the VM starts to run, the difference between
 * QEMU's counter and the host's is measured once, for all vCPUs, and folded into that offset;
 * nothing is called when the guest reads its TSC.  (SDM vol. 3, 18.17.)
 */
#include "qemu/osdep.h"
#include "accel-xbt/xbt-accel.h"

static uint64_t measure(CPUX86State *env)
{
    uint64_t before, ticks, best = 0, best_cost = UINT64_MAX;

    for (int i = 0; i < 4; i++) {
        before = __builtin_ia32_rdtsc();
        ticks = cpu_get_tsc(env);
        uint64_t cost = __builtin_ia32_rdtsc() - before;

        if (cost < best_cost) {
            best_cost = cost;
            best = ticks - before - cost / 2;
        }
    }
    return best;
}

/* Of the machine since it last began to run: one for all vCPUs, so that none is ahead of another. */
static uint64_t offset;

/* The offset in force changed from x->tsc_host_offset to what it is now. */
void xbt_clock_vcpu(struct xbt_cpu *x)
{
    x->c->tsc_offset_guest += offset - x->tsc_host_offset;
    x->tsc_host_offset = offset;
}

/* Runs before the vCPUs are let go. BQL. */
static void vm_state_changed(void *opaque, bool running, RunState state)
{
    struct xbt_cpu *x = xbt_cpu_next(NULL);

    if (!running || !x) {
        return;
    }
    offset = measure(&x->x86->env);
    for (; x; x = xbt_cpu_next(x)) {
        xbt_clock_vcpu(x);
    }
}

void xbt_clock_init(void)
{
    qemu_add_vm_change_state_handler(vm_state_changed, NULL);
}
