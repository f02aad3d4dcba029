/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * hostfault.c - a page fault of the host in code of a hot address space that hm_fault() could not settle.
 *
 * The guest's state is brought to the start of the instruction.  Then: a fault of the guest's; or accessed and dirty
 * bits that had to be set, and the instruction runs again; or an operand that cannot be mapped (a device, a page with
 * code, the upper half of the address space): the instruction is translated anew, with the tables.
 */
#include "tlb/hostmap.h"
#include "tlb/tlb_int.h"
#include "translator/exec.h"
#include "translator/state_map.h"

/* The instruction that was being executed is not to use mappings.  False: it did not. */
static bool refuse(struct guest_cpu *c, uint64_t pc)
{
    struct tb *tb = tb_find_host_pc(c->vm->store, (const void *)(uintptr_t)pc);
    struct state_rec r;

    if (!tb || !state_map_find(tb_state_map(tb), tb->state_map_size, tb_host_off(tb, pc), &r) || !r.direct) {
        return false;
    }
    hm_refuse(tb->key.phys_pc + r.guest_off);
    c->stat[ST_HM_REFUSED]++;
    tb_invalidate(c, tb, TBD_HOSTMAP);
    return true;
}

/* #GP or #SS of the host: the addend may be that of another window than the operand's, or none. */
void hostfault_address(struct guest_cpu *c)
{
    uint64_t pc = c->unwind_pc;

    if (refuse(c, pc)) {
        tb_restore_state(c, pc);
        c->unwind_pc = 0;
        cpu_exit_loop(c);
    }
}

/* Operands that run on from here into the next page fault by their second page first: the tables know how. */
static inline bool at_edge(uint64_t lin) { return lin >> 12 == 0xfffff || lin >> 12 == 0x7ffffffff; }

_Noreturn void hostfault_landing(struct guest_cpu *c)
{
    uint64_t pc = c->unwind_pc, lin = c->hm_lin;
    bool write = c->hm_write;

    tb_restore_state(c, pc);
    c->unwind_pc = 0;
    if (!c->hm_on) {
        cpu_update_hflags(c);
        cpu_exit_loop(c);
    }
    if (lin != ~0ull && !at_edge(lin) && tlb_canonical(c, lin)) {
        struct tlb_part p[2];
        c->slow_flags = 0;
        tlb_resolve(c, lin, 1, write ? ACC_WRITE : ACC_READ, MMU_USER, p);
        /* The tables may know the page from before its A or D bit was cleared: load it once more. */
        if (!c->hm_guard &&
            (hm_map(c, lin, write, true) || (tlb_walk(c, lin, write ? ACC_WRITE : ACC_READ, MMU_USER, true).ok &&
                                       hm_map(c, lin, write, true)))) {
            cpu_exit_loop(c);
        }
    }
    refuse(c, pc);
    cpu_exit_loop(c);
}
