/* SPDX-License-Identifier: GPL-2.0-or-later */
/* lower.c - walks the IR once and emits the block: simple ops here, the rest in its lower_*.c. */
#include "translator/x86-64/lower.h"
#include "translator/mem.h"
#include "translator/help.h"

/* Guest register or temporary r is about to be in r10, if it has no register of its own. */
static void r10_loads(struct lower *l, unsigned r)
{
    if (r >= IR_T0) {
        r10_written(l);
    } else if (host_reg(r) == X_NONE) {
        r10_written(l);
        r10_holds(l, r);
    }
}

unsigned lower_any(struct lower *l, unsigned r)
{
    return r10_has(l, r) ? X_R10 : lower_use(l, r, X_R9);
}

unsigned lower_use(struct lower *l, unsigned r, unsigned scratch)
{
    if (r == l->r9_reg) {
        return X_R9;
    }
    if (r10_has(l, r)) {
        if (scratch != X_R9) {
            return X_R10;
        }
        x64_mov_rr(&l->b, 8, X_R9, X_R10);
        r9_holds(l, r);
        return X_R9;
    }
    if (scratch == X_R10) {
        r10_loads(l, r);
    }
    if (scratch == X_R9 && (r >= IR_T0 || host_reg(r) == X_NONE)) {
        r9_holds(l, r);
    }
    if (r >= IR_T0) {
        x64_mov_rm(&l->b, 8, scratch, tmp_slot(r));
        return scratch;
    }
    if (host_reg(r) == X_NONE) {
        x64_mov_rm(&l->b, 8, scratch, gpr_slot(r));
        return scratch;
    }
    return host_reg(r);
}

/* Write `src` (host register) to guest register or temporary dst by x86 rules: 1/2 merge, 4 zero-extends. */
static void def_reg(struct lower *l, unsigned dst, unsigned src, unsigned size)
{
    struct x64_buf *b = &l->b;

    if (dst >= IR_T0) {
        if (src != X_R9 || size != 8) {
            x64_movzx_rr(b, size, X_R9, src);
        }
        x64_mov_mr(b, 8, tmp_slot(dst), X_R9);
        r9_holds(l, dst);
    } else if (host_reg(dst) == X_NONE) {
        l->r9_reg = IR_NOREG;
        if (size == 4) {
            x64_mov_rr(b, 4, X_R9, src);
            x64_mov_mr(b, 8, gpr_slot(dst), X_R9);
        } else {
            x64_mov_mr(b, size, gpr_slot(dst), src);
        }
    } else if (size == 8 && host_reg(dst) == src) {
        return;
    } else {
        x64_mov_rr(b, size, host_reg(dst), src);
    }
}

/* Is the temporary that o loads still wanted behind the next op that needs r9 for itself? */
static bool tmp_survives_addr(const struct lower *l, const struct ir_op *o)
{
    const struct ir_op *end = l->ir->ops + l->ir->n_ops;

    if (l->opt->no_r9) {
        return true;
    }
    for (const struct ir_op *p = o + 1; p < end; p++) {
        switch (p->op) {
        case IR_ADDI:
            if (p->dst != R_RSP || p->src >= IR_T0 || host_reg(p->src) == X_NONE || p->size < 4) {
                return true;
            }
            break;
        case IR_MOV: case IR_GOTO_IND:
            return p->src != o->dst || p->load_fl;
        default:
            return true;
        }
    }
    return true;
}

static void lower_ld(struct lower *l, const struct ir_op *o)
{
    struct x64_buf *b = &l->b;

    lower_record(l, x64_here(b), l->guest_off, o->site, &o->rc);
    if (o->dst < 16 && host_reg(o->dst) != X_NONE) {
        x64_mov_rm(b, o->size, host_reg(o->dst), l->opnd);
        return;
    }
    x64_movzx_rm(b, o->size, X_R9, l->opnd);
    if (o->dst >= IR_T0 && !tmp_survives_addr(l, o)) {
        l->r9_reg = o->dst;       /* used before r9 is: no need for the slot */
        return;
    }
    def_reg(l, o->dst, X_R9, o->dst >= IR_T0 ? 8 : o->size);
}

