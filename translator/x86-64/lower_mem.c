/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * lower_mem.c - the memory access sequence.
 *
 * Hot path (flat tables): effective address, one test for page crossing (only when the address is not aligned to the
 * operand), index, entry load, test, then the guest's own instruction on [r10 + r11].  Everything rare is cold: the
 * exact crossing check, the miss, and for stores a second copy of the storing ops that works on the bounce buffer and
 * is followed by the commit.
 */
#include "translator/x86-64/lower.h"

static size_t seg_off(unsigned seg)
{
    return offsetof(struct guest_cpu, seg) + seg * sizeof(struct guest_seg);
}

/* Limit check and base for one segment; r10 = offset in, linear out. */
static void seg_checked(struct lower *l, struct cold *k, const struct ir_op *o)
{
    struct x64_buf *b = &l->b;
    bool wr = o->acc & OA_W;
    size_t s = seg_off(o->seg);

    x64_alu_rm(b, 7, 4, X_R10, x64_env(s + (wr ? offsetof(struct guest_seg, w_lo) : offsetof(struct guest_seg, r_lo))));
    k->seg[0] = x64_jcc(b, CC_B, NULL);
    x64_lea(b, 4, X_R11, x64_at(X_R10, o->size - 1));
    x64_alu_rm(b, 7, 4, X_R11, x64_env(s + (wr ? offsetof(struct guest_seg, w_hi) : offsetof(struct guest_seg, r_hi))));
    k->seg[1] = x64_jcc(b, CC_A, NULL);
    x64_alu_rr(b, 7, 4, X_R11, X_R10);
    k->seg[2] = x64_jcc(b, CC_B, NULL);
    x64_alu_rm(b, 0, 4, X_R10, x64_env(s + offsetof(struct guest_seg, base)));
}

/* Outside 64-bit mode: is the operand's segment not known to be flat? */
static bool segment_checked(const struct lower *l, const struct ir_op *o)
{
    return (l->ir->key.hflags & HF_SEGS) || o->seg == S_FS || o->seg == S_GS || o->seg == S_CS;
}

static void add_segment(struct lower *l, struct cold *k, const struct ir_op *o)
{
    bool code64 = (l->ir->key.hflags & HF_CODE_MASK) == HF_CODE64;

    if (code64) {
        if (o->seg == S_FS || o->seg == S_GS) {
            x64_alu_rm(&l->b, 0, 8, X_R10, x64_env(seg_off(o->seg) + offsetof(struct guest_seg, base)));
        }
        return;
    }
    if (segment_checked(l, o)) {
        seg_checked(l, k, o);
    }
}

static void address_to_r10(struct lower *l, const struct ir_op *o)
{
    struct x64_buf *b = &l->b;

    if (o->kind == AK_REG) {
        unsigned r = lower_use(l, o->src, X_R10);
        x64_lea(b, o->width == 8 ? 8 : 4, X_R10, x64_at(r, (int32_t)o->imm));
        if (o->width == 2) {
            x64_movzx_rr(b, 2, X_R10, X_R10);
        }
        return;
    }
    lower_ea(l, o->in, X_R10, o->imm);
    if (o->kind == AK_BT) {
        x64_alu_rm(b, 0, 8, X_R10, tmp_slot(IR_T1));
        if (o->in->adsize == 4) {
            x64_mov_rr(b, 4, X_R10, X_R10);
        } else if (o->in->adsize == 2) {
            x64_movzx_rr(b, 2, X_R10, X_R10);
        }
    }
}

static void compute_address(struct lower *l, const struct ir_op *o)
{
    address_to_r10(l, o);
    l->r10.kind = R10_FREE;
}

static void table_base(struct lower *l, const struct ir_op *o)
{
    if (o->acc & OA_W) {
        x64_mov_rm(&l->b, 8, X_R9, X64_ENV(wtab));
    } else {
        x64_mov_rm(&l->b, 8, X_R9, X64_ENV(rtab));
    }
}

