/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * opt_flags.c - where the guest's status flags live, op by op.
 *
 * At the entry of a block they are in cpu->fl.  After an op that writes flags they are in the host's flags until an op
 * clobbers those (address translation does).  Saving them costs five instructions, so a producer's flags are saved
 * only when somebody needs them later and cannot get them otherwise:
 *  - a helper behind a clobber,
 *  - a reader, an exit or a precise-state site, unless they are still in the host's register there, or a recipe can
 *    recompute them from registers unchanged since.
 * Runs once more when it has found a producer that must save: what came before did not know it.
 */
#include "translator/ir.h"
#include "translator/row_facts.h"
#include "translator/mem.h"

struct fl_state {
    int prod;             /* op that wrote the flags last; -1: as at block entry */
    bool host_ok;         /* the host's flags are the guest's */
    bool recipe_ok;
    bool entry_ok;        /* the block may loop, and what the host's flags were at its head they still are */
    bool entry_env;       /* ... but somebody wants those in cpu->fl */
    struct recipe rc;
    bool direct;          /* the last ADDR is one through the host's MMU */
    int store;            /* op of this instruction that stores to memory; -1 none */
    bool changed;         /* an op has been found to save that was not known to */
    const struct xbt_options *opt;
};

static bool is_exit_op(const struct ir_op *o)
{
    return o->op >= IR_JCC && o->op <= IR_GOTO;
}
_Static_assert(IR_JCXZ == IR_JCC + 1 && IR_LOOPDEC == IR_JCC + 2 && IR_GOTO == IR_JCC + 3, "is_exit_op()");

/* Can anybody see flags written before op k once op k has been executed? Conservative. */
static bool dead_after(const struct ir_block *b, unsigned k)
{
    for (unsigned i = k + 1; i < b->n_ops; i++) {
        const struct ir_op *o = &b->ops[i];
        if (o->is_site || is_exit_op(o) || (ir_op_attr[o->op] & (IRA_F | IRA_X)) || o->fl_read) {
            return false;
        }
        if ((o->fl_write & FL_STATUS) == FL_STATUS && !o->fl_maybe) {
            return true;
        }
        if (o->fl_write) {
            return false;
        }
    }
    return false;
}

/* SHL, SHR, SAR of a register by a constant: replayed on the old value, which costs one store to keep. */
static bool shift_recipe(const struct ir_op *o, struct recipe *rc)
{
    static const int8_t op_of[8] = { -1, -1, -1, -1, RC_SHL, RC_SHR, -1, RC_SAR };
    const struct dec_insn *in = o->in;
    bool one = (in->opcode & 0xfe) == 0xd0;
    int op = op_of[in->modrm >> 3 & 7];

    if (op < 0 || o->fl_maybe || !o->fl_write || dec_op_size(in, 0) < 4) {
        return false;
    }
    rc->op = (uint8_t)op;
    rc->size = (uint8_t)dec_op_size(in, 0);
    rc->dst = 0;
    rc->src = IR_NOREG;
    rc->imm = one ? 1 : (int32_t)(in->imm & 63);
    return true;
}

