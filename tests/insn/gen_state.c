/* SPDX-License-Identifier: GPL-2.0-or-later */
/* gen_state.c - register and memory contents with which a generated instruction does something; see gen.h. */
#include <string.h>

#include "tests/insn/gen.h"

static unsigned pick(struct runner *r, unsigned n)
{
    return (unsigned)(runner_rand(r) >> 33) % n;
}

static bool chance(struct runner *r, unsigned percent)
{
    return pick(r, 100) < percent;
}

static int place = -1;

void gen_set_place(int p)
{
    place = p;
}

static enum gen_place any_place(struct runner *r)
{
    unsigned kind = pick(r, 100);

    return kind < 45 ? GP_ALIGNED : kind < 70 ? GP_ANY : kind < 84 ? GP_CROSS : kind < 88 ? GP_END :
           kind < 92 ? GP_RO : kind < 96 ? GP_RO_CROSS : kind < 98 ? GP_BEFORE : GP_FAR;
}

uint64_t gen_target(struct runner *r, enum snip_mode mode, unsigned size)
{
    uint64_t data = snip_is16(mode) ? 0 : LIN_DATA, a = data + 0x400 + pick(r, 0x2800);
    enum gen_place p = place >= 0 ? (enum gen_place)place : any_place(r);

    switch (p) {
    case GP_ALIGNED:
        return a & ~(uint64_t)(size >= 32 ? 63 : 15);
    case GP_ANY:
        return a;
    case GP_CROSS:
        return data + 0x1000 * (1 + pick(r, 3)) - pick(r, size + 1);
    default:
        break;
    }
    if (p == GP_END || snip_is16(mode))
        return data + DATA_SIZE - pick(r, size + 4);
    if (p == GP_RO)
        return LIN_RO + pick(r, 4096);
    if (p == GP_RO_CROSS)
        return LIN_RO + (chance(r, 50) ? 4096 : 0) - pick(r, size + 1);
    if (p == GP_BEFORE || mode != SM_64)
        return data - pick(r, 64);
    return 0x4000000000000000ull | runner_rand(r) >> 2;
}

/* The same for a 64 KiB segment: around the wrap, mostly. */
static uint64_t big_target(struct runner *r, unsigned size)
{
    if (chance(r, 30))
        return pick(r, 0x10000);
    return (uint16_t)(0x10000 - pick(r, size + 3) + (chance(r, 20) ? pick(r, 8) : 0));
}

uint64_t gen_seg_base(const struct dec_insn *in)
{
    if (in->seg != S_FS && in->seg != S_GS)
        return 0;
    if (in->mode == 2)
        return in->seg == S_FS ? LIN_DATA : LIN_DATA + 0x1000;
    return (in->mode == 1 ? LIN_DATA : 0) + (in->seg == S_FS ? 0x1000 : 0);
}

/* Linear address of an offset in a segment. */
static uint64_t linear(enum snip_mode mode, const struct snip_state *st, unsigned seg, uint64_t off)
{
    if (mode == SM_64)
        return off + (seg == S_FS ? st->fs_base : seg == S_GS ? st->gs_base : 0);
    if (seg == S_FS || (seg == S_GS && mode >= SM_REAL))
        return LIN_DATA + 0x1000 + off;
    if (seg == S_GS)
        return LIN_DATA + off;
    if (!snip_is16(mode))
        return off + (st->big && (seg == S_DS || seg == S_ES) ? LIN + BIG_OFF : 0);
    return (seg == S_CS ? LIN_CODE : st->big ? LIN + BIG_OFF : seg == S_SS ? LIN_STACK : LIN_DATA) + off;
}

/* Give the address registers values that make the effective address t. */
static void aim(struct runner *r, const struct dec_insn *in, struct snip_state *st, uint64_t t)
{
    int64_t rest = (int64_t)(t - gen_seg_base(in) - (uint64_t)in->disp);

    if (in->base == EA_RIP || (in->base == REG_NONE && in->index == REG_NONE))
        return;
    if (in->index == REG_NONE) {
        st->gpr[in->base] = (uint64_t)rest;
    } else if (in->base == REG_NONE) {
        st->gpr[in->index] = (uint64_t)(rest >> in->scale);
    } else if (in->base == in->index) {
        st->gpr[in->base] = (uint64_t)(rest / (1 + (1 << in->scale)));
    } else {
        if (in->index == R_RSP || chance(r, 50))
            st->gpr[in->index] = pick(r, 256);
        st->gpr[in->base] = (uint64_t)rest - (st->gpr[in->index] << in->scale);
    }
    if (in->adsize == 4 && in->mode == 2 && chance(r, 50)) {
        st->gpr[in->base == REG_NONE ? in->index : in->base] |= runner_rand(r) << 32;
    }
}

