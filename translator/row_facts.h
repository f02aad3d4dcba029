/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * row_facts.h - what the passes ask about native instructions, worked out once for each row of the table.
 */
#ifndef XBT_ROW_FACTS_H
#define XBT_ROW_FACTS_H

#include "translator/decode.h"

/* Operands that are GPRs: by ModRM.reg, by ModRM.rm or opcode bits, by VEX.vvvv, rAX. */
#define RF_REG  1u
#define RF_RM   2u
#define RF_VVVV 4u
#define RF_ACC  8u
#define RF_ALL  16u  /* GPRs that no column names */

enum { RP66_NEVER = 0, RP66_SIZE = 1 /* where the operand size is 2 */, RP66_ALWAYS = 2 };
enum { RRC_NONE, RRC_SHIFT, RRC_ALU };

struct row_facts {
    uint8_t gprs;      /* RF_*: its GPR operands, RF_ALL excepted */
    uint8_t writes;    /* RF_*: GPRs that it may write */
    uint8_t bytes;     /* RF_*: those of one byte */
    bool opreg;        /* RF_RM is the opcode's low bits */
    bool site;         /* the host may fault in it, or ask for precise state, although it has no memory operand */
    uint8_t recipe;    /* RRC_*: what its flags may be recomputed as (opt_flags.c) */
    bool plain;        /* a legacy encoding that 64-bit mode has, with one immediate or none (lower_native.c) */
    uint8_t p66;       /* RP66_* */
    uint8_t rep;       /* 0, 0xf2, 0xf3: part of the opcode */
    uint8_t escapes;   /* number of escape bytes: 0, 1, 2 */
    bool modrm, x87;   /* IA_MODRM, IA_X87 */
    bool simple;       /* native in every mode that it decodes in */
    uint16_t escape;   /* those */
};

/* By row, as insn_rows[]. */
extern struct row_facts row_facts[] __attribute__((visibility("hidden")));

static inline const struct row_facts *facts_of(const struct dec_insn *in)
{
    return &row_facts[in->row - insn_rows];
}

static inline uint32_t gpr_bit(const struct dec_insn *in, unsigned reg, bool byte)
{
    return 1u << (byte && dec_is_high8(in, reg) ? reg & 3 : reg & 15);
}

/* GPRs that a native instruction may write, as a mask. */
static inline uint32_t native_gpr_writes(const struct dec_insn *in, const struct row_facts *f)
{
    unsigned writes = f->writes;
    uint32_t mask = writes & RF_ACC ? 1u /* rAX */ : 0;

    if (writes & RF_ALL) {
        return 0xffff;
    }
    if (writes & RF_REG) {
        mask |= gpr_bit(in, in->reg, f->bytes & RF_REG);
    }
    if ((writes & RF_RM) && (f->opreg || !in->has_mem)) {
        mask |= gpr_bit(in, in->rm, f->bytes & RF_RM);
    }
    if (writes & RF_VVVV) {
        mask |= 1u << in->vvvv;
    }
    return mask;
}

/* Can the host fault in it, re-encoded? */
static inline bool native_site(const struct dec_insn *in, const struct row_facts *f)
{
    return (in->has_mem && in->mem_acc) || f->site;
}

static inline bool native_stores(const struct dec_insn *in)
{
    return in->has_mem && (in->mem_acc & OA_W);
}

#endif