/* The recipe of producer o, if it has one that holds right after it. */
static bool make_recipe(const struct ir_op *o, struct recipe *rc)
{
    const struct dec_insn *in = o->in;
    const struct insn_row *row = in->row;
    unsigned kind, dst = IR_NOREG, src = IR_NOREG;
    bool imm = false;

    if (o->op != IR_NATIVE || in->has_mem || facts_of(in)->recipe == RRC_NONE) {
        return false;
    }
    if (facts_of(in)->recipe == RRC_SHIFT) {
        return shift_recipe(o, rc);
    }
    if (in->opcode < 0x40 && (in->opcode & 7) <= 5) {
        kind = in->opcode >> 3;
    } else if (in->opcode >= 0x80 && in->opcode <= 0x83) {
        kind = in->modrm >> 3 & 7;
    } else {
        kind = 8;
    }
    static const int8_t op_of[9] = { RC_ADD, RC_LOGIC, -1, -1, RC_LOGIC, RC_SUB, RC_LOGIC, RC_CMP, RC_TEST };
    if (op_of[kind] < 0) {
        return false;
    }
    unsigned bytes = facts_of(in)->bytes;
    for (unsigned i = 0; i < 2; i++) {
        unsigned reg;
        switch (row->op[i].loc) {
        case OL_REG: reg = in->reg; break;
        case OL_RM: reg = in->rm; break;
        case OL_ACC: reg = R_RAX; break;
        case OL_IMM: imm = true; continue;
        default: return false;
        }
        if (bytes && dec_is_high8(in, reg)) {
            return false;
        }
        if (i == 0) {
            dst = reg;
        } else {
            src = reg;
        }
    }
    rc->op = (uint8_t)op_of[kind];
    rc->size = bytes ? 1 : in->opsize;
    rc->dst = (uint8_t)dst;
    rc->src = (uint8_t)src;
    rc->imm = (int32_t)in->imm;
    if (dst == IR_NOREG || (src == IR_NOREG) != imm || (imm && in->imm != (int32_t)in->imm)) {
        return false;
    }
    if (rc->op == RC_LOGIC) {
        rc->src = rc->dst;
        return true;
    }
    return src != dst || rc->op == RC_CMP || rc->op == RC_TEST;
}

static void need_env(struct ir_block *b, struct fl_state *s)
{
    if (s->prod < 0) {
        b->needs_flags = s->entry_env = true;
    } else {
        s->changed |= !b->ops[s->prod].save_fl;
        b->ops[s->prod].save_fl = 1;
    }
}

static bool in_env(const struct ir_block *b, const struct fl_state *s)
{
    return s->prod < 0 || b->ops[s->prod].save_fl;
}

static void use_recipe(struct ir_block *b, const struct fl_state *s, struct recipe *rc)
{
    *rc = s->rc;
    if (s->rc.op >= RC_SHL) {
        b->ops[s->prod].keep_old = 1;
    }
}

/* Decide the site kind for the current state; may demand a save. */
static uint8_t site_kind(struct ir_block *b, struct fl_state *s, bool host_visible, struct recipe *rc)
{
    if (s->prod < 0 && s->entry_ok && host_visible) {
        b->needs_flags = true;
        return SK_ENTRY;
    }
    if (in_env(b, s)) {
        need_env(b, s);
        return SK_ENV;
    }
    if (host_visible && s->host_ok) {
        return SK_HOST;
    }
    if (s->recipe_ok) {
        use_recipe(b, s, rc);
        return SK_RECIPE;
    }
    need_env(b, s);
    return SK_ENV;
}

/* Behind an instruction that stores. */
static void end_of_insn(struct ir_block *b, struct fl_state *s)
{
    struct ir_op *o = &b->ops[s->store];

    if (o->op == IR_NATIVE && s->prod == s->store) {
        o->site_after = SK_HOST;    /* the commit path joins before they are saved */
    } else {
        o->site_after = site_kind(b, s, false, &o->rc_after);
    }
    s->store = -1;
}

static void visit_exit(struct ir_block *b, struct fl_state *s, struct ir_op *o)
{
    o->fl_in_host = o->fl_recipe = 0;
    if (in_env(b, s)) {
        need_env(b, s);
        o->site = SK_ENV;
    } else if (s->host_ok) {
        o->fl_in_host = 1;
        o->site = s->recipe_ok && s->rc.op < RC_SHL ? SK_RECIPE : SK_NONE;
        o->rc = s->rc;
    } else if (s->recipe_ok) {
        o->fl_recipe = 1;
        o->site = SK_RECIPE;
        use_recipe(b, s, &o->rc);
    } else {
        need_env(b, s);
        o->site = SK_ENV;
    }
}

/* Is something gone that the recipe needs? */
static inline void overwrite(struct fl_state *s, const struct ir_op *o)
{
    if (s->recipe_ok && s->rc.op < RC_SHL &&
        ((o->gprs >> s->rc.dst & 1) || (s->rc.src != IR_NOREG && (o->gprs >> s->rc.src & 1)))) {
        s->recipe_ok = false;
    }
}

