/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * debug.c - the breakpoints of DR0 to DR3 (SDM vol. 3, 17.2 and 17.3).  Nothing of it costs while DR7 is clear.
 *
 * Instruction breakpoints (faults): while one is armed, HF_BP is in the blocks' key; the lifter ends a block before
 * an address that is or was armed on any vCPU, and makes a block there that looks whether it is armed on this one.  So
 * the blocks are good for all; an address that is new flushes the code cache.
 *
 * Data and I/O breakpoints (traps): watched pages are in no TLB table (tlb/), so each access comes to
 * debug_hit().  The first time the instruction is given up as if it had faulted and runs again as a block of its own
 * (HF_DBG); the hits are then collected in c->exc_dr6 and the loop raises #DB behind the instruction.
 *
 * Leaves: which bytes an access touches to tlb/ and help_io.c, DR6 and DR7 at delivery to help_int.c.
 */
#include "translator/desc.h"
#include "translator/exec.h"

#define RW_EXEC 0u
#define RW_IO   2u

static inline unsigned bp_enabled(const struct guest_cpu *c, unsigned n)
{
    return c->dr[7] >> (2 * n) & 3;
}

static inline unsigned bp_rw(const struct guest_cpu *c, unsigned n)
{
    return c->dr[7] >> (16 + 4 * n) & 3;
}

unsigned debug_exec_mask(const struct guest_cpu *c)
{
    unsigned mask = 0;

    for (unsigned n = 0; n < 4; n++) {
        if (bp_enabled(c, n) && bp_rw(c, n) == RW_EXEC) {
            mask |= 1u << n;
        }
    }
    return mask;
}

unsigned debug_exec_at(const struct guest_cpu *c, uint64_t lip)
{
    unsigned mask = debug_exec_mask(c), hits = 0;

    for (unsigned n = 0; n < 4; n++) {
        hits |= mask >> n & 1 && c->dr[n] == lip ? 1u << n : 0;
    }
    return hits;
}

static inline unsigned bp_bit(uint64_t lip) { return (unsigned)(lip * 0x9e3779b97f4a7c15ull >> (64 - BP_FILTER_BITS)); }

bool debug_exec_near(const struct xbt_vm *vm, uint64_t lip)
{
    return __atomic_load_n(&vm->bp_filter[bp_bit(lip) / 64], __ATOMIC_RELAXED) >> (bp_bit(lip) % 64) & 1;
}

void debug_registers_changed(struct guest_cpu *c)
{
    unsigned mask = debug_exec_mask(c);

    for (unsigned n = 0; n < 4; n++) {
        if ((mask >> n & 1) && !debug_exec_near(c->vm, c->dr[n])) {
            unsigned bit = bp_bit(c->dr[n]);
            __atomic_fetch_or(&c->vm->bp_filter[bit / 64], 1ull << (bit % 64), __ATOMIC_SEQ_CST);
            cpu_kick(c, XREQ_CACHE_FLUSH);
        }
    }
    cpu_update_hflags(c);
}

/* Armed on another vCPU, or no more: the instruction is executed as if RF were set, which hides it from itself. */
static _Noreturn void pass(struct guest_cpu *c)
{
    if (c->in_special) {
        c->old_rf = 1;
        c->dbg_restart = 1;
    } else {
        c->eflags |= FL_RF;
        cpu_update_hflags(c);
    }
    cpu_exit_loop(c);
}

_Noreturn void debug_raise_exec(struct guest_cpu *c)
{
    uint64_t lip = cpu_code64(c) ? c->rip : (uint32_t)(c->rip + c->cs_base);
    unsigned hits = debug_exec_at(c, lip);

    if (!hits) {
        pass(c);
    }
    c->exc_dr6 |= hits | DB_IS_FAULT;
    cpu_raise(c, EXC_DB);
}

void debug_alone(struct guest_cpu *c)
{
    if (c->in_code && !c->dbg_step) {
        c->dbg_restart = 1;
        cpu_exit_loop(c);
    }
}

void debug_hit(struct guest_cpu *c, unsigned hits)
{
    debug_alone(c);
    c->exc_dr6 |= hits;
}

void debug_check_io(struct guest_cpu *c, unsigned port, unsigned size)
{
    static const uint8_t len_of[4] = { 1, 2, 8, 4 };
    unsigned hits = 0;

    if (!(c->cr[4] & CR4_DE)) {
        return;
    }
    for (unsigned n = 0; n < 4; n++) {
        unsigned len = len_of[c->dr[7] >> (18 + 4 * n) & 3];
        uint64_t at = c->dr[n] & ~(uint64_t)(len - 1);

        if (bp_enabled(c, n) && bp_rw(c, n) == RW_IO && at < port + size && port < at + len) {
            hits |= 1u << n;
        }
    }
    if (hits) {
        debug_hit(c, hits);
    }
}
