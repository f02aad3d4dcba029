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

uint64_t gen_target(struct runner *r, enum snip_mode mode, unsigned size)
{
    uint64_t data = mode == SM_16 ? 0 : LIN_DATA, a = data + 0x400 + pick(r, 0x2800);
    unsigned kind = pick(r, 100), al = size >= 32 ? 64 : 16;

    if (kind < 45)
        return a & ~(uint64_t)(al - 1);
    if (kind < 70)
        return a;
    if (kind < 84)
        return data + 0x1000 * (1 + pick(r, 3)) - pick(r, size + 1);
    if (kind < 88 || mode == SM_16)
        return data + DATA_SIZE - pick(r, size + 4);
    if (kind < 92)
        return LIN_RO + pick(r, 4096);
    if (kind < 96)
        return LIN_RO + (chance(r, 50) ? 4096 : 0) - pick(r, size + 1);
    if (kind < 98 || mode != SM_64)
        return data - pick(r, 64);
    return 0x4000000000000000ull | runner_rand(r) >> 2;
}

static uint64_t seg_base(const struct dec_insn *in, const struct snip_state *st)
{
    if (in->mode != 2)
        return 0;
    return in->seg == S_FS ? st->fs_base : in->seg == S_GS ? st->gs_base : 0;
}

/* Give the address registers values that make the effective address t. */
static void aim(struct runner *r, const struct dec_insn *in, struct snip_state *st, uint64_t t)
{
    int64_t rest = (int64_t)(t - seg_base(in, st) - (uint64_t)in->disp);

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
        st->gpr[in->base] = t - (uint64_t)in->disp - seg_base(in, st);
}

/* Write a value at linear address (or SM_16 data offset) on both sides, if it is in a writable page. */
static void poke(struct runner *r, enum snip_mode mode, uint64_t lin, uint64_t v, unsigned size)
{
    uint64_t off = mode == SM_16 ? lin + DATA_OFF : lin - LIN;

    if (mode == SM_16 && lin >= DATA_SIZE)
        return;
    for (unsigned i = 0; i < size; i++, off++, v >>= 8) {
        bool data = off >= DATA_OFF && off < DATA_OFF + DATA_SIZE;
        bool stack = off >= STACK_OFF && off < STACK_OFF + STACK_SIZE;
        if (data || stack) {
            native_win[off] = (uint8_t)v;
            r->m->win[off] = (uint8_t)v;
        }
    }
}

static uint64_t effective(const struct dec_insn *in, const struct snip_state *st)
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
    return ea + seg_base(in, st);
}

static const uint16_t good_selectors[] = { 0, 3, SEL_UDS, SEL_UDS, SEL_UDS, SEL_UCS32, SEL_UCS64, SEL_KDS, SEL_KCS };

static uint16_t selector(struct runner *r)
{
    return good_selectors[pick(r, sizeof(good_selectors) / sizeof(good_selectors[0]))];
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
    uint64_t ea = effective(in, st);
    bool far = is(in->row, "lds") || is(in->row, "les") || is(in->row, "lss") || is(in->row, "lfs") ||
               is(in->row, "lgs") || is(in->row, "callf") || is(in->row, "jmpf");
    poke(r, mode, ea + (far ? in->opsize : 0), sel, 2);
    if (is(in->row, "callf") || is(in->row, "jmpf"))
        poke(r, mode, ea, in->ip + in->len + pick(r, 8), in->opsize);
}

static void set_branch_target(struct runner *r, const struct gen_insn *g, enum snip_mode mode, struct snip_state *st)
{
    const struct dec_insn *in = &g->in;
    uint64_t to = in->ip + in->len + pick(r, 8);

    if (mode != SM_16 && chance(r, 5))
        to = runner_rand(r) >> 18;           /* not mapped; a non-canonical one is test_smoke's */
    if (in->row->cls == CL_RET || is(in->row, "retf") || is(in->row, "iret")) {
        uint64_t sp = st->gpr[R_RSP] + (mode == SM_16 ? LIN_STACK : 0);
        bool ret64 = in->row->cls == CL_RET && mode == SM_64;
        enum snip_mode lin = mode == SM_16 ? SM_32 : mode;
        unsigned w = ret64 ? 8 : in->opsize;
        poke(r, lin, sp, to, w);
        if (in->row->cls != CL_RET) {
            static const uint16_t cs[SM_COUNT] = { SEL_UCS64, SEL_UCS32, SEL_UCS32, SEL_CS16 };
            poke(r, lin, sp + w, chance(r, 80) ? cs[mode] : selector(r), w);
            if (is(in->row, "iret")) {
                poke(r, lin, sp + 2 * w, 0x202 | (runner_rand(r) & 0xcd5), w);
                poke(r, lin, sp + 3 * w, st->gpr[R_RSP] - 64, w);
                poke(r, lin, sp + 4 * w, mode == SM_16 ? SEL_SS16 : SEL_UDS, w);
            }
        }
    } else if (in->has_mem) {
        poke(r, mode, effective(in, st), to, in->opsize);
    } else if (in->row->op[0].loc == OL_RM) {
        st->gpr[in->rm] = to;
    }
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
    st->gpr[R_RSI] = gen_target(r, mode, 8) - (in->mode == 2 ? seg_base(in, st) : 0);
    st->gpr[R_RDI] = gen_target(r, mode, 8);
    if (chance(r, 20)) {                                     /* overlapping */
        st->gpr[R_RSI] = (mode == SM_16 ? 0 : LIN_DATA) + 0x1000 + pick(r, 0x2000);
        st->gpr[R_RDI] = st->gpr[R_RSI] + pick(r, 16) - 8;
    } else if (in->opcode == 0xa6 || in->opcode == 0xa7) {   /* which of two faults comes first is not defined */
        st->gpr[chance(r, 50) ? R_RSI : R_RDI] = (mode == SM_16 ? 0 : LIN_DATA) + 0x1000 + pick(r, 0x1000);
    }
    st->gpr[R_RCX] = chance(r, 10) ? pick(r, 5000) : pick(r, 40);
    if (in->adsize == 4 && in->mode == 2) {
        st->gpr[R_RCX] |= runner_rand(r) << 32;
        st->gpr[R_RSI] |= runner_rand(r) << 32;
    }
    if (chance(r, 40))
        st->rflags |= FL_DF;
}

