/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * lower_flags.c - moves the guest's status flags between the host's register and cpu->fl, and makes them anew from a
 * recipe: the producer runs again on a scratch register.  What is where was decided by opt_flags.c.
 */
#include "translator/x86-64/lower.h"

void lower_flags_to(struct x64_buf *b, unsigned t, struct x64_mem fl)
{
    uint8_t *q = x64_put_rr(x64_begin(b), 8, 0x8b, t, X_RAX);

    *q++ = 0x9f;                                        /* lahf */
    *(any16 *)q = 0x900f;                               /* seto al */
    q[2] = 0xc0;
    q = x64_put_rm(q + 3, 4, 0x89, X_RAX, fl);          /* fl_junk too */
    x64_end(b, x64_put_rr(q, 8, 0x8b, X_RAX, t));
}

void lower_save_flags(struct lower *l)
{
    bool r10 = !l->r10.kind && !(l->win.valid && !l->win.hostmap);
    unsigned t = l->r9_reg == IR_NOREG ? X_R9 : r10 ? X_R10 : !l->win.valid ? X_R11 : X_R9; /* what holds nothing */

    lower_flags_to(&l->b, t, X64_ENV(fl));
    if (t == X_R9) {
        l->r9_reg = IR_NOREG;
    }
}

void lower_load_flags(struct lower *l)
{
    struct x64_buf *b = &l->b;
    uint8_t *q = x64_put_rr(x64_begin(b), 8, 0x8b, X_R9, X_RAX);

    l->r9_reg = IR_NOREG;
    q = x64_put_rm(q, 4, 0x0fb7, X_RAX, X64_ENV(fl));
    *(any16 *)q = 0x7f04;                               /* add al, 0x7f: OF := al */
    q[2] = 0x9e;                                        /* sahf */
    x64_end(b, x64_put_rr(q + 3, 8, 0x8b, X_RAX, X_R9));
}

/* op r9 or register d, source of the recipe; `alu` as for x64_alu_rr(), 8 = test. */
static void with_source(struct lower *l, const struct recipe *rc, unsigned alu, unsigned d)
{
    struct x64_buf *b = &l->b;
    unsigned wide = rc->size == 1 ? 0 : 1;

    if (rc->src == IR_NOREG) {
        if (alu < 8) {
            x64_alu_ri(b, alu, rc->size, d, rc->imm);
            return;
        }
        x64_op_rr(b, rc->size, 0xf6 | wide, 0, d);
        if (rc->size == 1) {
            x64_byte(b, (uint8_t)rc->imm);
        } else if (rc->size == 2) {
            x64_byte(b, rc->imm & 0xff);
            x64_byte(b, rc->imm >> 8 & 0xff);
        } else {
            x64_u32(b, (uint32_t)rc->imm);
        }
    } else if (host_reg(rc->src) != X_NONE) {
        if (alu < 8) {
            x64_alu_rr(b, alu, rc->size, d, host_reg(rc->src));
        } else {
            x64_test_rr(b, rc->size, d, host_reg(rc->src));
        }
    } else if (alu < 8) {
        x64_alu_rm(b, alu, rc->size, d, gpr_slot(rc->src));
    } else {
        x64_op_rm(b, rc->size, 0x84 | wide, d, gpr_slot(rc->src));
    }
}

void lower_recipe_flags(struct lower *l, const struct recipe *rc)
{
    struct x64_buf *b = &l->b;
    bool keeps = rc->op == RC_CMP || rc->op == RC_TEST || rc->op == RC_LOGIC;
    unsigned d = rc->op < RC_SHL ? host_reg(rc->dst) : X_NONE;

    if (!keeps || d == X_NONE) {
        l->r9_reg = IR_NOREG;
        if (d == X_NONE) {
            x64_mov_rm(b, 8, X_R9, rc->op >= RC_SHL ? X64_ENV(old_value) : gpr_slot(rc->dst));
        } else {
            x64_mov_rr(b, 8, X_R9, d);
        }
        d = X_R9;
    }
    switch (rc->op) {
    case RC_ADD:
        with_source(l, rc, 5, d);
        with_source(l, rc, 0, d);
        break;
    case RC_SUB:
        with_source(l, rc, 0, d);
        with_source(l, rc, 5, d);
        break;
    case RC_CMP:
        with_source(l, rc, 7, d);
        break;
    case RC_LOGIC:
        x64_test_rr(b, rc->size, d, d);
        break;
    case RC_TEST:
        with_source(l, rc, 8, d);
        break;
    default:
        x64_shift_ri(b, rc->op == RC_SHL ? 4 : rc->op == RC_SHR ? 5 : 7, rc->size, d, (unsigned)rc->imm);
        break;
    }
}

void lower_flags_before(struct lower *l, const struct ir_op *o)
{
    if (o->load_fl == FLAGS_RECIPE) {
        lower_recipe_flags(l, &o->rc);
    } else if (o->load_fl) {
        lower_load_flags(l);
    }
}