/* An immediate that the guest rewrites: loaded where it stands. */
static void lower_ldc(struct lower *l, const struct ir_op *o)
{
    struct x64_buf *b = &l->b;
    bool in_place = o->dst < 16 && host_reg(o->dst) != X_NONE;
    unsigned to = in_place ? host_reg(o->dst) : X_R9;

    x64_mov_ri(b, X_R9, (uint64_t)o->imm);
    l->r9_reg = IR_NOREG;
    if (o->width == o->size) {
        x64_mov_rm(b, o->size, to, x64_at(X_R9, 0));
    } else if (o->width == 1) {
        x64_op_rm(b, o->size, 0x0fbe, to, x64_at(X_R9, 0));   /* MOVSX */
    } else {
        x64_op_rm(b, 8, 0x63, to, x64_at(X_R9, 0));           /* MOVSXD */
    }
    if (!in_place) {
        def_reg(l, o->dst, X_R9, o->size);
    }
}

static void lower_mov(struct lower *l, const struct ir_op *o)
{
    unsigned src = lower_any(l, o->src);

    if (o->dst >= IR_T0 && o->size == 8 && !tmp_survives_addr(l, o)) {
        if (src != X_R9) {
            x64_mov_rr(&l->b, 8, X_R9, src);
        }
        l->r9_reg = o->dst;
        return;
    }
    def_reg(l, o->dst, src, o->size);
}

static void lower_st(struct lower *l, const struct ir_op *o)
{
    unsigned src = lower_any(l, o->src);

    lower_record(l, x64_here(&l->b), l->guest_off, o->site, &o->rc);
    x64_mov_mr(&l->b, o->size, l->opnd, src);
}

static bool is_call(const struct dec_insn *in)
{
    return in->row->cls == CL_CALL_REL || in->row->cls == CL_CALL_IND;
}

static void lower_sti(struct lower *l, const struct ir_op *o)
{
    struct x64_buf *b = &l->b;

    if (o->size == 8 && o->imm != (int32_t)o->imm) {
        if (is_call(o->in)) {
            lower_mov_lip(l, X_R9, (uint64_t)o->imm);       /* the return address */
        } else {
            x64_mov_ri(b, X_R9, (uint64_t)o->imm);
        }
        l->r9_reg = IR_NOREG;
        lower_record(l, x64_here(b), l->guest_off, o->site, &o->rc);
        x64_mov_mr(b, 8, l->opnd, X_R9);
        return;
    }
    lower_record(l, x64_here(b), l->guest_off, o->site, &o->rc);
    l->movable &= !is_call(o->in);
    x64_mov_mi32(b, o->size, l->opnd, (int32_t)o->imm);
}

static void lower_addi(struct lower *l, const struct ir_op *o)
{
    struct x64_buf *b = &l->b;
    unsigned src = lower_use(l, o->src, X_R9);
    struct x64_mem m = x64_at(src, (int32_t)o->imm);

    if (o->size >= 4 && o->dst < 16 && host_reg(o->dst) != X_NONE) {
        x64_lea(b, o->size, host_reg(o->dst), m);
        return;
    }
    x64_lea(b, 8, X_R9, m);
    l->r9_reg = IR_NOREG;
    def_reg(l, o->dst, X_R9, o->size);
}

void lower_mov_lip(struct lower *l, unsigned dst, uint64_t lip)
{
    x64_mov_ri(&l->b, dst, lip);
    if (lip > UINT32_MAX && lip != (uint64_t)(int64_t)(int32_t)lip) {
        x64_note_fix(&l->b, x64_here(&l->b) - 8, true);
    } else {
        l->movable = false;
    }
}

void lower_set_rip(struct lower *l, uint64_t ip)
{
    struct x64_buf *b = &l->b;

    if (ip == (uint64_t)(int64_t)(int32_t)ip) {
        l->movable = false;
        x64_mov_mi32(b, 8, X64_ENV(rip), (int32_t)ip);
    } else {
        lower_mov_lip(l, X_R10, ip);
        x64_mov_mr(b, 8, X64_ENV(rip), X_R10);
    }
}

static void lower_helper(struct lower *l, const struct ir_op *o)
{
    unsigned pos = 0;

    for (uint64_t before = l->ir->keep & ((1ull << (o->in - l->ir->insns)) - 1); before; before &= before - 1) {
        pos++;
    }
    lower_set_rip(l, o->in->ip);
    x64_lea_rip(&l->b, X_R10, tb_kept(l->tb) + pos);
    if (o->op == IR_HELPER_X) {
        lower_jmp_thunk(l, TH_HELPER_X);
    } else {
        lower_call_thunk(l, TH_HELPER);
    }
}

static void lower_raise(struct lower *l, const struct ir_op *o)
{
    lower_set_rip(l, l->ir->ip + l->guest_off);
    x64_mov_ri(&l->b, X_R9, (uint64_t)o->imm);
    lower_jmp_thunk(l, TH_RAISE);
}