static void lookup_flat(struct lower *l, const struct ir_op *o, struct cold *k)
{
    struct x64_buf *b = &l->b;
    bool code64 = (l->ir->key.hflags & HF_CODE_MASK) == HF_CODE64;

    if (!code64) {
        x64_mov_rr(b, 4, X_R11, X_R10);
        x64_shift_ri(b, 5, 4, X_R11, 12);
    } else if (l->bextr) {
        x64_mov_ri(b, X_R9, 36 << 8 | 12);
        x64_bextr_rrr(b, X_R11, X_R10, X_R9);
    } else if (l->fast_pext) {
        x64_pext_rrm(b, X_R11, X_R10, X64_ENV(ea_mask));
    } else {
        x64_mov_rr(b, 8, X_R11, X_R10);
        x64_shift_ri(b, 4, 8, X_R11, 16);
        x64_shift_ri(b, 5, 8, X_R11, 28);
    }
    table_base(l, o);
    x64_mov_rm(b, 8, X_R11, (struct x64_mem) { X_R9, X_R11, 3, 0 });
    x64_test_rr(b, 8, X_R11, X_R11);
    k->miss = x64_jcc(b, CC_E, NULL);
}

static void lookup_tagged(struct lower *l, const struct ir_op *o, struct cold *k)
{
    struct x64_buf *b = &l->b;

    x64_mov_rr(b, 4, X_R11, X_R10);
    x64_shift_ri(b, 5, 4, X_R11, 12);
    x64_alu_ri(b, 4, 4, X_R11, TLB_TAGGED_SIZE - 1);
    table_base(l, o);
    x64_lea(b, 8, X_R9, (struct x64_mem) { X_R9, X_R11, 3, 0 });
    x64_mov_rr(b, 8, X_R11, X_R10);
    x64_alu_ri(b, 4, 8, X_R11, -4096);
    x64_alu_rm(b, 7, 8, X_R11, x64_at(X_R9, 0));
    k->miss = x64_jcc(b, CC_NE, NULL);
    x64_mov_rm(b, 8, X_R11, x64_at(X_R9, 8 * TLB_TAGGED_SIZE));
}

/* r11 may hold a window's addend: only r9 is used. */
static void crossing_test(struct x64_buf *b, unsigned size) /* CC_B: it crosses */
{
    x64_lea(b, 4, X_R9, x64_at(X_R10, (int32_t)size - 1));
    x64_alu_rr(b, 6, 4, X_R9, X_R10);
    x64_bt_ri(b, X_R9, 12);
}

/* Must a misaligned operand raise #AC?  Those that demand alignment raise #GP by themselves. */
static bool alignment_checked(const struct lower *l, const struct ir_op *o)
{
    return (l->ir->key.hflags & HF_AC) && o->size > 1 && !o->aligned && !o->no_ac;
}

/* Leave when the operand may cross into the next page. */
static void crossing_guard(struct lower *l, struct cold *k, const struct ir_op *o)
{
    struct x64_buf *b = &l->b;

    if (o->size == 1 || o->aligned == ALIGN_MXCSR || (o->aligned && l->fmt == TLB_FLAT)) {
        return;
    }
    if (o->size <= 8 && !(o->size & (o->size - 1))) {
        x64_test_ri8(b, X_R10, (uint8_t)(o->size - 1));
        k->unaligned = x64_jcc(b, CC_NE, NULL);
    } else {
        crossing_test(b, o->size);
        k->cross = x64_jcc(b, CC_B, NULL);
    }
}

static void lookup(struct lower *l, struct cold *k, const struct ir_op *o)
{
    if (l->fmt == TLB_FLAT) {
        lookup_flat(l, o, k);
    } else {
        lookup_tagged(l, o, k);
    }
}

/* ---- access windows ---- */

/* The one register that an operand's address is off, or IR_NOREG; *off and *width tell the rest. */
static unsigned window_base(const struct lower *l, const struct ir_op *o, int64_t *off, unsigned *width)
{
    if (o->seg == S_FS || o->seg == S_GS || o->seg == S_CS || (o->aligned == ALIGN_MXCSR && !o->hostmap)) {
        return IR_NOREG;
    }
    if (o->kind == AK_REG) {
        *off = o->imm;
        *width = o->width;
        return o->src;
    }
    if (o->kind == AK_INSN && o->in->base < 16 && o->in->index == REG_NONE) {
        *off = o->in->disp + o->imm;
        *width = o->in->adsize;
        return o->in->base;
    }
    return IR_NOREG;
}