static void aim_vsib(struct runner *r, const struct dec_insn *in, struct snip_state *st, uint64_t t)
{
    /* index registers small, base at t */
    unsigned x = in->index;

    for (unsigned i = 0; i < 4; i++) {
        uint64_t v = in->row->op[0].size == OS_Q || in->vex_w ? pick(r, 64) : pick(r, 64) | (uint64_t)pick(r, 64) << 32;
        if (chance(r, 3))
            v = runner_rand(r);
        memcpy(st->ximg + (i < 2 ? 160 + 16 * x + 8 * i : 576 + 16 * x + 8 * (i - 2)), &v, 8);
    }
    if (in->base < 16)
        st->gpr[in->base] = t - (uint64_t)in->disp - gen_seg_base(in);
}

/* Write a value at a linear address on both sides, if it is in a page for that. */
static void poke(struct runner *r, uint64_t lin, uint64_t v, unsigned size)
{
    uint64_t off = lin - LIN;

    for (unsigned i = 0; i < size; i++, off++, v >>= 8) {
        bool data = off >= DATA_OFF && off < DATA_OFF + DATA_SIZE;
        bool stack = off >= STACK_OFF && off < STACK_OFF + STACK_SIZE;
        bool big = off >= BIG_OFF && off < BIG_OFF + BIG_SIZE;
        if (data || stack || big) {
            native_win[off] = (uint8_t)v;
            r->m->win[off] = (uint8_t)v;
        }
    }
}

/* Linear address of the memory operand. */
static uint64_t effective(const struct dec_insn *in, enum snip_mode mode, const struct snip_state *st)
{
    uint64_t ea = (uint64_t)in->disp;

    if (in->base == EA_RIP)
        ea += in->ip + in->len;
    else if (in->base != REG_NONE)
        ea += st->gpr[in->base];
    if (in->index != REG_NONE && in->row->op[0].loc != OL_VSIB && in->row->op[1].loc != OL_VSIB)
        ea += st->gpr[in->index] << in->scale;
    if (in->adsize == 4)
        ea = (uint32_t)ea;
    else if (in->adsize == 2)
        ea = (uint16_t)ea;
    return linear(mode, st, in->seg, ea);
}

static const uint16_t good_selectors[] = { 0, 3, SEL_UDS, SEL_UDS, SEL_UDS, SEL_UCS32, SEL_UCS64, SEL_KDS, SEL_KCS };

static uint16_t selector(struct runner *r)
{
    return good_selectors[pick(r, sizeof(good_selectors) / sizeof(good_selectors[0]))];
}

uint16_t gen_code_selector(struct runner *r, enum snip_mode mode)
{
    static const uint16_t own[SM_COUNT] = { SEL_UCS64, SEL_UCS32, SEL_UCS32, SEL_CS16, SEL_CS16, SEL_CS16 };

    return chance(r, 70) ? own[mode] : selector(r);
}

static bool is(const struct insn_row *row, const char *name)
{
    return strcmp(row->name, name) == 0;
}

static bool uses_selector(const struct insn_row *row)
{
    static const char *const names[] = { "lar", "lsl", "verr", "verw", "arpl", "lds", "les", "lss", "lfs", "lgs",
                                         "callf", "jmpf", NULL };

    for (unsigned i = 0; names[i]; i++) {
        if (is(row, names[i]))
            return true;
    }
    return row->op[0].loc == OL_SREG;
}

/* The memory operand or register of the source holds a selector; far pointers have it behind the offset. */
static void set_selector(struct runner *r, const struct gen_insn *g, enum snip_mode mode, struct snip_state *st)
{
    const struct dec_insn *in = &g->in;
    uint16_t sel = selector(r);

    if (!in->has_mem) {
        st->gpr[in->rm] = (st->gpr[in->rm] & ~0xffffull) | sel;
        return;
    }
    uint64_t ea = effective(in, mode, st);
    bool branch = is(in->row, "callf") || is(in->row, "jmpf");
    bool far = is(in->row, "lds") || is(in->row, "les") || is(in->row, "lss") || is(in->row, "lfs") ||
               is(in->row, "lgs") || branch;
    poke(r, ea + (far ? in->opsize : 0), branch ? gen_code_selector(r, mode) : sel, 2);
    if (branch)
        poke(r, ea, in->ip + in->len + pick(r, 8), in->opsize);
}