/* Images for FXRSTOR, FRSTOR, FLDENV: mostly valid. */
static void fix_image(struct runner *r, const struct gen_insn *g, enum snip_mode mode, struct snip_state *st)
{
    uint64_t ea = effective(&g->in, st);

    if (is(g->in.row, "fxrstor"))
        poke(r, mode, ea + 24, 0x1f80 | (chance(r, 10) ? 1u << 30 : 0), 4);
}

static void fix_special(struct runner *r, const struct gen_insn *g, enum snip_mode mode, struct snip_state *st)
{
    const struct dec_insn *in = &g->in;
    const struct insn_row *row = in->row;

    if (is(row, "div") || is(row, "idiv"))
        fix_division(r, in, st);
    if (row->attr & IA_REP)
        fix_string(r, in, mode, st);
    if (row->cls == CL_BT_MEM && in->has_mem && in->reg != in->base && in->reg != in->index)
        st->gpr[in->reg] = (uint64_t)(int64_t)((int)pick(r, 0x4000) - 0x2000);
    if (uses_selector(row))
        set_selector(r, g, mode, st);
    if (row->cls == CL_RET || row->cls == CL_CALL_IND || row->cls == CL_JMP_IND || is(row, "retf") ||
        is(row, "iret"))
        set_branch_target(r, g, mode, st);
    if (is(row, "xlatb"))
        st->gpr[R_RBX] = gen_target(r, mode, 1) - (st->gpr[R_RAX] & 0xff) - seg_base(in, st);
    if (strstr(row->name, "maskmov") && in->mod == 3)
        st->gpr[R_RDI] = (mode == SM_16 ? 0 : LIN_DATA) + 0x800 + pick(r, 0x2000) - seg_base(in, st);
    if (is(row, "pop") && row->op[0].loc == OL_NONE)  /* segment register */
        st->gpr[R_RSP] = gen_target(r, mode, 8);
    if (row->cls == CL_LOOP && chance(r, 50))
        st->gpr[R_RCX] = (runner_rand(r) << (8 * in->adsize - 1) << 1) | pick(r, 3);
    if (is(row, "cmpxchg") && chance(r, 40) && !in->has_mem)
        st->gpr[in->rm] = st->gpr[R_RAX];
    if (strncmp(row->name, "xsave", 5) == 0) {
        st->gpr[R_RAX] = pick(r, 8);
        st->gpr[R_RDX] = 0;
    }
    if (is(row, "wrfsbase") || is(row, "wrgsbase"))
        st->gpr[in->rm] = chance(r, 80) ? LIN_DATA + pick(r, 0x3000) : runner_rand(r);
    fix_image(r, g, mode, st);
    if (is(row, "pop") && row->op[0].loc == OL_NONE)
        poke(r, mode == SM_16 ? SM_16 : mode, st->gpr[R_RSP], selector(r), 8);
}

/* All of the 16-bit code segment is mapped: a branch must not land in old code there. */
static bool ends_nearby(const struct dec_insn *in, const struct snip_state *st)
{
    unsigned cls = in->row->cls;
    if (is(in->row, "callf") || is(in->row, "jmpf"))
        return false;
    if (!in->has_mem || (cls != CL_CALL_IND && cls != CL_JMP_IND))
        return true;
    return (in->seg == S_DS || in->seg == S_ES) && effective(in, st) + in->opsize <= DATA_SIZE;
}

bool gen_fix_state(struct runner *r, const struct gen_insn *g, enum snip_mode mode, struct snip_state *st)
{
    const struct dec_insn *in = &g->in;
    bool vsib = in->row->op[0].loc == OL_VSIB || in->row->op[1].loc == OL_VSIB;
    uint64_t t = gen_target(r, mode, in->mem_size ? in->mem_size : 16);

    if (chance(r, 6) && !vsib)               /* gathers trap between elements, some of them */
        st->rflags |= FL_TF;
    if (chance(r, 6) && in->row->cls != CL_HELPER)  /* what microcode checks is the CPU model's business */
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
    if (mode != SM_64) {
        for (unsigned i = 0; i < 8; i++)
            st->gpr[i] = (uint32_t)st->gpr[i];
    }
    return mode != SM_16 || ends_nearby(in, st);
}