static bool window_fits(const struct lower *l, const struct ir_op *o)
{
    if (!l->windows) {
        return false;
    }
    int64_t off = 0;
    unsigned width = 0, reg = window_base(l, o, &off, &width);

    return l->win.valid && reg == l->win.reg && width == l->win.width && (l->win.writable || !(o->acc & OA_W));
}

static void window_open(struct lower *l, const struct ir_op *o)
{
    if (!l->windows) {
        return;
    }
    unsigned width = 0, reg = window_base(l, o, &l->win.off, &width);

    l->win.valid = reg != IR_NOREG && width >= 4;
    l->win.hostmap = l->win.seen.yes = false;
    l->win.writable = o->acc & OA_W;
    l->win.reg = (uint8_t)reg;
    l->win.width = (uint8_t)width;
}

/* Same page as the last access?  Then r11 is good for this one too. */
static void window_access(struct lower *l, struct cold *k, const struct ir_op *o)
{
    struct x64_buf *b = &l->b;
    bool writable = l->win.writable;

    x64_mov_rr(b, 8, X_R9, X_R10);
    l->r9_reg = IR_NOREG;
    compute_address(l, o);
    x64_alu_rr(b, 6, 8, X_R9, X_R10);
    x64_rex(b, true, X_NONE, X_NONE, X_R9, false);      /* test r9, ~0xfff */
    x64_byte(b, 0xf7);
    x64_modrm_rr(b, 0, X_R9);
    x64_u32(b, 0xfffff000u);
    k->leave_window = x64_jcc(b, CC_NE, NULL);
    k->close_window = writable && !(o->acc & OA_W);
    crossing_guard(l, k, o);
    k->fast = k->resume = x64_here(b);
    window_open(l, o);
    l->win.writable = writable;
}

/* Does op o add a constant to a register?  Then *reg, *imm. */
static bool adds_constant(const struct ir_op *o, bool hostmap, unsigned *reg, int64_t *imm)
{
    const struct dec_insn *in = o->in;

    if (o->op == IR_ADDI && o->dst == o->src) {
        *reg = o->dst;
        *imm = o->imm;
        return o->size == 8 || (o->size == 4 && !hostmap);   /* to zero-extend is not to add */
    }
    if (o->op == IR_NATIVE && !in->has_mem && !in->vex && in->map == 0 && (in->opcode == 0x83 || in->opcode == 0x81)) {
        unsigned ext = in->modrm >> 3 & 7;
        *reg = in->rm;
        *imm = ext == 0 ? in->imm : -in->imm;
        return (ext == 0 || ext == 5) && in->opsize == (in->mode == 2 ? 8 : 4);
    }
    if (o->op == IR_NATIVE && !in->vex && in->map == 0 && (in->opcode == 0x05 || in->opcode == 0x2d)) {
        *reg = R_RAX;
        *imm = in->opcode == 0x05 ? in->imm : -in->imm;
        return in->opsize == (in->mode == 2 ? 8 : 4);
    }
    if (o->op == IR_NATIVE && !in->has_mem && !in->vex && in->map == 0 && in->opcode == 0xff && hostmap) {
        *reg = in->rm;                                      /* INC, DEC */
        *imm = (in->modrm >> 3 & 7) ? -1 : 1;
        return (in->modrm >> 3 & 7) < 2 && in->opsize == 8;
    }
    if (o->op == IR_LEA && hostmap) {
        *reg = o->dst;
        *imm = in->disp;
        return o->size == 8 && in->adsize == 8 && in->base == o->dst && in->index == REG_NONE;
    }
    return false;
}

/* Op o has written `reg`, which an addend was looked up for at reg + *off.  False: it is no longer that of reg. */
static bool still_near(const struct ir_op *o, unsigned reg, bool hostmap,
                       int64_t *off, struct addend_seen *seen)
{
    unsigned r;
    int64_t imm;

    if (!adds_constant(o, hostmap, &r, &imm) || r != reg) {
        return false;
    }
    *off -= imm;
    seen->off -= imm;
    return *off == (int32_t)*off;
}