static void set_return_frame(struct runner *r, const struct dec_insn *in, enum snip_mode mode, struct snip_state *st,
                             uint64_t to)
{
    uint64_t sp = linear(mode, st, S_SS, snip_is16(mode) ? (uint16_t)st->gpr[R_RSP] : st->gpr[R_RSP]);
    unsigned w = in->row->cls == CL_RET && mode == SM_64 ? 8 : in->opsize;

    poke(r, sp, to, w);
    if (in->row->cls == CL_RET)
        return;
    poke(r, sp + w, gen_code_selector(r, mode), w);
    if (is(in->row, "iret")) {
        poke(r, sp + 2 * w, 0x202 | (runner_rand(r) & 0xcd5), w);
        poke(r, sp + 3 * w, st->gpr[R_RSP] - 64, w);
        poke(r, sp + 4 * w, snip_is16(mode) ? st->big ? SEL_BIG : SEL_SS16 : SEL_UDS, w);
    }
}

static void set_branch_target(struct runner *r, const struct gen_insn *g, enum snip_mode mode, struct snip_state *st)
{
    const struct dec_insn *in = &g->in;
    uint64_t to = in->ip + in->len + pick(r, 8);

    if (!snip_is16(mode) && chance(r, 5))
        to = runner_rand(r) >> 18;           /* not mapped; a non-canonical one is test_smoke's */
    if (in->row->cls == CL_RET || is(in->row, "retf") || is(in->row, "iret"))
        set_return_frame(r, in, mode, st, to);
    else if (in->has_mem)
        poke(r, effective(in, mode, st), to, in->opsize);
    else if (in->row->op[0].loc == OL_RM)
        st->gpr[in->rm] = to;
}

static void fix_division(struct runner *r, const struct dec_insn *in, struct snip_state *st)
{
    unsigned size = dec_op_size(in, 0);

    if (chance(r, 25))
        return;
    if (size == 1)
        st->gpr[R_RAX] = (st->gpr[R_RAX] & ~0xffffull) | pick(r, 128);
    else
        st->gpr[R_RDX] = is(in->row, "idiv") && chance(r, 50) ? ~0ull : pick(r, 3);
}

static void fix_string(struct runner *r, const struct dec_insn *in, enum snip_mode mode, struct snip_state *st)
{
    uint64_t away = gen_seg_base(in);

    st->gpr[R_RSI] = (st->big && !away ? big_target(r, 8) : gen_target(r, mode, 8)) - away;
    st->gpr[R_RDI] = st->big ? big_target(r, 8) : gen_target(r, mode, 8);
    if (chance(r, 20) && !st->big) {                         /* overlapping */
        st->gpr[R_RSI] = (snip_is16(mode) || st->big ? 0 : LIN_DATA) + 0x1000 + pick(r, 0x2000);
        st->gpr[R_RDI] = st->gpr[R_RSI] + pick(r, 16) - 8;
    } else if (in->opcode == 0xa6 || in->opcode == 0xa7) {   /* which of two faults comes first is not defined */
        st->gpr[chance(r, 50) ? R_RSI : R_RDI] = (snip_is16(mode) || st->big ? 0 : LIN_DATA) + 0x1000 + pick(r, 0x1000);
    }
    st->gpr[R_RCX] = chance(r, 10) ? pick(r, 5000) : pick(r, 40);
    if (in->adsize == 4 && in->mode == 2) {
        st->gpr[R_RCX] |= runner_rand(r) << 32;
        st->gpr[R_RSI] |= runner_rand(r) << 32;
    }
    if (chance(r, 40))
        st->rflags |= FL_DF;
}

/* Images for FXRSTOR and XRSTOR: mostly valid. */
static void fix_image(struct runner *r, const struct dec_insn *in, enum snip_mode mode, struct snip_state *st)
{
    bool xrstor = is(in->row, "xrstor");

    if (!xrstor && !is(in->row, "fxrstor"))
        return;
    uint64_t ea = effective(in, mode, st);
    poke(r, ea + 24, 0x1f80 | (chance(r, 10) ? 1u << 30 : 0), 4);
    if (!xrstor || chance(r, 10))
        return;
    /* Bits that the host has and the guest has not are never set.  XCOMP_BV: the compacted form. */
    uint64_t bv = pick(r, 8), comp = 0;
    if (chance(r, 30))
        comp = 1ull << 63 | (chance(r, 80) ? bv | pick(r, 8) : (unsigned)pick(r, 8));
    poke(r, ea + 512, chance(r, 90) ? bv : bv | 1ull << 62, 8);
    poke(r, ea + 520, comp, 8);
    for (unsigned i = 16; i < 64 && chance(r, 95); i += 8)
        poke(r, ea + 512 + i, 0, 8);
}

