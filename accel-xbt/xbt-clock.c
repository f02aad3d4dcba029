/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * xbt-clock.c - the guest's time stamp counter.
 *
 * QEMU's rule: the TSC of a vCPU is cpu_get_tsc() (host TSC plus an offset that
 * stops while the VM is stopped and that is migrated) plus env->tsc_offset (what
 * the guest wrote).  The engine executes RDTSC natively plus one offset,
 * tsc_offset_guest.  So whenever the VM starts to run, the difference between
 * QEMU's counter and the host's is measured once and folded into that offset;
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

/* The offset in force changed from x->tsc_host_offset to what it is now. */
void xbt_clock_vcpu(struct xbt_cpu *x)
{
    uint64_t now = measure(&x->x86->env);

    x->c->tsc_offset_guest += now - x->tsc_host_offset;
    x->tsc_host_offset = now;
}

/* Runs before the vCPUs are let go. BQL. */
static void vm_state_changed(void *opaque, bool running, RunState state)
{
    for (unsigned i = 0; running && i < XBT_MAX_CPUS; i++) {
        if (xbt_cpus[i].c) {
            xbt_clock_vcpu(&xbt_cpus[i]);
        }
    }
}

void xbt_clock_init(void)
{
    qemu_add_vm_change_state_handler(vm_state_changed, NULL);
}