void lower_track(struct lower *l, const struct ir_op *o)
{
    if (l->win.valid && (o->gprs >> l->win.reg & 1)) {
        l->win.valid = still_near(o, l->win.reg, l->win.hostmap, &l->win.off, &l->win.seen);
    }
    if (l->r10.kind && (o->gprs >> l->r10.reg & 1) && !l->r10.fresh &&
        (l->r10.kind == R10_COPY || !still_near(o, l->r10.reg, true, &l->r10.off, &l->r10.seen))) {
        l->r10.kind = R10_FREE;
    }
    l->r10.fresh = false;
}

/* ---- through the host's MMU ---- */

void lower_hostmap_addend(struct lower *l, unsigned dst, unsigned r)
{
    struct x64_buf *b = &l->b;

    const struct x64_mem m = { X_RSP, (uint8_t)dst, 3, (int32_t)offsetof(struct guest_cpu, hm_add) };
    uint8_t *q = x64_put_rorx(x64_begin(b), dst, r, 40);

    q = x64_put_movzx_rr(q, 1, dst, dst);
    x64_end(b, x64_put_rm(q, 8, 0x8b, dst, m));
}

/* The addend of a constant address. */
static void hostmap_addend_of(struct lower *l, uint64_t lin)
{
    x64_mov_rm(&l->b, 8, X_R11, x64_env(offsetof(struct guest_cpu, hm_add) + 8 * (lin >> 40 & 255)));
}

/* Farther from the checked address than any guard protects? */
static bool drifts(int64_t d)
{
    return d < -0x7fff0000ll || d > 0x7fff0000ll;
}

/* r10 := guest register reg, which has no register of its own. */
static void base_in_r10(struct lower *l, unsigned reg)
{
    if (r10_has(l, reg)) {
        return;
    }
    r10_written(l);
    if (l->r9_reg == reg) {
        x64_mov_rr(&l->b, 8, X_R10, X_R9);
    } else {
        x64_mov_rm(&l->b, 8, X_R10, gpr_slot(reg));
    }
    r10_holds(l, reg);
}

/* The scratch register that holds the addend for guest register reg, at `base`, plus off; r10 may be used for a second. */
static unsigned addend_of(struct lower *l, unsigned reg, unsigned base, int64_t off, bool second)
{
    bool in_r11 = l->win.valid && l->win.hostmap;

    if (in_r11 && l->win.reg == reg && !drifts(off - l->win.off)) {
        l->r11_used = ++l->clock;
        return X_R11;
    }
    if (second && l->r10.kind == R10_ADDEND && l->r10.reg == reg && !drifts(off - l->r10.off)) {
        l->r10_used = ++l->clock;
        return X_R10;
    }
    if (second && l->hot && in_r11 && (l->r10.kind == R10_FREE || l->r10_used < l->r11_used)) {
        lower_hostmap_addend(l, X_R10, base);
        l->r10 = (struct r10_use) { .kind = R10_ADDEND, .reg = (uint8_t)reg };
        l->r10_used = ++l->clock;
        return X_R10;
    }
    lower_hostmap_addend(l, X_R11, base);
    l->win = (struct window) { .valid = true, .writable = true, .hostmap = true, .reg = (uint8_t)reg, .width = 8 };
    l->r11_used = ++l->clock;
    return X_R11;
}

/* The operand is off one 64-bit register: [reg + addend + off]. */
static void hostmap_based(struct lower *l, const struct ir_op *o, unsigned reg, int64_t off)
{
    unsigned base = host_reg(reg);
    bool x87 = o->in->row->attr & IA_X87, second = base != X_NONE && !x87;

    if (base == X_NONE) {
        base_in_r10(l, reg);
        base = X_R10;
    }
    l->opnd = (struct x64_mem) { (uint8_t)base, (uint8_t)addend_of(l, reg, base, off, second), 0, (int32_t)off };
    if (second) {
        lower_loop_seen(l, o, off);
    }
    if (x87) {                                   /* its pointer is to be noted */
        x64_lea(&l->b, 8, X_R10, x64_at(base, (int32_t)off));
        r10_written(l);
        l->opnd = slow_operand();
    }
}

