/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * gen.h - makes random encodings of a row of the instruction table, and states from which they do something.
 *
 * The decoder is asked whether the bytes are the row that was meant; the bare host then says what they do.
 */
#ifndef INSN_GEN_H
#define INSN_GEN_H

#include "tests/insn/runner.h"
#include "translator/decode.h"

/* What is asked of an encoding; the rest of it is random. */
enum gen_operands { GO_NONE, GO_REG, GO_SAME, GO_MEM };   /* GO_SAME: one register for all operands */
struct gen_form {
    uint8_t p66, w, l;    /* operand-size prefix, REX.W or VEX.W, VEX.L */
    uint8_t operands;     /* enum gen_operands */
    uint8_t lock, rep;    /* prefixes; rep: 0, f2, f3 */
};

struct gen_insn {
    uint8_t bytes[64];
    unsigned len;
    struct dec_insn in;   /* in.ip = where it will be */
    unsigned disp_at, disp_size; /* of the displacement in the bytes; size 0 = none */
    uint64_t target;      /* address that the bytes themselves fix (moffs, RIP-relative, disp only); ~0 = none */
};

/* Does the row exist in this mode? */
bool gen_available(const struct insn_row *row, enum snip_mode mode);
/* Why a row is not compared with the host in this mode; NULL: it is. */
const char *gen_excluded(const struct insn_row *row, enum snip_mode mode);
struct gen_reason {
    char letter;
    const char *why;
};
extern const struct gen_reason gen_reasons[];   /* ends with why = NULL */
char gen_excluded_letter(const char *why);
/* The forms of a row in this mode; the decoder may still refuse some.  Returns how many. */
#define MAX_FORMS 64
unsigned gen_forms(const struct insn_row *row, enum snip_mode mode, struct gen_form *out);
/* Encode `row` for address ip (offset in SM_16). False: no encoding was found. */
bool gen_encode(struct runner *r, const struct insn_row *row, enum snip_mode mode, uint64_t ip, struct gen_insn *g);
bool gen_encode_form(struct runner *r, const struct insn_row *row, enum snip_mode mode, uint64_t ip,
                     const struct gen_form *f, struct gen_insn *g);
/* Adapt registers (and memory on both sides) so that the instruction reaches memory and ends nearby.  False: that
 * cannot be said of this state, do not run it. */
bool gen_fix_state(struct runner *r, const struct gen_insn *g, enum snip_mode mode, struct snip_state *st);
/* Where a memory operand may be. */
enum gen_place { GP_ALIGNED, GP_CROSS, GP_ANY, GP_RO, GP_END, GP_RO_CROSS, GP_BEFORE, GP_FAR, GP_COUNT };
/* An address for an access of `size` bytes: mostly good and aligned, sometimes crossing, read-only or unmapped. */
uint64_t gen_target(struct runner *r, enum snip_mode mode, unsigned size);
/* The same with the place given for the next states (-1: any). */
void gen_set_place(int place);
/* What to take off an address to get the offset in the instruction's segment. */
uint64_t gen_seg_base(const struct dec_insn *in);
/* A selector for a far branch, mostly of the code that runs. */
uint16_t gen_code_selector(struct runner *r, enum snip_mode mode);
int gen_dec_mode(enum snip_mode mode);

#endif
