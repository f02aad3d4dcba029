/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * lower_exit.c - ways out of a block.
 *
 * A direct exit is a branch (site A) to a stub, whose part `unlinked` is in the cold code when only site B leads there:
 *     full:      make the flags, when they are nowhere; save them, when they are not in cpu->fl
 *     noflags:   [backward, or out of a waiting loop: is something pending?]
 *                [other page: is it still mapped as when linked?]
 *     jump:      jmp successor                          (site B; unlinked: to the next line)
 *     unlinked:  call TH_UNLINKED             (state record: flags by recipe or in cpu->fl)
 * An exit that has to check nothing is bare: site A and `unlinked`, which saves the flags if they are in the host's
 * register.
 * When the successor overwrites all flags before anybody can see them, linking sends site A past the save, or straight
 * to the successor when there is nothing to check.  That needs the flags to be recoverable at `unlinked`, which is what
 * the recipe says; without one site A stays on `full`.
 */
#include "tb-store/stats.h"
#include "translator/x86-64/lower.h"

uint64_t lower_exit_lip(const struct lower *l, unsigned slot)
{
    uint64_t lip = l->ir->exit_ip[slot] + l->ir->key.cs_base;
    return (l->ir->key.hflags & HF_CODE_MASK) == HF_CODE64 ? lip : (uint32_t)lip;
}

/* A loop of one block that only reads: it waits for somebody else, maybe for a device that has overwritten the code
 * behind the loop.  Whoever did that has asked for an exit first (docs/concurrency.md). */
bool lower_is_waiting_loop(const struct ir_block *ir)
{
    bool self = false, reads = false;

    for (unsigned slot = 0; slot < ir->n_exits; slot++) {
        self |= ir->exit_ip[slot] == ir->ip;
    }
    if (!self) {
        return false;
    }
    for (unsigned i = 0; i < ir->n_ops; i++) {
        const struct ir_op *o = &ir->ops[i];
        reads |= o->op == IR_ADDR;
        if ((o->op == IR_ADDR && (o->acc & OA_W)) || (ir_op_attr[o->op] & IRA_F)) {
            return false;
        }
    }
    return reads;
}

static bool is_backward(const struct lower *l, uint64_t lip)
{
    return lip <= l->ir->lip + (uint64_t)(int64_t)l->guest_off || l->waits || l->ir->backward;
}

/* cpu->cp[] still says what it said when x was linked?  Returns the disp8 of the branch if not. */
uint8_t *lower_check_page(struct lower *l, struct exit_code *x, unsigned tmp)
{
    x64_mov_rm(&l->b, 8, tmp, X64_ENV(cp));
    x64_alu_mi(&l->b, 7, 4, x64_at(tmp, (int32_t)(4 * cp_slot(x->lip))), 0x7fffffff);
    x->cp_imm = x64_here(&l->b) - 4;
    return x64_jcc8(&l->b, CC_NE);
}

/* Where x leads to when it is not linked, and must not follow its link: `out` are the disp8 of such branches. */
void lower_leave(struct lower *l, struct exit_code *x, uint8_t *const *out, unsigned n_out, const struct recipe *rc)
{
    struct x64_buf *b = &l->b;

    x->jump_unlinked = x64_here(b);
    x64_patch_rel32(b, x->jump, x->jump_unlinked);
    if (x->flags & TBX_CALL) {
        x64_lea(b, 8, X_RSP, x64_at(X_RSP, 8));
        _Static_assert(TB_LEAVE_CALL == TB_LEAVE + 5, "with a byte of displacement");
    }
    for (unsigned i = 0; i < n_out; i++) {
        x64_patch_rel8(b, out[i]);
    }
    lower_call_thunk(l, TH_UNLINKED);
    /* guest_off is the branch, where RIP is for a target out of reach; else the exit's target is the state's RIP. */
    lower_record(l, x64_here(b), l->guest_off, rc ? SK_RECIPE : SK_ENV, rc);
}

static void unlinked(struct lower *l, unsigned index, uint8_t *const *out, unsigned n_out)
{
    const struct ir_op *o = &l->ir->ops[index];
    struct exit_code *x = &l->exit[o->slot];
    bool recipe = o->site == SK_RECIPE && ((x->flags & (TBX_CROSS | TBX_CALL)) || is_backward(l, x->lip));

    lower_leave(l, x, out, n_out, recipe ? &o->rc : NULL);
}