/* r10 := linear address, without touching flags. */
static void hostmap_address(struct lower *l, const struct ir_op *o)
{
    struct x64_buf *b = &l->b;
    bool based = (l->ir->key.hflags & HF_CODE_MASK) == HF_CODE64 && (o->seg == S_FS || o->seg == S_GS);

    if (o->kind == AK_REG) {
        unsigned r = lower_use(l, o->src, X_R10);
        x64_lea(b, o->width == 8 ? 8 : 4, X_R10, x64_at(r, (int32_t)o->imm));
        if (o->width == 2) {
            x64_movzx_rr(b, 2, X_R10, X_R10);
        }
    } else {
        lower_ea(l, o->in, X_R10, o->imm);
    }
    if (o->kind == AK_BT) {
        x64_mov_rm(b, 8, X_R11, tmp_slot(IR_T1));
        x64_lea(b, o->in->adsize == 4 ? 4 : 8, X_R10, (struct x64_mem) { X_R10, X_R11, 0, 0 });
        if (o->in->adsize == 2) {
            x64_movzx_rr(b, 2, X_R10, X_R10);
        }
    }
    if (based) {
        x64_mov_rm(b, 8, X_R11, x64_env(seg_off(o->seg) + offsetof(struct guest_seg, base)));
        x64_lea(b, 8, X_R10, (struct x64_mem) { X_R10, X_R11, 0, 0 });
    }
}

static void hostmap_addr(struct lower *l, const struct ir_op *o)
{
    bool code64 = (l->ir->key.hflags & HF_CODE_MASK) == HF_CODE64;
    bool fixed = o->kind == AK_INSN && o->in->index == REG_NONE && (o->in->base == EA_RIP || o->in->base == REG_NONE);
    int64_t off = 0;
    unsigned width = 0, reg = window_base(l, o, &off, &width);

    l->direct = true;
    if (code64 && reg != IR_NOREG && reg < 16 && width == 8 && off == (int32_t)off && !drifts(off)) {
        hostmap_based(l, o, reg, off);
        return;
    }
    l->opnd = slow_operand();
    hostmap_address(l, o);
    l->win.valid = false;
    r10_written(l);
    if (!code64) {
        hostmap_addend_of(l, 0);
    } else if (fixed && o->seg != S_FS && o->seg != S_GS && o->in->adsize == 8) {
        hostmap_addend_of(l, (uint64_t)(o->in->disp + o->imm) + (o->in->base == EA_RIP ? o->in->ip + o->in->len : 0));
    } else {
        lower_hostmap_addend(l, X_R11, X_R10);
    }
}

void lower_addr(struct lower *l, unsigned index)
{
    const struct ir_op *o = &l->ir->ops[index];
    struct x64_buf *b = &l->b;

    l->open_cold = -1;
    if (o->hostmap) {
        hostmap_addr(l, o);
        return;
    }
    l->direct = false;
    l->opnd = slow_operand();
    if (l->win.hostmap) {
        l->win.valid = l->win.hostmap = false;
    }
    if (l->n_cold == MAX_COLD) {
        b->overflow = true;
        return;
    }
    struct cold *k = &l->cold[l->n_cold];
    *k = (struct cold) {
        .kind = COLD_ACCESS, .op = (uint16_t)index, .guest_off = l->guest_off, .next_off = l->next_off, .x87 = l->x87,
    };
    l->open_cold = (int)l->n_cold++;

    if (window_fits(l, o)) {
        window_access(l, k, o);
        return;
    }
    compute_address(l, o);
    l->r9_reg = IR_NOREG;
    add_segment(l, k, o);
    if (o->aligned == ALIGN_MXCSR) {
        x64_test_ri8(b, X_R10, (uint8_t)(o->size - 1));
        k->misaligned = x64_jcc(b, CC_NE, NULL);
    } else if (alignment_checked(l, o)) {
        x64_test_ri8(b, X_R10, (uint8_t)(TH_AC_UNIT(o->size) - 1));
        k->misaligned = x64_jcc(b, CC_NE, NULL);
    }
    crossing_guard(l, k, o);
    k->fast = x64_here(b);
    lookup(l, k, o);
    k->resume = x64_here(b);
    window_open(l, o);
}

static void patch_here(struct x64_buf *b, uint8_t *field)
{
    if (field) {
        x64_patch_rel32(b, field, x64_here(b));
    }
}

/* Jump back, with the rel32 form: the write thunk skips exactly these five bytes. */
static void jump_back(struct x64_buf *b, const uint8_t *to)
{
    x64_jmp(b, to);
}