static void fix_bcd(struct runner *r, const struct dec_insn *in, enum snip_mode mode, struct snip_state *st)
{
    uint64_t ea = effective(in, mode, st);

    for (unsigned i = 0; i < 9; i++)
        poke(r, ea + i, pick(r, 10) | pick(r, 10) << 4, 1);
    poke(r, ea + 9, chance(r, 50) ? 0x80 : 0, 1);
}

/* Shift counts and bit numbers where something changes. */
static uint64_t count_value(struct runner *r)
{
    static const uint8_t v[] = { 0, 1, 2, 7, 8, 9, 10, 15, 16, 17, 18, 30, 31, 32, 33, 34, 63, 64, 65, 127, 128, 255 };

    return v[pick(r, sizeof(v))];
}

/* Strings with equal elements and lengths around the vector's. */
static void fix_pcmpstr(struct runner *r, const struct dec_insn *in, struct snip_state *st)
{
    uint8_t *a = st->ximg + 160 + 16 * in->reg, *b = st->ximg + 160 + 16 * in->rm;

    if (chance(r, 70)) {
        st->gpr[R_RAX] = (uint64_t)(int64_t)((int)pick(r, 40) - 20);
        st->gpr[R_RDX] = (uint64_t)(int64_t)((int)pick(r, 40) - 20);
    }
    for (unsigned i = 0; i < 16 && chance(r, 99); i++) {
        a[i] = (uint8_t)(chance(r, 8) ? 0 : 'a' + pick(r, 3));
        if (!in->has_mem)
            b[i] = (uint8_t)(chance(r, 8) ? 0 : 'a' + pick(r, 3));
    }
}

static void fix_values(struct runner *r, const struct dec_insn *in, enum snip_mode mode, struct snip_state *st)
{
    const struct insn_row *row = in->row;

    for (unsigned i = 0; i < 4; i++) {
        if (row->op[i].loc == OL_CL)
            st->gpr[R_RCX] = (st->gpr[R_RCX] & ~0xffull) | count_value(r);
        if (row->op[i].loc == OL_VVVV && row->map >= 2 && chance(r, 50))
            st->gpr[in->vvvv] = (st->gpr[in->vvvv] & ~0xffull) | count_value(r);
    }
    if (row->cls == CL_BT_MEM && in->has_mem && in->reg != in->base && in->reg != in->index)
        st->gpr[in->reg] = (uint64_t)(int64_t)((int)pick(r, 0x4000) - 0x2000);
    if (is(row, "div") || is(row, "idiv"))
        fix_division(r, in, st);
    if (is(row, "cmpxchg") && chance(r, 40) && !in->has_mem)
        st->gpr[in->rm] = st->gpr[R_RAX];
    if (is(row, "fbld") && chance(r, 80))
        fix_bcd(r, in, mode, st);
    if (strstr(row->name, "pcmpestr") || strstr(row->name, "pcmpistr"))
        fix_pcmpstr(r, in, st);
    fix_image(r, in, mode, st);
}

static void fix_special(struct runner *r, const struct gen_insn *g, enum snip_mode mode, struct snip_state *st)
{
    const struct dec_insn *in = &g->in;
    const struct insn_row *row = in->row;

    if (row->attr & IA_REP)
        fix_string(r, in, mode, st);
    if (uses_selector(row))
        set_selector(r, g, mode, st);
    if (row->cls == CL_RET || row->cls == CL_CALL_IND || row->cls == CL_JMP_IND || is(row, "retf") ||
        is(row, "iret"))
        set_branch_target(r, g, mode, st);
    if (is(row, "xlatb"))
        st->gpr[R_RBX] = gen_target(r, mode, 1) - (st->gpr[R_RAX] & 0xff) - gen_seg_base(in);
    if (strstr(row->name, "maskmov") && in->mod == 3)
        st->gpr[R_RDI] = (snip_is16(mode) || st->big ? 0 : LIN_DATA) + 0x800 + pick(r, 0x2000) - gen_seg_base(in);
    if (is(row, "pop") && row->op[0].loc == OL_NONE)  /* segment register */
        st->gpr[R_RSP] = gen_target(r, mode, 8);
    if (row->cls == CL_LOOP && chance(r, 50))
        st->gpr[R_RCX] = (runner_rand(r) << (8 * in->adsize - 1) << 1) | pick(r, 3);
    if (strncmp(row->name, "xsave", 5) == 0 || is(row, "xrstor")) {
        st->gpr[R_RAX] = pick(r, 8);
        st->gpr[R_RDX] = 0;
    }
    if (is(row, "wrfsbase") || is(row, "wrgsbase"))
        st->gpr[in->rm] = chance(r, 80) ? LIN_DATA + pick(r, 0x3000) : runner_rand(r);
    if (is(row, "pop") && row->op[0].loc == OL_NONE)
        poke(r, linear(mode, st, S_SS, st->gpr[R_RSP]), selector(r), 8);
    fix_values(r, in, mode, st);
}

