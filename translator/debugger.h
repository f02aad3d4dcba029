/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * debugger.h - breakpoints, watchpoints and single steps of a debugger outside of the guest.
 *
 * Owner:      the embedder fills vm->debugger and guest_cpu.gdb_step; both change only while no vCPU is in
 *             xbt_vcpu_run().  The arrays are the embedder's.
 * Breakpoint: a linear address, in any address space and mode.  No block goes over one, and none begins at
 *             one except for single steps; so whoever gets there comes to the loop, which stops before the
 *             instruction.  Blocks that do not know of a new breakpoint are dropped (tb_invalidate_lin()); a
 *             removed one leaves nothing behind.  Generated code checks nothing.
 * Watchpoint: linear addresses, any length.  As for the guest's data breakpoints (debug.c) the pages are in no
 *             TLB table; the access is made by a block of one instruction, and the stop is behind it.
 * Single step: every instruction is a block of its own (HF_DBG), with a stop behind it, or behind the delivery of
 *             the exception or interrupt that came instead.  Breakpoints do not count, as under TCG.
 */
#ifndef XBT_DEBUGGER_H
#define XBT_DEBUGGER_H

#include "tlb/tlb.h"

struct dbg_watch {
    uint64_t lin, last;     /* first and last byte */
    uint32_t read, write;   /* does it stop such accesses? */
};

/* guest_cpu.gdb_step */
#define GDB_STEP       1u
#define GDB_STEP_NOIRQ 2u   /* interrupts wait meanwhile */

/* vm->debugger has other watchpoints now: the tables of this vCPU follow.  Its thread, out of the engine. */
void debugger_watch_changed(struct guest_cpu *c);

/* Is there a breakpoint in [lin, lin + len)? */
bool debugger_break_in(const struct xbt_vm *vm, uint64_t lin, uint64_t len);
static inline bool debugger_break_at(const struct xbt_vm *vm, uint64_t lin)
{
    return __builtin_expect(vm->debugger.n_breaks, 0) && debugger_break_in(vm, lin, 1);
}
/* For tlb/ (only when guest_cpu.gdb_watch is set): is the page of lin watched; has an access hit? */
bool debugger_watched(const struct guest_cpu *c, uint64_t lin);
bool debugger_watch_hit(struct guest_cpu *c, uint64_t lin, uint32_t size, bool write);

#endif
