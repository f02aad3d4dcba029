/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * lower_loop.c - a block of a hot space that branches to itself.
 *
 * Linked like any other exit, each turn would save the flags, and look up again where its base registers' memory is
 * mapped.  Instead site A leads, while the exit is linked to its own block, to the loop path, and that to the head:
 *     entry:     host flags := the guest's, when the block reads what it finds
 *                r11, r10 := addends that are still known at the end of a turn
 *     head:      ...
 *     loop path: is something pending?   then to the exit's stub
 *                cpu->fl := FL_IN_HOST, when somebody may ask for the flags before they are overwritten
 *                jmp head
 * An addend stays right because the block has accessed memory by it, near where its register points to at the end of
 * the turn: a register that walks out of its window meets the guard.  What is known at the end is only known there, so
 * the block is lowered twice: as ever, noting that; then with it.  When it does not come out the same then (it could
 * only be that of r10 and r11 something else is kept), once more without.
 */
#include "tb-store/stats.h"
#include "translator/x86-64/lower.h"

#define NEAR 0x10000             /* bytes: far less than what drifts() leaves of the guards */

/* Does op o access its operand whatever the registers hold? */
static bool surely_accesses(const struct ir_op *o)
{
    const struct dec_insn *in = o->in;

    switch (o->op) {
    case IR_LD: case IR_ST: case IR_STI:
        return true;
    case IR_NATIVE:
        if (!in->has_mem || !in->mem_acc || (in->row->attr & IA_X87)) {
            return false;
        }
        return in->vex ? in->map == 1 || (in->map == 2 && in->opcode >= 0xf2)       /* not those by masks, not gathers */
                       : in->map == 0 || (in->map == 1 && ((in->opcode & 0xf0) == 0x10 || (in->opcode & 0xf0) == 0x50 ||
                                                           (in->opcode & 0xf0) == 0x60 || in->opcode == 0xaf ||
                                                           (in->opcode & 0xf6) == 0xb6)) ||
                         (in->map == 2 && in->opcode >= 0xf0);
    default:
        return false;
    }
}

void lower_loop_seen(struct lower *l, const struct ir_op *addr, int64_t off)
{
    if (surely_accesses(addr + 1)) {
        struct addend_seen *s = l->opnd.index == X_R10 ? &l->r10.seen : &l->win.seen;
        *s = (struct addend_seen) { true, off };
    }
}

static inline bool near(const struct addend_seen *s) { return s->yes && s->off >= -NEAR && s->off <= NEAR; }

/* Which addends are known at the end of a turn. */
static struct loop_state state_here(const struct lower *l)
{
    bool r11 = l->win.valid && l->win.hostmap && near(&l->win.seen), r10 = l->r10.kind == R10_ADDEND && near(&l->r10.seen);

    return (struct loop_state) { r11 ? l->win.reg : IR_NOREG, r10 ? l->r10.reg : IR_NOREG };
}

/* Can exit o be a loop's end?  Its flags must be there for the head, or not wanted. */
static bool flags_fit(const struct lower *l, const struct ir_op *o)
{
    bool by_recipe = o->site == SK_RECIPE, in_env = !o->fl_in_host && !o->fl_recipe;

    if (l->opt->profile && !by_recipe && !in_env) {
        return false;                                        /* counting takes flags */
    }
    return !in_env || !l->ir->loop_load;
}

bool lower_loop_end(struct lower *l, unsigned index)
{
    const struct ir_op *o = &l->ir->ops[index];
    struct loop_state now;

    if (l->ir->loop == LOOP_NONE || l->loop.pass == LOOP_WITHOUT || l->ir->exit_ip[o->slot] != l->ir->ip || o->pair ||
        !flags_fit(l, o)) {
        return false;
    }
    now = state_here(l);
    if (l->loop.pass == LOOP_FIRST) {
        l->loop.found = true;
        l->loop.want = now;
        return false;
    }
    if ((l->loop.want.r11 != IR_NOREG && now.r11 != l->loop.want.r11) ||
        (l->loop.want.r10 != IR_NOREG && now.r10 != l->loop.want.r10)) {
        l->loop.pass = LOOP_FAILED;
        return false;
    }
    return true;
}

void lower_loop_head(struct lower *l)
{
    const struct loop_state *w = &l->loop.want;

    if (l->ir->loop_load) {
        lower_load_flags(l);
    }
    if (l->loop.pass == LOOP_SECOND) {
        if (w->r11 != IR_NOREG) {
            lower_hostmap_addend(l, X_R11, host_reg(w->r11));
            l->win = (struct window) { .valid = true, .writable = true, .hostmap = true, .reg = (uint8_t)w->r11, .width = 8 };
        }
        if (w->r10 != IR_NOREG) {
            lower_hostmap_addend(l, X_R10, host_reg(w->r10));
            l->r10 = (struct r10_use) { .kind = R10_ADDEND, .reg = (uint8_t)w->r10 };
        }
        l->loop.head = x64_here(&l->b);
    }
}

/* Is something pending?  No flag is changed; leaves to `full`. */
static uint8_t *look_without_flags(struct lower *l)
{
    struct x64_buf *b = &l->b;

    x64_mov_rr(b, 8, X_R9, X_RCX);
    x64_mov_rm(b, 4, X_RCX, X64_ENV(exit_request));
    x64_byte(b, 0xe3);                                       /* jrcxz */
    x64_byte(b, 0);
    uint8_t *none = x64_here(b) - 1;
    x64_mov_rr(b, 8, X_RCX, X_R9);
    uint8_t *pending = x64_jmp(b, NULL);
    x64_patch_rel8(b, none);
    x64_mov_rr(b, 8, X_RCX, X_R9);
    return pending;
}

void lower_loop_path(struct lower *l, const struct ir_op *o, struct loop_out *out)
{
    struct x64_buf *b = &l->b;
    bool by_recipe = o->site == SK_RECIPE, in_env = !o->fl_in_host && !o->fl_recipe;
    bool carry = l->ir->loop == LOOP_HOST && l->ir->needs_flags && !in_env;

    lower_forget(l);
    if (l->ir->loop == LOOP_ENV && l->ir->needs_flags && !in_env) {
        if (o->fl_recipe) {
            lower_recipe_flags(l, &o->rc);
        }
        lower_save_flags(l);
        in_env = true;
    }
    if (!by_recipe && !in_env) {
        out->full = look_without_flags(l);
    } else {
        if (l->opt->profile) {
            lower_count_turn(l);
        }
        x64_alu_mi(b, 7, 4, X64_ENV(exit_request), 0);
        out->checks = x64_jcc(b, CC_NE, NULL);
        if (carry) {
            lower_recipe_flags(l, &o->rc);
        }
    }
    if (carry) {
        x64_mov_mi32(b, 1, X64_ENV(fl), FL_IN_HOST);
    }
    x64_jmp(b, l->loop.head);
}
