/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * help_int_arith.c - integer instructions that a 64-bit host cannot execute, and odds and ends: AAA AAS
 * DAA DAS AAM AAD SALC XLAT BOUND PUSHA POPA ENTER.  SDM vol. 2, each instruction's operation section.
 *
 * Flags that the SDM calls undefined are as AMD's Zen processors have them: those of the additions that the
 * instruction is made of.
 */
#include "translator/help_util.h"

static inline uint8_t get_al(struct guest_cpu *c)
{
    return (uint8_t)GPR(c, R_RAX);
}
static inline void set_al(struct guest_cpu *c, uint8_t v)
{
    GPR(c, R_RAX) = (GPR(c, R_RAX) & ~0xffull) | v;
}
static inline void set_ax(struct guest_cpu *c, uint16_t v)
{
    GPR(c, R_RAX) = (GPR(c, R_RAX) & ~0xffffull) | v;
}

/* SF, ZF and PF of a byte. */
static uint32_t szp8(uint8_t v)
{
    uint32_t e = v & FL_SF;

    if (!v)
        e |= FL_ZF;
    if (!(__builtin_popcount(v) & 1))
        e |= FL_PF;
    return e;
}

/* OF of a + b (sign 1) or a - b (sign -1) = r; v: the sign bit. */
static uint32_t overflow(uint32_t a, uint32_t b, uint32_t r, int sign, uint32_t v)
{
    return (sign > 0 ? ~(a ^ b) : a ^ b) & (a ^ r) & v ? FL_OF : 0;
}

static int ascii_adjust(struct guest_cpu *c, int sign)
{
    uint32_t e = fl_to_eflags(c->fl), out = 0;
    uint16_t old = (uint16_t)GPR(c, R_RAX), ax = old;

    if ((ax & 15) > 9 || (e & FL_AF)) {
        ax = (uint16_t)(ax + sign * 0x106);
        out = FL_AF | FL_CF | overflow(old, 0x106, ax, sign, 0x8000);
    }
    out |= (szp8((uint8_t)ax) & FL_PF) | (ax >> 8 & FL_SF) | (ax ? 0 : FL_ZF);
    set_ax(c, ax & 0xff0f);
    c->fl = eflags_to_fl(out);
    return HELP_NEXT;
}

int help_aaa(struct guest_cpu *c, const struct dec_insn *in)
{
    (void)in;
    return ascii_adjust(c, 1);
}

int help_aas(struct guest_cpu *c, const struct dec_insn *in)
{
    (void)in;
    return ascii_adjust(c, -1);
}

int help_daa(struct guest_cpu *c, const struct dec_insn *in)
{
    uint32_t e = fl_to_eflags(c->fl), out = 0;
    uint8_t old = get_al(c), al = old;

    (void)in;
    if ((al & 15) > 9 || (e & FL_AF)) {
        al += 6;
        out |= FL_AF;
    }
    if (old > 0x99 || (e & FL_CF)) {
        al += 0x60;
        out |= FL_CF;
    }
    set_al(c, al);
    c->fl = eflags_to_fl(out | szp8(al) | overflow(old, (uint8_t)(al - old), al, 1, 0x80));
    return HELP_NEXT;
}

int help_das(struct guest_cpu *c, const struct dec_insn *in)
{
    uint32_t e = fl_to_eflags(c->fl), out = 0;
    uint8_t old = get_al(c), al = old;

    (void)in;
    if ((al & 15) > 9 || (e & FL_AF)) {
        if (al < 6 || (e & FL_CF))
            out |= FL_CF;
        al -= 6;
        out |= FL_AF;
    }
    if (old > 0x99 || (e & FL_CF)) {
        al -= 0x60;
        out |= FL_CF;
    }
    set_al(c, al);
    c->fl = eflags_to_fl(out | szp8(al) | overflow(old, (uint8_t)(old - al), al, -1, 0x80));
    return HELP_NEXT;
}

int help_aam(struct guest_cpu *c, const struct dec_insn *in)
{
    uint8_t base = (uint8_t)in->imm, al = get_al(c);

    if (!base)
        cpu_raise(c, EXC_DE);
    set_ax(c, (uint16_t)(al / base << 8 | al % base));
    c->fl = eflags_to_fl(szp8(al % base));
    return HELP_NEXT;
}