/* Nothing has to be checked or made anew: site A alone leads to the successor, where needed to its flags entry. */
static bool is_bare(const struct lower *l, const struct ir_op *o)
{
    uint64_t lip = lower_exit_lip(l, o->slot);

    return !l->opt->no_flags_entry && !l->ir->special && !o->pair && !o->fl_recipe && !is_backward(l, lip) &&
           !((lip ^ l->ir->lip) >> 12);
}

static bool is_taken(const struct ir_op *o)
{
    return o->op != IR_GOTO || o->in->row->cls == CL_CALL_REL || o->in->row->cls == CL_JMP_REL;
}

static void bare_stub(struct lower *l, const struct ir_op *o, uint8_t *branch)
{
    struct exit_code *x = &l->exit[o->slot];

    x->lip = lower_exit_lip(l, o->slot);
    x->flags = TBX_USED | (is_taken(o) ? TBX_TAKEN : 0) | (o->fl_in_host ? TBX_FLAGS : 0);
    x->branch = branch;
    x->branch_full = x->jump_unlinked = x64_here(&l->b);
    x64_patch_rel32(&l->b, branch, x->branch_full);
    lower_call_thunk(l, o->fl_in_host ? TH_UNLINKED_FLAGS : TH_UNLINKED);
    lower_record(l, x64_here(&l->b), l->guest_off, SK_ENV, NULL);
}

static void patch_here(struct lower *l, uint8_t *field)
{
    if (field) {
        x64_patch_rel32(&l->b, field, x64_here(&l->b));
    }
}

/* The stub at the current position; `branch` is site A or NULL. */
static void emit_stub(struct lower *l, unsigned index, uint8_t *branch, bool loop)
{
    struct x64_buf *b = &l->b;
    const struct ir_op *o = &l->ir->ops[index];
    unsigned slot = o->slot;
    struct exit_code *x = &l->exit[slot];
    uint64_t lip = lower_exit_lip(l, slot);
    bool backward = is_backward(l, lip);
    bool cross = (lip ^ l->ir->lip) >> 12;
    uint8_t *out[2];
    unsigned n_out = 0;
    struct loop_out lo = { 0 };
    uint8_t *loop_path = x64_here(b);

    if (branch && is_bare(l, o)) {
        bare_stub(l, o, branch);
        return;
    }
    if (loop) {
        lower_loop_path(l, o, &lo);
    }
    patch_here(l, lo.full);
    x->branch_full = x64_here(b);
    if (o->fl_recipe) {
        lower_recipe_flags(l, &o->rc);
    }
    if (o->fl_in_host || o->fl_recipe) {
        lower_save_flags(l);
    }
    if (l->ir->special) {
        lower_set_rip(l, l->ir->exit_ip[slot]);
        lower_jmp_thunk(l, TH_SPECIAL);
        if (branch) {
            x64_patch_rel32(b, branch, x->branch_full);
        }
        return;
    }
    uint8_t *checks = x64_here(b);
    patch_here(l, lo.checks);
    if (backward) {
        x64_alu_mi(b, 7, 4, X64_ENV(exit_request), 0);
        out[n_out++] = x64_jcc8(b, CC_NE);
    }
    x->lip = lip;
    if (cross) {
        out[n_out++] = lower_check_page(l, x, X_R9);
    }
    x->flags = TBX_USED | (cross ? TBX_CROSS : 0) | (is_taken(o) ? TBX_TAKEN : 0) | (o->pair ? TBX_CALL : 0);
    x->branch = branch;
    x->branch_noflags = !backward && !cross && !o->pair ? NULL
                        : !o->fl_in_host || o->site == SK_RECIPE ? checks : x->branch_full;
    if (loop) {
        x->flags |= TBX_LOOP;
        x->branch_noflags = loop_path;
    }
    x->flags |= branch && o->fl_in_host && !x->branch_noflags ? TBX_FLAGS : 0;
    if (o->pair) {
        lower_return_slot(l);
        x->jump = x64_call_aligned(b, NULL);
        lower_landing(l, index);
    } else {
        x->jump = x64_jmp_aligned(b, NULL);
    }
    if (branch) {
        x64_patch_rel32(b, branch, x->branch_full);
    }
    if (n_out || l->cold0) {
        unlinked(l, index, out, n_out);
    } else {
        lower_add_cold(l, &(struct cold) { .kind = COLD_UNLINKED, .op = (uint16_t)index });
    }
}

void lower_cold_unlinked(struct lower *l, const struct cold *k)
{
    lower_at_insn_of(l, k);
    unlinked(l, k->op, NULL, 0);
}

