/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * help_seg.c - instructions that load, store and examine segment and
 *              descriptor-table registers.
 *
 * Loads of CS are far transfers (help_far.c); SYSCALL and friends load flat
 * segments of their own (help_syscall.c); FSBASE/GSBASE are help_sys.c's.
 *
 * Manuals: SDM vol. 2 under each mnemonic; SDM vol. 3, 3.4.2-3.4.4, 5.4-5.10, 20.1 (real-address mode);
 *          APM vol. 2, 4.5 (long-mode segmentation).
 */
#include "translator/desc.h"
#include "translator/help_util.h"

/* ---- loading data segments and SS ---- */

void seg_load_real(struct guest_cpu *c, unsigned seg, uint16_t sel)
{
    struct guest_seg *s = &c->seg[seg];

    if (cpu_vm86(c)) {
        seg_set_v86(c, seg, sel);
        return;
    }
    if (!(s->attr & DESC_P)) {
        /* A null selector of protected mode: usable again in real mode. */
        s->limit = 0xffff;
        s->attr = DESC_P | DESC_S | DESC_W | DESC_A;
    }
    /* Limit and attributes stay as they were ("unreal mode"). */
    seg_set(c, seg, sel, (uint32_t)sel << 4, s->limit, s->attr);
}

static void seg_load_null(struct guest_cpu *c, unsigned seg, uint16_t sel)
{
    if (seg == S_SS && (!cpu_code64(c) || c->cpl == 3 || (sel & 3u) != c->cpl)) {
        GP0(c);
    }
    seg_set_null(c, seg, sel);
}

static void seg_load_protected(struct guest_cpu *c, unsigned seg, uint16_t sel)
{
    unsigned rpl = sel & 3;
    struct desc d;

    if (sel_is_null(sel)) {
        seg_load_null(c, seg, sel);
        return;
    }
    if (!desc_read(c, sel, &d)) {
        cpu_raise_err(c, EXC_GP, sel_err(sel, 0));
    }
    if (seg == S_SS) {
        if (rpl != c->cpl || !desc_is_writable_data(&d) || desc_dpl(&d) != c->cpl) {
            cpu_raise_err(c, EXC_GP, sel_err(sel, 0));
        }
    } else {
        bool conforming = desc_is_code(&d) && desc_is_conforming(&d);

        if (!desc_is_readable(&d) || (!conforming && (rpl > desc_dpl(&d) || c->cpl > desc_dpl(&d)))) {
            cpu_raise_err(c, EXC_GP, sel_err(sel, 0));
        }
    }
    if (!(d.hi & DESC_P)) {
        cpu_raise_err(c, seg == S_SS ? EXC_SS : EXC_NP, sel_err(sel, 0));
    }
    desc_set_accessed(c, &d);
    seg_set_desc(c, seg, sel, &d);
}

void seg_load(struct guest_cpu *c, unsigned seg, uint16_t sel)
{
    if (cpu_real_or_v86(c)) {
        seg_load_real(c, seg, sel);
    } else {
        seg_load_protected(c, seg, sel);
    }
    if (!cpu_code64(c)) {
        cpu_update_hflags_same_cr(c); /* 64-bit code does not depend on these segments */
    }
}

/* MOV SS and POP SS hold interrupts and debug traps off for one instruction (SDM vol. 3, 6.8.3). */
static void shadow_ss(struct guest_cpu *c, unsigned seg)
{
    if (seg == S_SS) {
        c->shadow = 2;
        cpu_update_hflags_same_cr(c);
    }
}

/* ---- MOV, PUSH, POP, LxS ---- */

static uint16_t read_rm16(struct guest_cpu *c, const struct dec_insn *in)
{
    return in->has_mem ? guest_ld16(c, opnd_lin(c, in, 2, false)) : (uint16_t)GPR(c, in->rm);
}

/* A selector or status word: 16 bits to memory, zero-extended to the operand size in a register. */
static void write_rm_sel(struct guest_cpu *c, const struct dec_insn *in, uint16_t val)
{
    if (in->has_mem) {
        guest_st16(c, opnd_lin(c, in, 2, true), val);
    } else {
        gpr_write(c, in->rm, in->opsize, false, val);
    }
}

int help_mov_sreg_rm(struct guest_cpu *c, const struct dec_insn *in)
{
    unsigned seg = in->reg & 7;

    if (seg == S_CS || seg >= S_COUNT) {
        cpu_raise(c, EXC_UD);
    }
    seg_load(c, seg, read_rm16(c, in));
    shadow_ss(c, seg);
    return HELP_NEXT;
}