void lower_op(struct lower *l, const struct ir_op *o)
{
    if (o->load_fl) {
        lower_flags_before(l, o);
    }
    if (o->op == IR_NATIVE) {
        lower_native(l, o);
        return;
    }
    switch (o->op) {
    case IR_LEA: lower_lea(l, o); break;
    case IR_BTOFS: lower_btofs(l, o); break;
    case IR_PROBE:
        lower_record(l, x64_here(&l->b), l->guest_off, o->site, &o->rc);
        x64_movzx_rm(&l->b, 1, X_R9, l->opnd);
        l->r9_reg = IR_NOREG;
        break;
    case IR_LD: lower_ld(l, o); break;
    case IR_LDC: lower_ldc(l, o); break;
    case IR_ST: lower_st(l, o); break;
    case IR_STI: lower_sti(l, o); break;
    case IR_MOV: lower_mov(l, o); break;
    case IR_ADDI: lower_addi(l, o); break;
    case IR_HELPER: case IR_HELPER_X: lower_helper(l, o); lower_forget(l); break;
    case IR_RAISE: lower_raise(l, o); break;
    default: break;
    }
}

/* First op behind those of the current instruction that the commit path repeats. */
static unsigned use_end(const struct ir_block *ir, unsigned i)
{
    for (i++; i < ir->n_ops; i++) {
        switch (ir->ops[i].op) {
        case IR_ADDI: case IR_MOV:
            continue;
        default:
            return i;
        }
    }
    return i;
}

static inline void close_cold(struct lower *l, unsigned i)
{
    if (__builtin_expect(l->close_at == i, 0) && l->open_cold >= 0) {
        l->cold[l->open_cold].after = x64_here(&l->b);
        l->open_cold = -1;
        l->close_at = NOT_YET;
    }
}

static inline void lower_one(struct lower *l, const struct ir_op *o, unsigned i)
{
    close_cold(l, i);
    if (o->op == IR_INSN) {
        l->guest_off = (int)(int64_t)(o->in->ip - l->ir->ip);
        l->next_off = l->guest_off + o->in->len;
        return;
    }
    if (o->op == IR_ADDR) {
        lower_addr(l, i);
        return;
    }
    if (o->op >= IR_HELPER) {           /* leaves the block, now or perhaps */
        if (l->x87.at) {
            lower_x87_flush(l);
        }
        if (o->op >= IR_JCC) {
            lower_exit_op(l, i);
            return;
        }
    }
    if (l->open_cold >= 0 && o->stores) {
        struct cold *k = &l->cold[l->open_cold];
        k->use = (uint16_t)i;
        k->use_end = (uint16_t)use_end(l->ir, i);
        l->close_at = k->use_end;
    }
    if (o->op == IR_NATIVE && !o->load_fl) {
        lower_native(l, o);
    } else {
        lower_op(l, o);
    }
    if (o->gprs) {
        lower_track(l, o);
    }
    if (o->stores && !l->direct) {
        l->r9_reg = IR_NOREG;     /* the commit path joins with r9 gone */
        l->r10.kind = R10_FREE;
    }
    if (o->save_fl) {
        /* A store that writes flags is alone in its instruction: the commit path joins before the save. */
        close_cold(l, i + 1);
        lower_save_flags(l);
    }
}

void lower_count(struct lower *l, unsigned stat)
{
    x64_op_rm(&l->b, 8, 0xff, 0, x64_env(offsetof(struct guest_cpu, stat) + 8 * stat));
}

void lower_count_turn(struct lower *l)
{
    x64_mov_ri(&l->b, X_R9, (uint64_t)(uintptr_t)tb_exec_count(l->tbw));
    x64_op_rm(&l->b, 8, 0xff, 0, x64_at(X_R9, 0));
    lower_count(l, ST_EXECUTIONS);
}

/* Entry checks that do not belong to an op. */
static void lower_entry(struct lower *l)
{
    struct x64_buf *b = &l->b;

    if (l->ir->second_cp_id) {
        uint64_t second = (l->ir->lip & ~0xfffull) + 0x1000;
        x64_mov_rm(b, 8, X_R9, X64_ENV(cp));
        x64_alu_mi(b, 7, 4, x64_at(X_R9, (int32_t)(4 * cp_slot(second))), (int32_t)l->ir->second_cp_id);
        uint8_t *ok = x64_jcc(b, CC_E, NULL);
        lower_set_rip(l, l->ir->ip);
        lower_jmp_thunk(l, TH_RECHECK);
        x64_patch_rel32(b, ok, x64_here(b));
    }
    if (l->opt->profile) {
        lower_count_turn(l);
    }
}

