/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * debugger.c - lookups for the breakpoints and watchpoints of a debugger outside of the guest (debugger.h).
 *
 * Leaves:  when to stop to the vCPU loop (exec.c), where blocks end to translate.c, how an instruction is given up
 * to run alone to debug.c, the debugger's protocol to the embedder.
 */
#include "translator/debugger.h"

#include "translator/help.h"

bool debugger_break_in(const struct xbt_vm *vm, uint64_t lin, uint64_t len)
{
    for (unsigned i = 0; i < vm->debugger.n_breaks; i++) {
        if (vm->debugger.breaks[i] - lin < len) {
            return true;
        }
    }
    return false;
}

void debugger_watch_changed(struct guest_cpu *c)
{
    c->gdb_watch = c->vm->debugger.n_watches != 0;
    c->gdb_hit = 0;
    tlb_flush_all(c, TLBF_MEMMAP);
}

bool debugger_watched(const struct guest_cpu *c, uint64_t lin)
{
    uint64_t page = lin & ~0xfffull;

    for (unsigned i = 0; i < c->vm->debugger.n_watches; i++) {
        const struct dbg_watch *w = &c->vm->debugger.watches[i];
        if (w->lin <= (page | 0xfff) && page <= w->last) {
            return true;
        }
    }
    return false;
}

bool debugger_watch_hit(struct guest_cpu *c, uint64_t lin, uint32_t size, bool write)
{
    for (unsigned i = 0; i < c->vm->debugger.n_watches; i++) {
        const struct dbg_watch *w = &c->vm->debugger.watches[i];
        if ((write ? w->write : w->read) && w->lin <= lin + (size - 1) && lin <= w->last) {
            debug_alone(c);
            c->gdb_stop = 1;
            c->gdb_hit = c->gdb_hit ? c->gdb_hit : (uint16_t)(i + 1);
            return true;
        }
    }
    return false;
}
