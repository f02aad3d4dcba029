/* SPDX-License-Identifier: GPL-2.0-or-later */
/* layout.c - the code of a random program and the state it starts from; see program.h. */
#include <string.h>

#include "tests/fuzz/program.h"
#include "translator/help.h"

static bool is_branch(const struct item *it)
{
    return it->kind != IT_INSN && it->kind != IT_LOOP_END && it->kind != IT_PATCH;
}

/* Not emitted: a patch goes with its target. */
static bool gone(const struct program *p, const struct item *it)
{
    return it->dropped || (it->kind == IT_PATCH && (it->to >= p->n || p->item[it->to].dropped));
}

bool program_valid(const struct program *p)
{
    uint32_t undef = 0, joined[MAX_ITEMS + 1] = { 0 };

    for (unsigned i = 0; i < p->n; i++) {
        const struct item *it = &p->item[i];
        undef |= joined[i];
        if (gone(p, it))
            continue;
        if (it->fl_read & undef)
            return false;
        undef = (undef & ~(uint32_t)it->fl_write) | it->fl_undef;
        if (it->kind == IT_LOOP_END && undef && p->item[0].dropped)
            return false;
        if (is_branch(it)) {
            joined[it->to] |= undef;
            joined[it->to2] |= it->to2 ? undef : 0;
        }
    }
    return true;
}

struct out {
    uint8_t *p, *start;
    uint64_t ip, lin;            /* of the start: offset in CS, linear */
    const struct program *prog;
    enum snip_mode mode;
    uint64_t at[MAX_ITEMS + 1];  /* where the items are */
    struct trial *t;
};

static void byte(struct out *o, unsigned v)
{
    *o->p++ = (uint8_t)v;
}

static void bytes(struct out *o, uint64_t v, unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        byte(o, (unsigned)(v >> 8 * i) & 0xff);
}

static uint64_t here(const struct out *o)
{
    return o->ip + (uint64_t)(o->p - o->start);
}

static void rel(struct out *o, uint64_t to)
{
    unsigned n = o->mode == SM_16 ? 2 : 4;

    bytes(o, to - (here(o) + n), n);
}

static void rex_b(struct out *o, unsigned reg)
{
    if (o->mode == SM_64 && (reg & 8))
        byte(o, 0x41);
}

/* reg := address */
static void load_address(struct out *o, unsigned reg, uint64_t to)
{
    rex_b(o, reg);
    byte(o, 0xb8 | (reg & 7));
    bytes(o, to, o->mode == SM_16 ? 2 : 4);
}

/* ---- patches ---- */

/* The stored bytes: where in the item, how many. */
static void patch_place(const struct item *target, unsigned how, unsigned *off, unsigned *size)
{
    if (target->kind == IT_JCC || target->kind == IT_JMP || target->kind == IT_CALL) {
        *off = target->kind == IT_JCC ? 2 : 1;
        *size = 4;
        return;
    }
    *off = target->len - (how == PATCH_MODRM ? 5 : 4);
    *size = how == PATCH_IMM32 ? 4 : 1;
}

static uint64_t patch_value(const struct out *o, const struct item *it, const struct item *target)
{
    static const uint8_t ext[] = { 0, 1, 4, 5, 6, 7 };

    if (target->kind != IT_INSN) {
        uint64_t end = o->at[it->to] + (target->kind == IT_JCC ? 6 : 5);
        return o->at[it->value & 1 ? target->to2 : target->to] - end;
    }
    if (it->reg == PATCH_MODRM)
        return (target->bytes[target->len - 5] & 0xc7) | ext[it->value % sizeof(ext)] << 3;
    return it->value;
}

/* mov or add [address], imm */
static void emit_patch(struct out *o, const struct item *it)
{
    const struct item *target = &o->prog->item[it->to];
    unsigned off, size, imm;

    patch_place(target, it->reg, &off, &size);
    uint64_t to = o->at[it->to] + off, value = patch_value(o, it, target);
    bool add = it->reg == PATCH_ADD;
    imm = size;
    byte(o, add ? 0x80 : size == 1 ? 0xc6 : 0xc7);
    byte(o, 0x05);
    bytes(o, o->mode == SM_64 ? to - (here(o) + 4 + imm) : to, 4);
    bytes(o, value, imm);
    for (unsigned i = 0; i < size; i++)
        o->t->planned[(to - o->ip + i) % MAX_CODE] = true;
}

/* ---- items ---- */