/* What is in front of the cold code: exits, holes, copies of the decoded instructions that helpers need at run time. */
static uint8_t *place_parts(struct lower *l, const uint8_t *limit)
{
    const struct ir_block *ir = l->ir;
    unsigned n_kept = (unsigned)__builtin_popcountll(ir->keep);
    uint8_t *end = tb_place_parts(l->c, l->tb, ir->n_exits, ir->n_holes, n_kept);
    struct dec_insn *p = tb_kept(l->tbw);

    if (end + TB_FLAGS_ENTRY + 15 > limit) {
        return NULL;
    }
    for (unsigned i = 0; i < ir->n_holes; i++) {
        tb_holes(l->tbw)[i] = ir->hole[i];
    }
    for (uint64_t keep = ir->keep; keep; keep &= keep - 1) {
        xbt_copy(p++, &ir->insns[__builtin_ctzll(keep)], sizeof(*p));
    }
    /* The fields of exits in it lie as they would in a copy. */
    return (uint8_t *)(((uintptr_t)end + (l->split ? 0 : TB_FLAGS_ENTRY) + 7) & ~7ul);
}

static void fill_exits(struct lower *l)
{
    for (unsigned i = 0; i < l->ir->n_exits; i++) {
        const struct exit_code *x = &l->exit[i];
        struct tb_exit *w = &tb_exits(l->tbw)[i];

        if (x->flags) {
            tb_exit_set_lip(l->tb, w, x->lip);
            w->flags = x->flags;
            w->branch = tb_place(l->tb, x->branch);
            w->branch_full = tb_place(l->tb, x->branch_full);
            w->branch_noflags = tb_place(l->tb, x->branch_noflags);
            w->jump = tb_place(l->tb, x->jump);
            w->jump_unlinked = tb_place(l->tb, x->jump_unlinked);
            w->cp_imm = tb_place(l->tb, x->cp_imm);
        }
    }
}

/* Exits that loops take, once they are linked. */
static void lower_loop_exits(struct lower *l)
{
    unsigned n = l->n_cold;

    for (unsigned i = 0; i < n; i++) {
        if (l->cold[i].kind == COLD_EXIT && lower_exit_is_backward(l, &l->cold[i])) {
            l->x87 = l->cold[i].x87;
            l->cold[i].kind = COLD_DONE;
            lower_cold_exit(l, &l->cold[i]);
        }
    }
}

static void lower_cold(struct lower *l)
{
    for (unsigned i = 0; i < l->n_cold; i++) {
        l->x87 = l->cold[i].x87;
        switch (l->cold[i].kind) {
        case COLD_EXIT: lower_cold_exit(l, &l->cold[i]); break;
        case COLD_DONE: break;
        case COLD_UNLINKED: lower_cold_unlinked(l, &l->cold[i]); break;
        case COLD_LOOKUP: lower_cold_lookup(l, &l->cold[i]); break;
        case COLD_LEAVE: lower_cold_leave(l, &l->cold[i]); break;
        default: lower_cold_access(l, &l->cold[i]); break;
        }
    }
}

static bool may_move(const struct ir_block *ir, const struct xbt_options *opt)
{
    return !opt->no_relocate && !opt->profile && !ir->special && !ir->second_cp_id && !(ir->key.hflags & HF_BP) &&
           (ir->key.hflags & HF_CODE_MASK) == HF_CODE64 && tb_lip_moves(ir->lip);
}

/* Nothing emitted yet. */
static void lower_reset(struct lower *l)
{
    l->n_cold = l->n_recs = 0;
    l->cold0 = NULL;
    xbt_zero_words(l->exit, l->ir->n_exits * sizeof(l->exit[0]));
    l->x87.at = 0;
    l->open_cold = -1;
    l->clock = l->r9_used = l->r10_used = l->r11_used = 0;
    lower_forget(l);
    l->opnd = slow_operand();
    l->direct = false;
    l->movable = may_move(l->ir, l->opt);
    xbt_zero(l->fixes.n, sizeof(l->fixes.n));
    l->fixes.useless = false;
}