int help_mov_rm_sreg(struct guest_cpu *c, const struct dec_insn *in)
{
    uint64_t mark = help_mark(c);
    unsigned seg = in->reg & 7;

    if (seg >= S_COUNT) {
        cpu_raise(c, EXC_UD);
    }
    write_rm_sel(c, in, c->seg[seg].sel);
    return help_stored(c, in, mark);
}

/* 06 0E 16 1E, 0F A0 0F A8 and the POP opcodes one above: the number is in bits 5..3. */
static unsigned stack_op_seg(const struct dec_insn *in)
{
    return in->opcode >> 3 & 7;
}

int help_push_sreg(struct guest_cpu *c, const struct dec_insn *in)
{
    uint64_t mark = help_mark(c);
    uint16_t sel = c->seg[stack_op_seg(in) % S_COUNT].sel;
    uint64_t sp = GPR(c, R_RSP) & stack_mask(c);

    if (in->opsize == 2 || c->model.vendor_amd) {
        stack_push_at(c, &sp, sel, in->opsize);
    } else {
        /* Intel stores 16 bits and leaves the rest of the slot alone (SDM vol. 2, PUSH). */
        sp = (sp - in->opsize) & stack_mask(c);
        guest_st16(c, seg_lin(c, S_SS, sp, in->opsize, true), sel);
    }
    set_rsp(c, sp);
    return help_stored(c, in, mark);
}

int help_pop_sreg(struct guest_cpu *c, const struct dec_insn *in)
{
    unsigned seg = stack_op_seg(in) % S_COUNT;
    uint16_t sel = (uint16_t)stack_peek(c, 0, in->opsize);
    unsigned size = stack_size(c); /* POP SS may change it */

    seg_load(c, seg, sel);
    gpr_write(c, R_RSP, size, false, GPR(c, R_RSP) + in->opsize);
    shadow_ss(c, seg);
    return HELP_NEXT;
}

int help_lxs(struct guest_cpu *c, const struct dec_insn *in)
{
    static const uint8_t by_opcode[8] = { [2] = S_SS, [4] = S_FS, [5] = S_GS }; /* 0F B2, B4, B5 */
    unsigned seg = in->map == 1 ? by_opcode[in->opcode & 7] : in->opcode == 0xc4 ? S_ES : S_DS;
    unsigned size = in->opsize;
    uint64_t off;
    uint16_t sel;

    if (!in->has_mem) {
        cpu_raise(c, EXC_UD);
    }
    if (size == 8 && c->model.vendor_amd) {
        size = 4;   /* no m16:64 there (APM vol. 3, LDS) */
    }
    off = opnd_far(c, in, size, &sel);
    seg_load(c, seg, sel);
    gpr_write(c, in->reg, size, false, off);
    return HELP_NEXT;
}

/* ---- system segment registers ---- */

/* User-mode instruction prevention (SDM vol. 3, 2.5). */
static void check_umip(struct guest_cpu *c)
{
    if ((c->cr[4] & CR4_UMIP) && c->cpl) {
        GP0(c);
    }
}

static void check_cpl0(struct guest_cpu *c)
{
    if (c->cpl) {
        GP0(c);
    }
}

static void check_protected(struct guest_cpu *c)
{
    if (cpu_real_or_v86(c)) {
        cpu_raise(c, EXC_UD);
    }
}

/* Base of a system descriptor; in IA-32e mode from both halves, whose second must have a zero type field. */
static uint64_t sys_desc_base(struct guest_cpu *c, uint16_t sel, const struct desc *d)
{
    uint64_t base = desc_base(d);
    struct desc up;

    if (!cpu_lma(c)) {
        return base;
    }
    if (!desc_read_upper(c, sel, d, &up) || (up.hi & 0x1f00)) {
        cpu_raise_err(c, EXC_GP, sel_err(sel, 0));
    }
    base |= (uint64_t)up.lo << 32;
    if (!is_canonical_max(c, base)) {
        cpu_raise_err(c, EXC_GP, sel_err(sel, 0));
    }
    return base;
}