/* All of the 16-bit code segment is mapped: a branch must not land in old code there. */
static bool ends_nearby(const struct dec_insn *in)
{
    unsigned cls = in->row->cls;
    bool branch = cls == CL_CALL_IND || cls == CL_JMP_IND || is(in->row, "callf") || is(in->row, "jmpf");

    return !(in->has_mem && branch && in->seg == S_CS);
}

/* 16-bit addresses: the parts of a large operand wrap one by one in some processors. */
static bool wraps(const struct dec_insn *in, enum snip_mode mode, const struct snip_state *st)
{
    uint64_t size = in->mem_size ? in->mem_size : 832;

    return in->has_mem && in->adsize == 2 && (in->row->cls == CL_HELPER || in->row->op[0].size == OS_T) &&
           size >= 10 && (uint16_t)(effective(in, mode, st) - linear(mode, st, in->seg, 0)) + size > 0x10000;
}

bool gen_fix_state(struct runner *r, const struct gen_insn *g, enum snip_mode mode, struct snip_state *st)
{
    const struct dec_insn *in = &g->in;
    bool vsib = in->row->op[0].loc == OL_VSIB || in->row->op[1].loc == OL_VSIB;
    unsigned size = in->mem_size ? in->mem_size : 16;
    uint64_t t;

    if (is(in->row, "xrstor") && (place == GP_RO || place == GP_RO_CROSS))
        place = GP_ALIGNED;     /* a random header may name components that only the host has */
    t = gen_target(r, mode, size);

    if (!snip_is16(mode) && mode != SM_64 && snip_ldt && chance(r, 15)) {
        st->big = true;
        if (in->seg == S_DS || in->seg == S_ES)
            t = big_target(r, size);
    }
    if (snip_is16(mode) && chance(r, 30)) {
        st->big = true;
        t = big_target(r, size);
        st->gpr[R_RSP] = chance(r, 60) ? (uint16_t)(0x10004 - pick(r, 24)) : pick(r, 0x10000);
        st->gpr[R_RBP] = chance(r, 60) ? (uint16_t)(0x10004 - pick(r, 24)) : pick(r, 0x10000);
    }
    if (chance(r, 6) && !vsib)               /* gathers trap between elements, some of them */
        st->rflags |= FL_TF;
    /* What microcode checks is the CPU model's business. */
    if (chance(r, 6) && in->row->cls != CL_HELPER && mode != SM_REAL)
        st->rflags |= FL_AC;
    if (chance(r, 6))
        st->rflags |= FL_ID | (is(in->row, "iret") ? 0 : FL_NT);
    if (chance(r, 8)) {
        st->ximg[24] &= (uint8_t)runner_rand(r);       /* unmask some SIMD exceptions, set some flags */
        st->ximg[25] &= (uint8_t)runner_rand(r);
    }
    if (chance(r, 8)) {
        st->ximg[0] &= (uint8_t)(0x40 | runner_rand(r));
        if (chance(r, 30))
            st->ximg[2] |= (uint8_t)(runner_rand(r) & 0x3f);
    }
    if (vsib)
        aim_vsib(r, in, st, t);
    else if (in->has_mem)
        aim(r, in, st, t);
    fix_special(r, g, mode, st);
    if (mode == SM_REAL)
        st->rflags &= ~(uint64_t)FL_AC;
    if (mode != SM_64) {
        for (unsigned i = 0; i < 8; i++)
            st->gpr[i] = (uint32_t)st->gpr[i];
    }
    return !wraps(in, mode, st) && (!snip_is16(mode) || ends_nearby(in));
}