static void lower_start(struct lower *l, struct guest_cpu *c, const struct ir_block *ir, struct tb *tb)
{
    l->ir = ir;
    l->c = c;
    l->tb = tb;
    l->tbw = tb_rw(c->vm->store, tb);
    l->opt = &c->vm->opt;
    l->loop = (struct loop) { .pass = ir->loop ? LOOP_FIRST : LOOP_WITHOUT };
    l->waits = lower_is_waiting_loop(ir);
    l->fmt = tlb_format(c);
    l->fast_pext = host_features()->fast_pext && c->vm->opt.host_bmi2;
    l->bextr = host_features()->bmi1 && c->vm->opt.host_bmi2;
    l->hot = (ir->key.hflags & HF_HM) && !l->opt->no_r10 && !l->opt->no_r9;
    l->windows = !c->vm->opt.no_windows && !(ir->key.hflags & (HF_AC | HF_SEGS)) && (ir->key.hflags & HF_CODE_MASK);
    lower_reset(l);
}

_Static_assert((unsigned)X64_FIX_COLD == TB_FIX_COLD && (unsigned)X64_FIX_ABS == TB_FIX_ABS, "place_fixes()");

/* The list of fields for tb_relocate() behind the state map; returns its end. */
static uint8_t *place_fixes(struct lower *l, uint8_t *at, const uint8_t *limit)
{
    const struct x64_fixes *f = &l->fixes;
    any16 *n = (any16 *)(void *)(at + l->b.rw_delta), *p = n + TB_FIX_KINDS;

    if (!l->movable || f->useless || at + 2 * (TB_FIX_KINDS + f->n[0] + f->n[1] + f->n[2] + f->n[3]) > limit) {
        return at;
    }
    for (unsigned kind = 0; kind < TB_FIX_KINDS; kind++) {
        const uint8_t *from = kind & TB_FIX_COLD ? f->cold : l->entry;

        n[kind] = (uint16_t)f->n[kind];
        for (unsigned i = 0; i < f->n[kind]; i++) {
            *p++ = (uint16_t)(f->at[kind][i] - from);
        }
    }
    l->tbw->movable = 1;
    return at + 2 * (p - n);
}

/* The hot path. */
static void lower_hot(struct lower *l)
{
    lower_entries(l);
    l->entry = l->b.p;
    l->rec_base = l->entry;
    lower_entry(l);
    lower_loop_head(l);
    for (unsigned i = 0, n = l->ir->n_ops; i < n; i++) {
        lower_one(l, &l->ir->ops[i], i);
    }
    lower_loop_exits(l);
}

/* Back to where lower_hot() began, for the next attempt at a loop. */
static void lower_again(struct lower *l, uint8_t *start)
{
    l->loop.pass = l->loop.pass == LOOP_FIRST ? LOOP_SECOND : LOOP_WITHOUT;
    lower_reset(l);
    l->b.p = start;
}

uint8_t *lower_block(struct guest_cpu *c, const struct ir_block *ir, struct tb *tb, const struct tb_room *room)
{
    struct lower *l = c->lower;
    uint8_t *cold;

    lower_start(l, c, ir, tb);
    l->split = room->code != NULL;
    l->b = (struct x64_buf) { .rw_delta = (uint8_t *)l->tbw - (uint8_t *)tb, .alone = c->vm->max_cpus <= 1 };
    if (l->movable) {
        l->b.fixes = &l->fixes;
        l->fixes.cold = (const uint8_t *)tb;
        l->fixes.cold_limit = room->cold_limit;
    }
    cold = place_parts(l, room->cold_limit);
    if (!cold) {
        return NULL;
    }
    l->b.p = !l->split ? cold : lower_has_flags_entry(l) ? room->code_flags : room->code;
    l->b.limit = (l->split ? room->code_limit : room->cold_limit) - X64_SLACK;
    uint8_t *start = l->b.p;
    lower_hot(l);
    while (l->loop.pass == LOOP_FAILED || (l->loop.pass == LOOP_FIRST && l->loop.found)) {
        lower_again(l, start);
        lower_hot(l);
    }
    l->hot_size = (size_t)(l->b.p - l->entry);
    if (l->split) {
        l->b.p = cold;
        l->b.limit = room->cold_limit - X64_SLACK;
    }
    l->cold0 = l->b.p;
    l->rec_base = l->cold0 - l->hot_size - 1;
    lower_cold(l);
    if (l->b.overflow || !tb_place_code(c, tb, l->entry, l->hot_size, l->cold0, (size_t)(l->b.p - l->cold0))) {
        return NULL;
    }
    fill_exits(l);
    size_t n = state_map_encode(l->recs, l->n_recs, l->b.p + l->b.rw_delta, (size_t)(room->cold_limit - l->b.p));
    if ((l->n_recs && !n) || n > UINT16_MAX) {
        return NULL;
    }
    l->tbw->state_map_size = (uint16_t)n;
    return place_fixes(l, l->b.p + n, room->cold_limit);
}