int help_aad(struct guest_cpu *c, const struct dec_insn *in)
{
    uint16_t ax = (uint16_t)GPR(c, R_RAX);
    uint8_t tens = (uint8_t)((ax >> 8) * (uint8_t)in->imm), old = (uint8_t)ax, al = (uint8_t)(old + tens);
    uint32_t carries = (al < old ? FL_CF : 0) | ((old ^ tens ^ al) & FL_AF);

    set_ax(c, al);
    c->fl = eflags_to_fl(szp8(al) | carries | overflow(old, tens, al, 1, 0x80));
    return HELP_NEXT;
}

int help_salc(struct guest_cpu *c, const struct dec_insn *in)
{
    (void)in;
    set_al(c, c->fl & (FL_CF << 8) ? 0xff : 0);
    return HELP_NEXT;
}

int help_xlat(struct guest_cpu *c, const struct dec_insn *in)
{
    uint64_t off = (GPR(c, R_RBX) + get_al(c)) & size_mask(in->adsize);

    set_al(c, guest_ld8(c, seg_lin(c, implicit_seg(in), off, 1, false)));
    return HELP_NEXT;
}

int help_bound(struct guest_cpu *c, const struct dec_insn *in)
{
    unsigned size = in->opsize == 2 ? 2 : 4;
    uint64_t ea = opnd_ea(c, in), v = GPR(c, in->reg);
    uint64_t lin = seg_lin(c, in->seg, ea, size, false);
    uint64_t upper = seg_lin(c, in->seg, (ea + size) & size_mask(in->adsize), size, false);   /* wraps by itself */
    int32_t idx, lo, hi;

    if (size == 2) {
        idx = (int16_t)v;
        lo = (int16_t)guest_ld16(c, lin);
        hi = (int16_t)guest_ld16(c, upper);
    } else {
        idx = (int32_t)v;
        lo = (int32_t)guest_ld32(c, lin);
        hi = (int32_t)guest_ld32(c, upper);
    }
    if (idx < lo || idx > hi)
        cpu_raise(c, EXC_BR);
    return HELP_NEXT;
}

int help_pusha(struct guest_cpu *c, const struct dec_insn *in)
{
    uint64_t mark = help_mark(c), sp = GPR(c, R_RSP), old = sp;

    for (unsigned r = R_RAX; r <= R_RDI; r++)
        stack_push_at(c, &sp, r == R_RSP ? old : GPR(c, r), in->opsize);
    set_rsp(c, sp);
    return help_stored(c, in, mark);
}

int help_popa(struct guest_cpu *c, const struct dec_insn *in)
{
    uint64_t v[8];

    for (unsigned i = 0; i < 8; i++)
        v[i] = stack_peek(c, i * in->opsize, in->opsize);
    for (unsigned i = 0; i < 8; i++)
        if (7 - i != R_RSP)
            gpr_write(c, 7 - i, in->opsize, false, v[i]);
    set_rsp(c, GPR(c, R_RSP) + 8 * in->opsize);
    return HELP_NEXT;
}

static uint64_t frame_load(struct guest_cpu *c, uint64_t off, unsigned size)
{
    uint64_t lin = seg_lin(c, S_SS, off & stack_mask(c), size, false);

    return size == 8 ? guest_ld64(c, lin) : size == 4 ? guest_ld32(c, lin) : guest_ld16(c, lin);
}

int help_enter(struct guest_cpu *c, const struct dec_insn *in)
{
    unsigned level = (unsigned)in->imm2 & 31, size = in->opsize;
    uint64_t mark = help_mark(c), sp = GPR(c, R_RSP), bp = GPR(c, R_RBP), frame, end;

    stack_push_at(c, &sp, bp, size);
    frame = sp;
    for (unsigned i = 1; i < level; i++) {
        bp -= size;
        stack_push_at(c, &sp, frame_load(c, bp, size), size);
    }
    if (level)
        stack_push_at(c, &sp, frame, size);
    sp -= (uint16_t)in->imm;
    /* The new top of stack must be writable, although nothing is written there. */
    end = seg_lin(c, S_SS, sp & stack_mask(c), size, true);
    guest_probe(c, end, size, ACC_WRITE, c->mmu_mode);
    gpr_write(c, R_RBP, size, false, frame);
    set_rsp(c, sp);
    return help_stored(c, in, mark);
}
