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

struct gen_insn {
    uint8_t bytes[32];
    unsigned len;
    struct dec_insn in;   /* in.ip = where it will be */
    unsigned disp_at, disp_size; /* of the displacement in the bytes; size 0 = none */
    uint64_t target;      /* address that the bytes themselves fix (moffs, RIP-relative, disp only); ~0 = none */
};

/* Why a row is not compared with the host in this mode; NULL: it is. */
const char *gen_excluded(const struct insn_row *row, enum snip_mode mode);
/* Encode `row` for address ip (offset in SM_16). False: no encoding was found. */
bool gen_encode(struct runner *r, const struct insn_row *row, enum snip_mode mode, uint64_t ip, struct gen_insn *g);
/* Adapt registers (and memory on both sides) so that the instruction reaches memory and ends nearby.  False: that
 * cannot be said of this state, do not run it. */
bool gen_fix_state(struct runner *r, const struct gen_insn *g, enum snip_mode mode, struct snip_state *st);
/* An address for an access of `size` bytes: mostly good and aligned, sometimes crossing, read-only or unmapped. */
uint64_t gen_target(struct runner *r, enum snip_mode mode, unsigned size);
int gen_dec_mode(enum snip_mode mode);

#endif