static void visit(struct ir_block *b, struct fl_state *s, unsigned k)
{
    struct ir_op *o = &b->ops[k];
    unsigned attr = ir_op_attr[o->op];
    uint16_t reads = o->fl_read, writes = o->fl_write;
    bool enable = !s->opt->no_flags, exit = is_exit_op(o);

    if (o->op == IR_ADDR) {
        s->direct = false;
    }
    if (exit) {
        s->store = -1;      /* a store in the block's last instruction needs no state after it */
    }
    if (writes && ((writes & FL_STATUS) != FL_STATUS || o->fl_maybe) && (s->opt->no_dead_flags || !dead_after(b, k))) {
        reads |= o->fl_maybe ? FL_STATUS : FL_STATUS & ~writes;
    }
    if (o->is_site) {
        o->site = site_kind(b, s, !(attr & IRA_C), &o->rc);
    }
    if (attr & IRA_F) {
        need_env(b, s);
    }
    o->load_fl = 0;
    if (reads && !s->host_ok) {
        if (s->recipe_ok && !in_env(b, s)) {
            use_recipe(b, s, &o->rc);
            o->load_fl = FLAGS_RECIPE;
        } else if (s->prod < 0 && s->entry_ok) {
            b->needs_flags = b->loop_load = true;            /* done in front of the loop */
        } else {
            need_env(b, s);
            o->load_fl = FLAGS_ENV;
        }
        s->host_ok = enable;
    }
    if (exit) {
        visit_exit(b, s, o);
    }
    if (attr & IRA_C) {
        s->host_ok = s->entry_ok = false;
    }
    if (o->stores) {
        s->store = s->direct ? -1 : (int)k;     /* no commit path behind a store through the host's MMU */
    }
    overwrite(s, o);
    if (writes) {
        s->prod = (int)k;
        s->host_ok = enable;
        s->recipe_ok = enable && !s->opt->no_recipes && make_recipe(o, &s->rc);
        if (!enable) {
            o->save_fl = 1;
        }
    }
}

/* Does the block branch to itself, where lower_loop.c knows what to do? */
static bool may_loop(const struct ir_block *b, const struct xbt_options *opt)
{
    bool self = false;

    if (!(b->key.hflags & HF_HM) || b->special || b->second_cp_id || opt->no_loops || opt->no_flags) {
        return false;
    }
    for (unsigned i = 0; i < b->n_exits; i++) {
        self |= b->exit_ip[i] == b->ip;
    }
    return self;
}

/* Returns whether a save was found behind decisions that did not know of it. */
static bool run(struct ir_block *b, const struct xbt_options *opt, bool loop)
{
    struct fl_state s = { .prod = -1, .host_ok = false, .recipe_ok = false, .store = -1, .opt = opt, .entry_ok = loop };

    b->loop_load = false;
    for (unsigned k = 0, n = b->n_ops; k < n; k++) {
        const struct ir_op *o = &b->ops[k];

        if (o->quiet) {
            overwrite(&s, o);
        } else if (o->op == IR_INSN) {
            if (__builtin_expect(s.store >= 0, 0)) {
                end_of_insn(b, &s);
            }
        } else if (o->hostmap) {
            s.direct = true;            /* an address only */
        } else {
            visit(b, &s, k);
        }
    }
    b->loop = !loop ? LOOP_NONE : !s.entry_env ? LOOP_HOST : !b->loop_load ? LOOP_ENV : LOOP_NONE;
    return s.changed;
}

void opt_flags(struct ir_block *b, const struct xbt_options *opt)
{
    b->needs_flags = false;
    bool loop = may_loop(b, opt);

    if (run(b, opt, loop)) {  /* finds saves; they may cascade, so */
        run(b, opt, loop);    /* annotate with them known */
    }
    if (opt->no_flags || opt->no_dead_flags) {
        b->needs_flags = true;
    }
}