int help_lldt(struct guest_cpu *c, const struct dec_insn *in)
{
    uint64_t mark = help_mark(c);
    struct desc d;
    uint64_t base;
    uint16_t sel;

    check_protected(c);
    check_cpl0(c);
    sel = read_rm16(c, in);
    if (sel_is_null(sel)) {
        seg_set_null(c, S_LDT, sel);
        return help_stored(c, in, mark);
    }
    if ((sel & 4) || !desc_read(c, sel, &d) || (d.hi & DESC_S) || desc_type(&d) != SYS_LDT) {
        cpu_raise_err(c, EXC_GP, sel_err(sel, 0));
    }
    if (!(d.hi & DESC_P)) {
        cpu_raise_err(c, EXC_NP, sel_err(sel, 0));
    }
    base = sys_desc_base(c, sel, &d);
    seg_set(c, S_LDT, sel, base, desc_limit(&d), d.hi & DESC_ATTR_MASK);
    return help_stored(c, in, mark);
}

int help_ltr(struct guest_cpu *c, const struct dec_insn *in)
{
    uint64_t mark = help_mark(c);
    struct desc d;
    uint64_t base;
    uint16_t sel;

    check_protected(c);
    check_cpl0(c);
    sel = read_rm16(c, in);
    if (sel_is_null(sel)) {
        GP0(c);
    }
    if ((sel & 4) || !desc_read(c, sel, &d) || (d.hi & DESC_S) ||
        !(desc_type(&d) == SYS_TSS32 || (desc_type(&d) == SYS_TSS16 && !cpu_lma(c)))) {
        cpu_raise_err(c, EXC_GP, sel_err(sel, 0));
    }
    if (!(d.hi & DESC_P)) {
        cpu_raise_err(c, EXC_NP, sel_err(sel, 0));
    }
    base = sys_desc_base(c, sel, &d);
    desc_set_busy(c, &d, true);
    seg_set(c, S_TR, sel, base, desc_limit(&d), d.hi & DESC_ATTR_MASK);
    return help_stored(c, in, mark);
}

int help_sldt(struct guest_cpu *c, const struct dec_insn *in)
{
    uint64_t mark = help_mark(c);

    check_protected(c);
    check_umip(c);
    write_rm_sel(c, in, c->seg[S_LDT].sel);
    return help_stored(c, in, mark);
}

int help_str(struct guest_cpu *c, const struct dec_insn *in)
{
    uint64_t mark = help_mark(c);

    check_protected(c);
    check_umip(c);
    write_rm_sel(c, in, c->seg[S_TR].sel);
    return help_stored(c, in, mark);
}

/* ---- GDTR and IDTR ---- */

/* The image is 2 + 4 bytes, 2 + 8 in 64-bit mode; the operand size only masks LGDT's base to 24 bits. */
static void load_table(struct guest_cpu *c, const struct dec_insn *in, uint64_t *base, uint32_t *limit)
{
    unsigned size = in->mode == 2 ? 8 : 4;
    uint64_t lin, b;
    uint16_t l;

    check_cpl0(c);
    lin = opnd_lin(c, in, 2 + size, false);
    l = guest_ld16(c, lin);
    if (size == 8) {
        b = guest_ld64(c, lin + 2);
        if (!is_canonical_max(c, b)) {
            GP0(c);
        }
    } else {
        b = guest_ld32(c, lin_wrap(c, lin + 2));
        b &= in->opsize == 2 ? 0xffffffu : 0xffffffffu;
    }
    *base = b;
    *limit = l;
}

static void store_table(struct guest_cpu *c, const struct dec_insn *in, uint64_t base, uint32_t limit)
{
    unsigned size = in->mode == 2 ? 8 : 4;
    uint8_t image[10];
    uint16_t l = (uint16_t)limit;
    uint64_t lin;

    check_umip(c);
    xbt_copy(image, &l, 2);
    xbt_copy(image + 2, &base, size);
    lin = opnd_lin(c, in, 2 + size, true);
    guest_write(c, lin, image, 2 + size, c->mmu_mode);
}

int help_lgdt(struct guest_cpu *c, const struct dec_insn *in)
{
    load_table(c, in, &c->gdt.base, &c->gdt.limit);
    return HELP_NEXT;
}

int help_lidt(struct guest_cpu *c, const struct dec_insn *in)
{
    load_table(c, in, &c->idt.base, &c->idt.limit);
    return HELP_NEXT;
}

int help_sgdt(struct guest_cpu *c, const struct dec_insn *in)
{
    uint64_t mark = help_mark(c);

    store_table(c, in, c->gdt.base, c->gdt.limit);
    return help_stored(c, in, mark);
}