static void emit_insn(struct out *o, const struct item *it)
{
    uint8_t *at = o->p;

    for (unsigned i = 0; i < it->len; i++)
        byte(o, it->bytes[i]);
    if (it->rip_relative) {
        int32_t d = (int32_t)(it->target - here(o));
        memcpy(at + it->disp_at, &d, 4);
    }
}

static void emit_branch(struct out *o, const struct item *it)
{
    uint64_t to = o->at[it->to];
    unsigned reg = it->reg & 15;

    switch (it->kind) {
    case IT_JCC:
        byte(o, 0x0f);
        byte(o, 0x80 | it->cc);
        rel(o, to);
        break;
    case IT_JMP:
        byte(o, 0xe9);
        rel(o, to);
        break;
    case IT_CALL:
        byte(o, 0xe8);
        rel(o, to);
        break;
    case IT_JCXZ:
        bytes(o, 0xeb02e3, 3);
        byte(o, o->mode == SM_16 ? 3 : 5);
        byte(o, 0xe9);
        rel(o, to);
        break;
    case IT_IND_JMP: case IT_IND_CALL:
        load_address(o, reg, to);
        rex_b(o, reg);
        byte(o, 0xff);
        byte(o, (it->kind == IT_IND_JMP ? 0xe0 : 0xd0) | (reg & 7));
        break;
    case IT_RET:
        load_address(o, reg, to);
        rex_b(o, reg);
        byte(o, 0x50 | (reg & 7));
        byte(o, 0xc3);
        break;
    case IT_LOOP_END:
        rex_b(o, program_counter(o->prog));
        byte(o, 0xff);
        byte(o, 0xc8 | (program_counter(o->prog) & 7));      /* dec */
        bytes(o, 0x850f, 2);
        rel(o, to);
        break;
    default:
        break;
    }
}

static void emit_items(struct out *o)
{
    const struct program *p = o->prog;
    struct trial *t = o->t;

    o->p = o->start;
    t->n_items = 0;
    for (unsigned i = 0; i < p->n; i++) {
        const struct item *it = &p->item[i];
        o->at[i] = here(o);
        if (gone(p, it))
            continue;
        t->start[t->n_items] = (uint16_t)(o->p - o->start);
        t->microcoded[t->n_items++] = it->microcoded;
        if (it->kind == IT_INSN)
            emit_insn(o, it);
        else if (it->kind == IT_PATCH)
            emit_patch(o, it);
        else
            emit_branch(o, it);
    }
    o->at[p->n] = here(o);
    t->len = (uint16_t)(o->p - o->start);
    t->start[t->n_items] = t->len;
}

bool program_layout(const struct program *p, uint32_t at, struct trial *t)
{
    struct out o = { .start = t->code, .prog = p, .mode = p->mode, .t = t };

    o.ip = p->mode == SM_16 ? at - CODE_OFF : LIN + at;
    t->mode = p->mode;
    t->at = at;
    t->fl_undef = p->fl_undef;
    t->max_events = MAX_EVENTS;
    /* Lengths do not depend on addresses: the first pass finds them. */
    for (unsigned pass = 0; pass < 2; pass++) {
        memset(t->planned, 0, sizeof(t->planned));
        emit_items(&o);
    }
    return true;
}

void program_state(struct runner *r, const struct program *p, struct snip_state *st)
{
    runner_random_state(r, p->mode, st);
    if (p->mode == SM_64) {
        st->gpr[R_R8] = LIN_DATA + 0x1000 + runner_rand(r) % 0x2000;
        st->gpr[R_R9] = LIN_DATA + 0x1ff0 + runner_rand(r) % 0x20;
        st->gpr[R_R13] = LIN_STACK + 0x1000 + runner_rand(r) % 0x2000;
    }
    if (runner_rand(r) % 4) {                /* aligned operands stay aligned */
        for (unsigned i = 0; i < 16; i++) {
            if ((BIT(i) & (program_pointers(p) | BIT(R_RSP))) && i != R_R9)
                st->gpr[i] &= ~63ull;
        }
    }
    st->gpr[program_counter(p)] = 1 + runner_rand(r) % p->counts;
    if (runner_rand(r) % 50 == 0 && !p->microcoded)
        st->rflags |= FL_TF;
    if (runner_rand(r) % 33 == 0 && !p->microcoded)
        st->rflags |= FL_AC;
    if (runner_rand(r) % 16 == 0) {          /* unmask SIMD exceptions; x87 ones */
        if (runner_rand(r) & 1)
            st->ximg[24] &= (uint8_t)runner_rand(r);
        else
            st->ximg[0] &= (uint8_t)(0x40 | runner_rand(r));
    }
}
