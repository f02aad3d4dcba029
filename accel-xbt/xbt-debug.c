/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * xbt-debug.c - QEMU's gdbstub: breakpoints, watchpoints, single steps, and the stops that it reports.
 *
 * gdb sets and takes away its breakpoints each time the machine stops and goes on.  So the lists only change
 * here, and what is different comes into force when a vCPU enters the engine next (xbt_debug_enter()): by then
 * most are what they were.  Breakpoints count for all vCPUs, as under TCG; how they work is in
 * translator/debugger.h.
 *
 * Lock rules: all under the BQL.  The gdbstub stops all vCPUs before it does anything, so between a change and
 * xbt_debug_enter() of the first vCPU none is in the engine, and the arrays that it reads can be replaced.
 */
#include "qemu/osdep.h"
#include "accel-xbt/xbt-accel.h"

/* What gdb wants.  Elements of `watches` are what cs->watchpoint_hit points to. */
static GArray *breaks;     /* of uint64_t, in ascending order, each once per insertion */
static GPtrArray *watches; /* of CPUWatchpoint */
/* What is in force. */
static GArray *made_breaks, *made_watches;
static bool changed;
static unsigned watch_set; /* number of the set in force */

/* ---- the lists ---- */

static uint64_t break_at(const GArray *a, guint i)
{
    return g_array_index(a, uint64_t, i);
}

static guint first_not_below(const GArray *a, uint64_t pc)
{
    guint i = 0;

    while (i < a->len && break_at(a, i) < pc) {
        i++;
    }
    return i;
}

static bool has_break(const GArray *a, uint64_t pc)
{
    guint i = first_not_below(a, pc);

    return i < a->len && break_at(a, i) == pc;
}

static int flags_of(int gdb_type)
{
    switch (gdb_type) {
    case GDB_WATCHPOINT_WRITE:
        return BP_GDB | BP_MEM_WRITE;
    case GDB_WATCHPOINT_READ:
        return BP_GDB | BP_MEM_READ;
    case GDB_WATCHPOINT_ACCESS:
        return BP_GDB | BP_MEM_ACCESS;
    }
    return 0;
}

static int insert_watch(uint64_t addr, uint64_t len, int flags)
{
    CPUWatchpoint *w;

    if (len == 0 || addr + len - 1 < addr) {
        error_report("tried to set invalid watchpoint at %" PRIx64 ", len=%" PRIu64, addr, len);
        return -EINVAL;
    }
    w = g_new0(CPUWatchpoint, 1);
    w->vaddr = addr;
    w->len = len;
    w->flags = flags;
    g_ptr_array_insert(watches, 0, w); /* of two that are hit the newer one is reported */
    return 0;
}

static int insert(CPUState *cs, int type, hwaddr addr, hwaddr len)
{
    uint64_t pc = addr;
    int flags = flags_of(type);

    changed = true;
    if (type == GDB_BREAKPOINT_SW || type == GDB_BREAKPOINT_HW) {
        g_array_insert_val(breaks, first_not_below(breaks, pc), pc);
        return 0;
    }
    return flags ? insert_watch(addr, len, flags) : -ENOSYS;
}

/* gdbstub.c must not report what is gone. */
static void forget_hit(const CPUWatchpoint *w)
{
    CPUState *cs;

    CPU_FOREACH(cs) {
        if (cs->watchpoint_hit == w) {
            cs->watchpoint_hit = NULL;
        }
    }
}

static int remove_watch(uint64_t addr, uint64_t len, int flags)
{
    for (guint i = 0; i < watches->len; i++) {
        const CPUWatchpoint *w = watches->pdata[i];

        if (w->vaddr == addr && w->len == len && w->flags == flags) {
            forget_hit(w);
            g_ptr_array_remove_index(watches, i);
            return 0;
        }
    }
    return -ENOENT;
}

static int remove_one(CPUState *cs, int type, hwaddr addr, hwaddr len)
{
    int flags = flags_of(type);

    changed = true;
    if (type == GDB_BREAKPOINT_SW || type == GDB_BREAKPOINT_HW) {
        guint i = first_not_below(breaks, addr);

        if (i == breaks->len || break_at(breaks, i) != addr) {
            return -ENOENT;
        }
        g_array_remove_index(breaks, i);
        return 0;
    }
    return flags ? remove_watch(addr, len, flags) : -ENOSYS;
}