/* LOCK, or XCHG with memory (SDM vol. 3, 8.1.2.1). */
static bool locked(const struct dec_insn *in)
{
    return in->lock || (in->map == 0 && !in->vex && (in->opcode | 1) == 0x87 && in->has_mem);
}

/* x87 stores with an unmasked exception leave the operand alone: they too need the old bytes in the bounce buffer. */
static uint32_t slow_flags(const struct lower *l, const struct ir_op *o)
{
    return o->size | (o->seg == S_SS ? TH_F_SS : 0) | (o->acc == OA_W && !o->x87_wait ? 0 : TH_F_RMW) |
           (locked(o->in) ? TH_F_LOCK : 0) | (o->aligned ? TH_F_ALIGN : 0) | (alignment_checked(l, o) ? TH_F_AC : 0) |
           ((l->ir->key.hflags & HF_CODE_MASK) == HF_CODE64 || segment_checked(l, o) ? 0 : TH_F_FLAT32) |
           (o->aligned == ALIGN_MXCSR ? TH_F_MM : 0) | (o->x87_wait ? TH_F_X87 : 0);
}

/* Another page: guard and look up in full, then join the hot path.  falls: what comes from above goes on behind. */
static void leave_window(struct lower *l, struct cold *k, const struct ir_op *o, bool falls)
{
    struct x64_buf *b = &l->b;
    uint8_t *slow = falls ? x64_jmp(b, NULL) : NULL, *cross = k->cross, *own = NULL;

    patch_here(b, k->leave_window);
    k->cross = NULL;
    if (o->size > 1) {
        crossing_test(b, o->size);
        own = x64_jcc(b, CC_B, NULL);
    }
    lookup(l, k, o);
    if (k->close_window) {              /* as after a slow access: + TH_FAR and - TH_FAR */
        x64_btc_ri(b, X_R10, 63);
        x64_btc_ri(b, X_R11, 63);
    }
    x64_jmp(b, k->resume);
    patch_here(b, slow);
    patch_here(b, cross);
    patch_here(b, own);
}

void lower_cold_access(struct lower *l, struct cold *k)
{
    struct x64_buf *b = &l->b;
    const struct ir_op *o = &l->ir->ops[k->op];
    bool wr = o->acc & OA_W;
    bool looks = l->fmt == TLB_FLAT;        /* the thunk itself looks first: most that come here need nothing else */

    lower_forget(l);
    l->opnd = slow_operand();
    l->direct = false;
    lower_at_insn_of(l, k);

    bool falls = k->unaligned && !looks;
    if (falls) {
        patch_here(b, k->unaligned);
        k->unaligned = NULL;
        crossing_test(b, o->size);
        x64_jcc(b, CC_AE, k->fast);
    }
    if (k->leave_window && (!looks || k->close_window)) {
        leave_window(l, k, o, falls);
        k->leave_window = NULL;
    }
    patch_here(b, k->leave_window);
    patch_here(b, k->unaligned);
    patch_here(b, k->miss);
    patch_here(b, k->cross);
    patch_here(b, k->misaligned);
    x64_mov_ri(b, X_R9, slow_flags(l, o));
    lower_call_thunk(l, wr ? TH_SLOW_WRITE : TH_SLOW_READ);
    lower_record(l, x64_here(b), l->guest_off, o->site, &o->rc);
    jump_back(b, k->resume);
    if (wr && k->after) {
        for (unsigned u = k->use; u < k->use_end; u++) {
            lower_op(l, &l->ir->ops[u]);
        }
        lower_call_thunk(l, TH_COMMIT);
        const struct ir_op *st = &l->ir->ops[k->use];
        if (st->site_after) {
            lower_record(l, x64_here(b), l->next_off, st->site_after, &st->rc_after);
        }
        jump_back(b, k->after);
    }
    if (k->seg[0]) {
        for (unsigned s = 0; s < 3; s++) {
            patch_here(b, k->seg[s]);
        }
        l->x87 = k->x87;
        x64_mov_ri(b, X_R9, slow_flags(l, o));
        lower_call_thunk(l, TH_SEG_FAULT);
        lower_record(l, x64_here(b), l->guest_off, o->site, &o->rc);
        x64_byte(b, 0x0f);
        x64_byte(b, 0x0b);
    }
}