static void taken_branch(struct lower *l, unsigned index, uint8_t *branch)
{
    lower_add_cold(l, &(struct cold) { .kind = COLD_EXIT, .op = (uint16_t)index, .branch = branch,
                                       .loop = l->ir->ops[index].op == IR_JCC && lower_loop_end(l, index) });
}

static void short_jump_to_here(struct lower *l, uint8_t *disp8)
{
    if (!l->b.overflow) {
        disp8[l->b.rw_delta] = (uint8_t)(x64_here(&l->b) - (disp8 + 1));
    }
}

/* jrcxz reaches only bytes, so it hops over the jump to the stub. on_zero: take the exit when rCX is 0. */
static void branch_on_rcx(struct lower *l, unsigned index, unsigned size, bool on_zero, int zf)
{
    struct x64_buf *b = &l->b;
    uint8_t *not_zf = NULL, *zero;

    if (zf >= 0) {                                   /* LOOPE/LOOPNE: leave the loop on the wrong ZF */
        not_zf = x64_jcc(b, zf ? CC_NE : CC_E, NULL);
    }
    if (size == 2) {
        x64_op_rr(b, 8, 0x87, X_RCX, X_R9);          /* xchg: r9 holds rcx, ecx gets the zero-extended cx */
        x64_movzx_rr(b, 2, X_RCX, X_R9);
    } else if (size == 4) {
        x64_byte(b, 0x67);
    }
    x64_byte(b, 0xe3);
    x64_byte(b, 0);
    zero = x64_here(b) - 1;
    if (size == 2) {
        x64_mov_rr(b, 8, X_RCX, X_R9);
    }
    uint8_t *over = NULL;
    if (on_zero) {
        over = x64_jmp(b, NULL);
        short_jump_to_here(l, zero);
        if (size == 2) {
            x64_mov_rr(b, 8, X_RCX, X_R9);
        }
        taken_branch(l, index, x64_jmp_aligned(b, NULL));
        x64_patch_rel32(b, over, x64_here(b));
    } else {
        taken_branch(l, index, x64_jmp_aligned(b, NULL));
        short_jump_to_here(l, zero);
        if (size == 2) {
            x64_mov_rr(b, 8, X_RCX, X_R9);
        }
    }
    if (not_zf) {
        x64_patch_rel32(b, not_zf, x64_here(b));
    }
}

static void lower_loop(struct lower *l, unsigned index, const struct ir_op *o)
{
    struct x64_buf *b = &l->b;

    if (o->size == 2) {
        x64_lea(b, 4, X_R9, x64_at(X_RCX, -1));
        x64_mov_rr(b, 2, X_RCX, X_R9);
    } else {
        x64_lea(b, o->size, X_RCX, x64_at(X_RCX, -1));
    }
    branch_on_rcx(l, index, o->size, false, o->imm == 2 ? -1 : (int)o->imm);
}

/* What takes back the instruction's change of rSP. */
static int32_t rsp_undo(const struct dec_insn *in)
{
    return in->row->cls == CL_CALL_IND ? in->opsize
           : in->row->cls == CL_RET ? -(int32_t)(in->opsize + (in->imm & 0xffff)) : 0;
}

static void leave_indirect(struct lower *l, const struct dec_insn *in)
{
    lower_mov_lip(l, X_R10, l->ir->ip + l->guest_off);
    x64_mov_ri(&l->b, X_R9, (uint32_t)rsp_undo(in));
    lower_jmp_thunk(l, TH_INDIRECT);
}

/*
 * Look the target `to` (an offset; not in r10 or r11) up in the jump cache: r11 := its entry.  Nothing in there is out of
 * range: that is checked on a miss.  The second slot that it can be in is for k's cold part to look at.
 */
static void lookup(struct lower *l, unsigned to, struct cold *k)
{
    struct x64_buf *b = &l->b;

    if (l->ir->key.cs_base) {
        x64_lea(b, 4, X_R10, x64_at(to, (int32_t)l->ir->key.cs_base));
        to = X_R10;
    }
    if (l->opt->host_bmi2 && host_features()->bmi2) {
        x64_rorx(b, X_R11, to, 12);
    } else {
        x64_mov_rr(b, 8, X_R11, to);
        x64_shift_ri(b, 5, 8, X_R11, 12);
    }
    x64_alu_rr(b, 6, 4, X_R11, to);
    x64_alu_ri(b, 4, 4, X_R11, (1 << JC_BITS) - 1);
    x64_shift_ri(b, 4, 4, X_R11, 4);
    x64_alu_rm(b, 0, 8, X_R11, X64_ENV(jc));
    x64_alu_rm(b, 7, 8, to, x64_at(X_R11, offsetof(struct jc_entry, lip)));
    k->lip_reg = (uint8_t)to;
    k->no[0] = x64_jcc(b, CC_NE, NULL);
    k->found = x64_here(b);
    x64_alu_mi(b, 7, 4, X64_ENV(exit_request), 0);
    k->no[1] = x64_jcc(b, CC_NE, NULL);
    if (l->opt->profile) {
        lower_count(l, ST_JC_INLINE);
    }
}

