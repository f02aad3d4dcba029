/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * fpu_ptr.h - where the last x87 instruction was, what its operand was and its opcode (FIP, FCS, FDP, FDS, FOP).
 *
 * SDM vol. 1, 8.1.8 and 8.1.9; APM vol. 1, 6.2.5.  Every x87 instruction sets FIP, FCS and FOP, one with a memory
 * operand also FDP and FDS; control instructions (FNINIT, FNCLEX, FLDCW, FNSTCW, FNSTSW, FNSTENV...), FWAIT and MMX
 * leave them alone.  The host's own pointers hold host addresses and do not survive a context switch, so the guest's
 * are kept in cpu->fptr.
 *
 * They must cost nothing where nobody looks:
 *  - Generated code stores FDP behind each x87 instruction with a memory operand (one store), and FIP, FOP and the
 *    number of the operand's segment once before it leaves the block or calls a helper (lower_x87.c).  In between the
 *    state map knows them.
 *  - Selectors are noted only when their segment register is about to change (fpu_ptr_seg_changes()), or when somebody
 *    asks (fpu_ptr_settle()).
 */
#ifndef XBT_FPU_PTR_H
#define XBT_FPU_PTR_H

#include "translator/guest_cpu.h"

#define FPTR_FOP 0x7ffu      /* in fptr.op: two bits of the first opcode byte's end, and the ModRM byte */
#define FPTR_CS  0x10000u    /* the selector in CS belongs to FIP */

/* The last x87 instruction was at ip; seg: segment + 1 of the operand that fptr.dp points to, or 0: as before. */
static inline void fpu_ptr_set(struct guest_cpu *c, uint64_t ip, uint16_t fop, uint8_t seg)
{
    c->fptr.ip = ip;
    c->fptr.op = fop | FPTR_CS;
    if (seg) {
        c->fptr.dseg = seg;
    }
}

/* Before the selector of this segment register changes. */
static inline void fpu_ptr_seg_changes(struct guest_cpu *c, unsigned seg)
{
    if (seg == S_CS && (c->fptr.op & FPTR_CS)) {
        c->fptr.cs = c->seg[S_CS].sel;
        c->fptr.op &= FPTR_FOP;
    }
    if (c->fptr.dseg == seg + 1) {
        c->fptr.ds = c->seg[seg].sel;
        c->fptr.dseg = 0;
    }
}

/* Note the selectors and bring dp into its final form. */
void fpu_ptr_settle(struct guest_cpu *c);
void fpu_ptr_clear(struct guest_cpu *c);

/* The formats in memory.  fx: bytes 6..23 of an FXSAVE image (`wide`: with REX.W); env: an FNSTENV environment of 28
 * (`wide`) or 14 bytes in the format of the current mode (SDM vol. 1, figures 8-9 to 8-12). */
void fpu_ptr_to_fx(struct guest_cpu *c, uint8_t *img, bool wide);
void fpu_ptr_from_fx(struct guest_cpu *c, const uint8_t *img, bool wide);
void fpu_ptr_to_env(struct guest_cpu *c, uint8_t *env, bool wide);
void fpu_ptr_from_env(struct guest_cpu *c, const uint8_t *env, bool wide);

#endif