int help_sidt(struct guest_cpu *c, const struct dec_insn *in)
{
    uint64_t mark = help_mark(c);

    store_table(c, in, c->idt.base, c->idt.limit);
    return help_stored(c, in, mark);
}

/* ---- LAR LSL VERR VERW ARPL ---- */

static void set_zf(struct guest_cpu *c, bool zf)
{
    c->fl = (uint16_t)((c->fl & ~(FL_ZF << 8)) | (zf ? FL_ZF << 8 : 0));
}

#define TYPES(...) (0u __VA_ARGS__)
#define T(t) | 1u << SYS_##t

/* May LAR / LSL look at this descriptor?  legacy, ia32e: sets of system types that are allowed. */
static bool desc_visible(struct guest_cpu *c, uint16_t sel, struct desc *d, unsigned legacy, unsigned ia32e)
{
    if (sel_is_null(sel) || !desc_read(c, sel, d)) {
        return false;
    }
    if (!(d->hi & DESC_S) && !((cpu_lma(c) ? ia32e : legacy) >> desc_type(d) & 1)) {
        return false;
    }
    if (desc_is_code(d) && desc_is_conforming(d)) {
        return true;
    }
    return c->cpl <= desc_dpl(d) && (sel & 3u) <= desc_dpl(d);
}

int help_lar(struct guest_cpu *c, const struct dec_insn *in)
{
    const unsigned legacy = TYPES(T(TSS16) T(LDT) T(TSS16_BUSY) T(CALL16) T(TASK)
                                  T(TSS32) T(TSS32_BUSY) T(CALL32));
    const unsigned ia32e = TYPES(T(LDT) T(TSS32) T(TSS32_BUSY) T(CALL32));
    struct desc d;
    bool ok;

    check_protected(c);
    ok = desc_visible(c, read_rm16(c, in), &d, legacy, ia32e);
    if (ok) {
        gpr_write(c, in->reg, in->opsize, false, d.hi & 0x00ffff00); /* limit 19:16 too, as hardware does */
    }
    set_zf(c, ok);
    return HELP_NEXT;
}

int help_lsl(struct guest_cpu *c, const struct dec_insn *in)
{
    const unsigned legacy = TYPES(T(TSS16) T(LDT) T(TSS16_BUSY) T(TSS32) T(TSS32_BUSY));
    const unsigned ia32e = TYPES(T(LDT) T(TSS32) T(TSS32_BUSY));
    struct desc d;
    bool ok;

    check_protected(c);
    ok = desc_visible(c, read_rm16(c, in), &d, legacy, ia32e);
    if (ok) {
        gpr_write(c, in->reg, in->opsize, false, desc_limit(&d));
    }
    set_zf(c, ok);
    return HELP_NEXT;
}

int help_verr(struct guest_cpu *c, const struct dec_insn *in)
{
    struct desc d;

    check_protected(c);
    set_zf(c, desc_visible(c, read_rm16(c, in), &d, 0, 0) && desc_is_readable(&d));
    return HELP_NEXT;
}

int help_verw(struct guest_cpu *c, const struct dec_insn *in)
{
    struct desc d;

    check_protected(c);
    set_zf(c, desc_visible(c, read_rm16(c, in), &d, 0, 0) && desc_is_writable_data(&d));
    return HELP_NEXT;
}

int help_arpl(struct guest_cpu *c, const struct dec_insn *in)
{
    uint64_t mark = help_mark(c);
    uint16_t dst, src = (uint16_t)GPR(c, in->reg);
    bool raise;

    check_protected(c);
    dst = read_rm16(c, in);
    raise = (dst & 3) < (src & 3);
    if (raise) {
        dst = (uint16_t)((dst & ~3u) | (src & 3u));
        if (in->has_mem) {
            guest_st16(c, opnd_lin(c, in, 2, true), dst);
        } else {
            gpr_write(c, in->rm, 2, false, dst);
        }
    }
    set_zf(c, raise);
    return help_stored(c, in, mark);
}

/* ---- SWAPGS ---- */

int help_swapgs(struct guest_cpu *c, const struct dec_insn *in)
{
    uint64_t base = c->seg[S_GS].base;

    if (in->mode != 2) {
        cpu_raise(c, EXC_UD);
    }
    check_cpl0(c);
    c->seg[S_GS].base = c->kernelgsbase;
    c->kernelgsbase = base;
    return HELP_NEXT;
}
