/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * opt_hostmap.c - which memory operands of a block go through the host's MMU (tlb/hostmap.h), and which through the
 * tables.
 *
 * Not: operands whose faults are not those of a page (alignment checks, segments that are not flat), blocks that stand
 * for one instruction with a trap behind it, and instructions that met something that cannot be mapped.
 */
#include "tlb/hostmap.h"
#include "translator/ir.h"
#include "translator/row_facts.h"

static inline bool in_memory(unsigned reg) { return reg >= R_R8 && reg <= R_R11; }

/* The handler of a fault finds the addend in r11: not where that is needed for a second register of the guest's. */
static bool needs_r11(const struct ir_op *o)
{
    const struct dec_insn *in = o->in;
    unsigned gprs = facts_of(in)->gprs;

    return (gprs & RF_REG) && (gprs & RF_VVVV) && in_memory(in->reg) && in_memory(in->vvvv) &&
           !(o->kind == AK_INSN && in->index == REG_NONE && in->base < 16 && !in_memory(in->base));
}

static bool operand_ok(const struct ir_block *b, const struct ir_op *o)
{
    bool code64 = (b->key.hflags & HF_CODE_MASK) == HF_CODE64;

    if (needs_r11(o)) {
        return false;
    }
    if (code64) {
        return true;
    }
    return o->seg != S_FS && o->seg != S_GS && o->seg != S_CS;
}

bool opt_hostmap(const struct ir_block *b)
{
    uint32_t hf = b->key.hflags;

    return (hf & HF_HM) && !(hf & (HF_AC | HF_SEGS | HF_BP)) && !b->special && (hf & HF_CODE_MASK);
}

void opt_hostmap_operand(const struct ir_block *b, struct ir_op *o)
{
    if (!hm_refused(b->key.phys_pc + (o->in->ip - b->ip)) && operand_ok(b, o)) {
        o->hostmap = 1;
        o->is_site = 0;
    }
}