static void lower_indirect(struct lower *l, unsigned index)
{
    struct x64_buf *b = &l->b;
    const struct ir_op *o = &l->ir->ops[index];
    struct cold k = { .kind = COLD_LEAVE, .op = (uint16_t)index };

    if (o->pair && o->in->row->cls == CL_RET) {
        lower_return(l, index);
        return;
    }
    k.reg = (uint8_t)lower_use(l, o->src, X_R9);
    if (l->ir->special) {
        x64_mov_mr(b, 8, X64_ENV(rip), k.reg);
        leave_indirect(l, o->in);
        return;
    }
    lookup(l, k.reg, &k);
    if (o->pair) {
        lower_return_slot(l);
        x64_mov_rm(b, 8, X_R11, x64_at(X_R11, offsetof(struct jc_entry, host)));
        x64_alu_ri(b, 5, 8, X_R11, TB_CALL_ENTRY);
        x64_op_rr(b, 4, 0xff, 2, X_R11);        /* call r11 */
        lower_landing(l, index);
    } else {
        x64_jmp_m(b, x64_at(X_R11, offsetof(struct jc_entry, host)));
    }
    lower_add_cold(l, &k);
}

static void cold_leave(struct lower *l, const struct cold *k)
{
    patch_here(l, k->no[0]);
    x64_alu_ri(&l->b, 6, 8, X_R11, sizeof(struct jc_entry));    /* jc_other() */
    x64_alu_rm(&l->b, 7, 8, k->lip_reg, x64_at(X_R11, offsetof(struct jc_entry, lip)));
    x64_jcc(&l->b, CC_E, k->found);
    patch_here(l, k->no[1]);
    x64_mov_mr(&l->b, 8, X64_ENV(rip), k->reg);
    leave_indirect(l, l->ir->ops[k->op].in);
}

void lower_cold_leave(struct lower *l, const struct cold *k)
{
    lower_at_insn_of(l, k);
    cold_leave(l, k);
}

void lower_cold_lookup(struct lower *l, const struct cold *k)
{
    struct cold leave = { .kind = COLD_LEAVE, .op = k->op, .reg = X_R9 };

    lower_at_insn_of(l, k);
    patch_here(l, k->no[0]);
    lookup(l, X_R9, &leave);
    x64_jmp_m(&l->b, x64_at(X_R11, offsetof(struct jc_entry, host)));
    cold_leave(l, &leave);
}

void lower_exit_op(struct lower *l, unsigned index)
{
    const struct ir_op *o = &l->ir->ops[index];
    struct x64_buf *b = &l->b;

    lower_flags_before(l, o);
    switch (o->op) {
    case IR_JCC:
        taken_branch(l, index, x64_jcc_aligned(b, o->cc, NULL));
        break;
    case IR_JCXZ:
        branch_on_rcx(l, index, o->size, true, -1);
        break;
    case IR_LOOPDEC:
        lower_loop(l, index, o);
        break;
    case IR_GOTO: {
        /* The stub follows directly; a branch to it is only worth its bytes when linking can skip something. */
        uint8_t *branch = (o->fl_in_host || o->fl_recipe) && !l->ir->special ? x64_jmp_aligned(b, NULL) : NULL;
        if (branch && is_bare(l, o)) {
            taken_branch(l, index, branch);
        } else {
            emit_stub(l, index, branch, branch && lower_loop_end(l, index));
        }
        break;
    }
    default:
        lower_indirect(l, index);
        break;
    }
}

bool lower_exit_is_backward(struct lower *l, const struct cold *k)
{
    lower_at_insn_of(l, k);
    return is_backward(l, lower_exit_lip(l, l->ir->ops[k->op].slot));
}

void lower_cold_exit(struct lower *l, struct cold *k)
{
    lower_at_insn_of(l, k);
    lower_forget(l);
    emit_stub(l, k->op, k->branch, k->loop);
}