static void remove_all(CPUState *cs)
{
    for (guint i = 0; i < watches->len; i++) {
        forget_hit(watches->pdata[i]);
    }
    g_ptr_array_set_size(watches, 0);
    g_array_set_size(breaks, 0);
    changed = true;
}

static bool supported(void)
{
    return true;
}

/* gdbstub.c reads and writes single registers in CPUX86State without asking for them. */
static void run_state_changed(void *opaque, bool running, RunState state)
{
    if (!running) {
        cpu_synchronize_all_states();
    }
}

void xbt_debug_init(void)
{
    breaks = g_array_new(false, false, sizeof(uint64_t));
    made_breaks = g_array_new(false, false, sizeof(uint64_t));
    made_watches = g_array_new(false, false, sizeof(struct dbg_watch));
    watches = g_ptr_array_new_with_free_func(g_free);
    qemu_add_vm_change_state_handler(run_state_changed, NULL);
}

void xbt_debug_ops(AccelOpsClass *ops)
{
    ops->supports_guest_debug = supported;
    ops->insert_breakpoint = insert;
    ops->remove_breakpoint = remove_one;
    ops->remove_all_breakpoints = remove_all;
}

/* As TCG with a thread per vCPU: SSTEP_NOTIMER is accepted and the virtual clock goes on. */
int xbt_debug_sstep_flags(void)
{
    return SSTEP_ENABLE | SSTEP_NOIRQ | SSTEP_NOTIMER;
}

/* ---- into the engine ---- */

static void make_breaks(struct xbt_cpu *x)
{
    g_autoptr(GArray) added = g_array_new(false, false, sizeof(uint64_t));

    for (guint i = 0; i < breaks->len; i++) {
        uint64_t pc = break_at(breaks, i);

        if (!has_break(made_breaks, pc)) {
            g_array_append_val(added, pc);
        }
    }
    g_array_set_size(made_breaks, 0);
    g_array_append_vals(made_breaks, breaks->data, breaks->len);
    xbt_vm.debugger.breaks = (const uint64_t *)made_breaks->data;
    xbt_vm.debugger.n_breaks = made_breaks->len;
    if (added->len) {
        tb_invalidate_lin(x->c, (const uint64_t *)added->data, added->len, TBD_DEBUG);
    }
}

static void make_watches(void)
{
    g_autoptr(GArray) now = g_array_new(false, false, sizeof(struct dbg_watch));

    for (guint i = 0; i < watches->len; i++) {
        const CPUWatchpoint *w = watches->pdata[i];
        struct dbg_watch d = { .lin = w->vaddr, .last = w->vaddr + w->len - 1,
                               .read = w->flags & BP_MEM_READ, .write = w->flags & BP_MEM_WRITE };

        g_array_append_val(now, d);
    }
    if (now->len == made_watches->len &&
        !memcmp(now->data, made_watches->data, now->len * sizeof(struct dbg_watch))) {
        return;
    }
    g_array_set_size(made_watches, 0);
    g_array_append_vals(made_watches, now->data, now->len);
    xbt_vm.debugger.watches = (const struct dbg_watch *)made_watches->data;
    xbt_vm.debugger.n_watches = made_watches->len;
    watch_set++;
}

void xbt_debug_enter(struct xbt_cpu *x)
{
    int step = x->cs->singlestep_enabled;

    if (unlikely(changed)) {
        changed = false;
        make_breaks(x);
        make_watches();
    }
    if (unlikely(x->watch_set != watch_set)) {
        x->watch_set = watch_set;
        debugger_watch_changed(x->c);
    }
    x->c->gdb_step = step ? GDB_STEP | (step & SSTEP_NOIRQ ? GDB_STEP_NOIRQ : 0) : 0;
}

void xbt_debug_stopped(struct xbt_cpu *x)
{
    unsigned hit = x->c->gdb_hit;

    x->c->gdb_stop = x->c->gdb_hit = 0;
    /* `watches` is as it was when this vCPU entered the engine. */
    if (hit && hit <= watches->len) {
        x->cs->watchpoint_hit = watches->pdata[hit - 1];
    }
    cpu_handle_guest_debug(x->cs);
}
