/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * program.c - see program.h.
 *
 * Registers: pointer registers are written by constant steps only (most of the time), so that addresses stay good; an
 * index register is cut to a byte by a MOVZX in front of its use; one register counts loops.
 */
#include <string.h>

#include "tests/fuzz/program.h"
#include "translator/help.h"

static unsigned pick(struct runner *r, unsigned n)
{
    return (unsigned)(runner_rand(r) >> 33) % n;
}

static bool chance(struct runner *r, unsigned percent)
{
    return pick(r, 100) < percent;
}

#define BIT(r) (1u << (r))
#define POINTERS32 (BIT(R_RBX) | BIT(R_RSI) | BIT(R_RDI) | BIT(R_RBP))
#define POINTERS64 (POINTERS32 | BIT(R_R8) | BIT(R_R9) | BIT(R_R13))

static unsigned pointers(const struct program *p)
{
    return p->mode == SM_64 ? POINTERS64 : POINTERS32;
}

static unsigned counter(const struct program *p)
{
    return p->mode == SM_64 ? R_R14 : R_RDX;
}

/* ---- which rows, and how often ---- */

static bool in_list(const char *name, const char *const *list)
{
    for (; *list; list++) {
        if (strcmp(name, *list) == 0)
            return true;
    }
    return false;
}

/* Percent of the picks of this row that are used. */
static unsigned row_weight(const struct insn_row *row, enum snip_mode mode)
{
    static const char *const helpers[] = { "pushf", "cld", "std", "daa", "das", "aaa", "aas", "aad", "salc", "xlatb",
                                           "enter", "vmaskmovps", "vmaskmovpd", "vpmaskmovd",
                                           "vpmaskmovq", "pusha", "popa", NULL };
    static const char *const rare[] = { "popf", "aam", "div", "idiv", "ldmxcsr", "vldmxcsr", "fldcw",
                                        "bound", "into", "leave", "cmpxchg16b", NULL };
    static const char *const never[] = { "fxsave", "fxrstor", "fnsave", "frstor", "fnstenv", "fldenv", "int3", "ud0",
                                         "ud1", "ud2", "hlt", NULL };

    if (gen_excluded(row, mode) || (row->attr & IA_CPL0) || in_list(row->name, never))
        return 0;
    if (in_list(row->name, rare))
        return 3;
    switch (row->cls) {
    case CL_HELPER:
        return in_list(row->name, helpers) || strstr(row->name, "gather") ? 30 : 0;
    case CL_NATIVE: case CL_MOV: case CL_LEA: case CL_PUSH: case CL_POP: case CL_BT_MEM:
        return row->attr & (IA_SSE | IA_AVX | IA_MMX | IA_X87) ? 12 : 100;
    case CL_STRING:
        return 15;
    case CL_NOP: case CL_PROBE: case CL_FWAIT:
        return 5;
    default:
        return 0;
    }
}

/* ---- what an instruction does to registers ---- */

static unsigned written(const struct dec_insn *in)
{
    const struct insn_row *row = in->row;
    unsigned mask = 0;

    for (unsigned i = 0; i < 4; i++) {
        const struct insn_op *op = &row->op[i];
        unsigned reg = ~0u;
        if (!(op->acc & OA_W))
            continue;
        if (op->loc == OL_REG)
            reg = in->reg;
        else if ((op->loc == OL_RM && !in->has_mem) || op->loc == OL_OPREG)
            reg = in->rm;
        else if (op->loc == OL_VVVV)
            reg = in->vvvv;
        else if (op->loc == OL_ACC)
            reg = R_RAX;
        if (reg < 16) {
            bool high = dec_op_size(in, i) == 1 && dec_is_high8(in, reg);
            mask |= BIT(high ? reg - 4 : reg);
        }
    }
    if (row->cls == CL_POP && !in->has_mem)
        mask |= BIT(in->rm);
    if (strcmp(row->name, "popa") == 0 || strcmp(row->name, "enter") == 0 || strcmp(row->name, "leave") == 0)
        mask |= BIT(R_RBP) | BIT(R_RSP);
    if ((in->map == 0 && (in->opcode & 0xfe) == 0xf6 && (in->modrm >> 3 & 7) >= 4) || row->cls == CL_HELPER ||
        strncmp(row->name, "cmpxchg", 7) == 0 || strcmp(row->name, "cwd") == 0)
        mask |= BIT(R_RAX) | BIT(R_RDX);
    return mask;
}

static bool steps_by_constant(const struct dec_insn *in)
{
    unsigned ext = in->modrm >> 3 & 7;

    return in->map == 0 && in->opcode == 0x83 && !in->has_mem && (ext == 0 || ext == 5) &&
           in->opsize == (in->mode == 2 ? 8 : 4);
}

static bool writes_ok(struct runner *r, const struct program *p, const struct dec_insn *in)
{
    unsigned w = written(in);

    if (w & BIT(counter(p)))
        return false;
    if (w & (pointers(p) | BIT(R_RSP)))
        return steps_by_constant(in) || chance(r, 2);
    return true;
}

/* ---- memory operands ---- */

static void patch_disp(struct gen_insn *g, int64_t v)
{
    for (unsigned i = 0; i < g->disp_size; i++)
        g->bytes[g->disp_at + i] = (uint8_t)(v >> 8 * i);
}

static bool address_ok(struct runner *r, const struct program *p, struct gen_insn *g, enum snip_mode mode)
{
    const struct dec_insn *in = &g->in;

    if (!in->has_mem || in->row->cls == CL_LEA || g->target != ~0ull)
        return true;
    if (in->row->op[0].loc == OL_VSIB || in->row->op[1].loc == OL_VSIB)
        return in->base < 16 && (BIT(in->base) & pointers(p)) && chance(r, 30);
    if (in->base >= 16 || in->adsize == 2 || (in->seg >= S_FS && chance(r, 90)))
        return false;
    if (!(BIT(in->base) & (pointers(p) | BIT(R_RSP))))
        return chance(r, 1);
    if (in->index != REG_NONE && (BIT(in->index) & (pointers(p) | BIT(R_RSP) | BIT(counter(p)))))
        return false;
    if ((in->row->attr & IA_ALIGN) && in->index == REG_NONE && chance(r, 95))
        patch_disp(g, g->disp_size == 1 ? (int64_t)pick(r, 4) * 32 : ((int64_t)pick(r, 0x40) - 0x20) * 32);
    else if (g->disp_size == 4)
        patch_disp(g, (int64_t)pick(r, 0x800) - 0x400);
    return dec_decode(g->bytes, 15, in->ip, gen_dec_mode(mode), false, &g->in) == DEC_OK;
}

/* ---- items ---- */

static struct item *add(struct program *p, enum item_kind kind, const char *name)
{
    struct item *it = &p->item[p->n++];

    memset(it, 0, sizeof(*it));
    it->kind = kind;
    strncpy(it->name, name, sizeof(it->name) - 1);
    return it;
}

static void add_bytes(struct program *p, const char *name, const uint8_t *bytes, unsigned len)
{
    struct item *it = add(p, IT_INSN, name);

    memcpy(it->bytes, bytes, len);
    it->len = len;
}

/* movzx reg, low byte of reg: flags untouched.  Not for rsp..rdi in 32-bit code. */
static bool add_cut(struct program *p, unsigned reg)
{
    uint8_t b[4] = { (uint8_t)(0x40 | (reg & 8 ? 5 : 0)), 0x0f, 0xb6, (uint8_t)(0xc0 | (reg & 7) << 3 | (reg & 7)) };

    if (p->mode == SM_64)
        add_bytes(p, "movzx", b, 4);
    else if (reg < 4)
        add_bytes(p, "movzx", b + 1, 3);
    else
        return false;
    return true;
}

/* Something that defines all flags: add eax, imm8. */
static void add_definer(struct runner *r, struct program *p)
{
    uint8_t b[3] = { 0x83, 0xc0, (uint8_t)runner_rand(r) };

    add_bytes(p, "add", b, 3);
    p->item[p->n - 1].fl_write = FL_STATUS;
    p->fl_undef = 0;
}

static bool reads_undefined(const struct program *p, const struct dec_insn *in)
{
    return (in->row->fl_read & p->fl_undef) || (strcmp(in->row->name, "pushf") == 0 && p->fl_undef);
}

static bool is_microcoded(const struct insn_row *row)
{
    return (row->cls == CL_HELPER && strcmp(row->name, "popf") != 0) || row->cls == CL_STRING ||
           strstr(row->name, "maskmov") || row->op[0].size == OS_T;
}

static void flags_after(struct program *p, const struct insn_row *row)
{
    struct item *it = &p->item[p->n - 1];
    uint32_t undef = row->fl_undef;

    /* Shifts: OF unless the count is 1, CF when it is not below the operand's size; double shifts: everything then. */
    if (row->attr & IA_FLDEP)
        undef |= strncmp(row->name, "sh", 2) == 0 && row->map == 1 ? FL_STATUS : FL_OF | FL_CF;

    it->fl_read = strcmp(row->name, "pushf") == 0 ? FL_STATUS : row->fl_read;
    it->fl_write = row->attr & IA_FLDEP ? 0 : row->fl_write;
    it->fl_undef = undef;
    if (!(row->attr & IA_FLDEP))
        p->fl_undef &= ~(uint32_t)row->fl_write;
    p->fl_undef |= undef;
    p->fl_undef_any |= undef;
    p->microcoded |= is_microcoded(row);
    p->popf |= strcmp(row->name, "popf") == 0;
}

static bool needs_cut(const struct dec_insn *in, unsigned *reg)
{
    if (in->row->cls == CL_STRING) {
        *reg = R_RCX;
        return in->rep;
    }
    if (in->row->cls == CL_BT_MEM && in->has_mem) {
        *reg = in->reg;
        return true;
    }
    *reg = in->index;
    return in->has_mem && in->index < 16 && in->row->cls != CL_LEA && in->row->op[0].loc != OL_VSIB &&
           in->row->op[1].loc != OL_VSIB;
}

/* One random instruction; false: try again. */
static bool add_random(struct runner *r, struct program *p)
{
    const struct insn_row *row = &insn_rows[pick(r, insn_row_count)];
    struct gen_insn g;
    unsigned cut;

    if (!chance(r, row_weight(row, p->mode)) || (row->attr & (p->mode == SM_64 ? IA_NO64 : IA_ONLY64)))
        return false;
    if ((p->popf && is_microcoded(row)) || (p->microcoded && strcmp(row->name, "popf") == 0))
        return false;
    if (!gen_encode(r, row, p->mode, LIN_CODE + 0x8000, &g) || g.len > 20)
        return false;
    if (reads_undefined(p, &g.in) || !writes_ok(r, p, &g.in) || !address_ok(r, p, &g, p->mode))
        return false;
    if (needs_cut(&g.in, &cut)) {
        if ((BIT(cut) & (pointers(p) | BIT(R_RSP) | BIT(counter(p)))) || !add_cut(p, cut))
            return false;
    }
    add_bytes(p, row->name, g.bytes, g.len);
    if (g.in.has_mem && g.in.base == EA_RIP) {
        struct item *it = &p->item[p->n - 1];
        it->rip_relative = true;
        it->disp_at = g.disp_at;
        it->target = g.target == ~0ull ? LIN_DATA : g.target;
    }
    flags_after(p, row);
    return true;
}

/* A forward branch over the next few items, whose target is filled in when it is reached. */
static void add_branch(struct runner *r, struct program *p)
{
    static const uint16_t reads[8] = { FL_OF, FL_CF, FL_ZF, FL_CF | FL_ZF, FL_SF, FL_PF, FL_SF | FL_OF,
                                       FL_SF | FL_OF | FL_ZF };
    static const enum item_kind kinds[] = { IT_JCC, IT_JCC, IT_JCC, IT_JCC, IT_JMP, IT_JCXZ, IT_CALL, IT_IND_JMP,
                                            IT_IND_CALL, IT_RET };
    enum item_kind kind = kinds[pick(r, sizeof(kinds) / sizeof(kinds[0]))];
    unsigned cc = pick(r, 16);

    if (kind == IT_JCC && (reads[cc >> 1] & p->fl_undef))
        add_definer(r, p);
    struct item *it = add(p, kind, "branch");
    it->cc = cc;
    it->fl_read = kind == IT_JCC ? reads[cc >> 1] : 0;
    it->reg = chance(r, 50) && p->mode == SM_64 ? R_R10 : R_RAX;
    it->to = p->n + pick(r, 5);
}

void program_make(struct runner *r, struct program *p, enum snip_mode mode, unsigned want)
{
    unsigned loop = chance(r, 35) ? 1 : 0;

    memset(p, 0, sizeof(*p));
    p->mode = mode;
    uint32_t joined[MAX_ITEMS + 16] = { 0 };
    unsigned done_joins = 0;
    if (loop)
        add_definer(r, p);
    while (p->n + 4 < MAX_ITEMS && p->n < want) {
        unsigned before = p->n;
        if (chance(r, 1)) {
            add_branch(r, p);
            joined[p->item[p->n - 1].to] |= p->fl_undef;
        } else if (p->fl_undef && chance(r, 1)) {
            add_definer(r, p);
        } else {
            unsigned n = p->n;
            if (!add_random(r, p)) {
                p->n = n;
                continue;
            }
        }
        (void)before;
        for (; done_joins < p->n; done_joins++)
            p->fl_undef |= joined[done_joins + 1];
    }
    if (loop) {
        struct item *it = add(p, IT_LOOP_END, "loop");
        it->to = 0;
        p->fl_undef |= FL_CF & p->fl_undef_any;
    }
    for (unsigned i = 0; i < p->n; i++) {
        if (p->item[i].kind != IT_INSN && p->item[i].kind != IT_LOOP_END && p->item[i].to > p->n)
            p->item[i].to = p->n;
    }
    p->fl_undef = p->fl_undef_any;
}

bool program_valid(const struct program *p)
{
    uint32_t undef = 0, joined[MAX_ITEMS + 1] = { 0 };

    for (unsigned i = 0; i < p->n; i++) {
        const struct item *it = &p->item[i];
        undef |= joined[i];
        if (it->dropped)
            continue;
        if (it->fl_read & undef)
            return false;
        undef = (undef & ~(uint32_t)it->fl_write) | it->fl_undef;
        if (it->kind == IT_LOOP_END && undef && p->item[0].dropped)
            return false;
        if (it->kind != IT_INSN && it->kind != IT_LOOP_END)
            joined[it->to] |= undef;
    }
    return true;
}

/* ---- layout ---- */

struct out {
    uint8_t *p, *start;
    uint64_t ip;
};

static void byte(struct out *o, unsigned v)
{
    *o->p++ = (uint8_t)v;
}

static void rel32(struct out *o, uint64_t to)
{
    uint32_t v = (uint32_t)(to - (o->ip + (uint64_t)(o->p - o->start) + 4));

    for (unsigned i = 0; i < 4; i++)
        byte(o, v >> 8 * i);
}

/* reg := address */
static void load_address(struct out *o, const struct program *p, unsigned reg, uint64_t to)
{
    if (p->mode == SM_64 && (reg & 8))
        byte(o, 0x41);
    byte(o, 0xb8 | (reg & 7));
    for (unsigned i = 0; i < 4; i++)
        byte(o, (unsigned)(to >> 8 * i) & 0xff);
}

static void push_or_jump(struct out *o, const struct program *p, unsigned reg, unsigned op, unsigned modrm)
{
    if (p->mode == SM_64 && (reg & 8))
        byte(o, 0x41);
    byte(o, op);
    if (modrm)
        byte(o, modrm | (reg & 7));
}

static void emit_item(struct out *o, const struct program *p, const struct item *it, const uint64_t *at)
{
    uint64_t to = at[it->to];
    unsigned reg = it->reg & 15;

    switch (it->kind) {
    case IT_INSN:
        memcpy(o->p, it->bytes, it->len);
        if (it->rip_relative) {
            int32_t d = (int32_t)(it->target - (o->ip + (uint64_t)(o->p - o->start) + it->len));
            memcpy(o->p + it->disp_at, &d, 4);
        }
        o->p += it->len;
        break;
    case IT_JCC:
        byte(o, 0x0f);
        byte(o, 0x80 | it->cc);
        rel32(o, to);
        break;
    case IT_JMP:
        byte(o, 0xe9);
        rel32(o, to);
        break;
    case IT_CALL:
        byte(o, 0xe8);
        rel32(o, to);
        break;
    case IT_JCXZ:
        byte(o, 0xe3);
        byte(o, 2);
        byte(o, 0xeb);
        byte(o, 5);
        byte(o, 0xe9);
        rel32(o, to);
        break;
    case IT_IND_JMP: case IT_IND_CALL:
        load_address(o, p, reg, to);
        push_or_jump(o, p, reg, 0xff, it->kind == IT_IND_JMP ? 0xe0 : 0xd0);
        break;
    case IT_RET:
        load_address(o, p, reg, to);
        push_or_jump(o, p, reg, 0x50 | (reg & 7), 0);
        byte(o, 0xc3);
        break;
    case IT_LOOP_END:
        if (p->mode == SM_64)
            byte(o, 0x41);
        byte(o, 0xff);
        byte(o, 0xc8 | (counter(p) & 7));                    /* dec */
        byte(o, 0x0f);
        byte(o, 0x85);
        rel32(o, to);
        break;
    }
}

unsigned program_emit(const struct program *p, uint64_t ip, uint8_t *code)
{
    uint64_t at[MAX_ITEMS + 1] = { 0 };
    struct out o;

    /* Lengths do not depend on addresses: the first pass finds them. */
    for (unsigned pass = 0; pass < 2; pass++) {
        o = (struct out) { code, code, ip };
        for (unsigned i = 0; i < p->n; i++) {
            at[i] = ip + (uint64_t)(o.p - o.start);
            if (!p->item[i].dropped)
                emit_item(&o, p, &p->item[i], at);
        }
        at[p->n] = ip + (uint64_t)(o.p - o.start);
    }
    return (unsigned)(o.p - o.start);
}

void program_state(struct runner *r, const struct program *p, struct snip_state *st)
{
    runner_random_state(r, p->mode, st);
    if (p->mode == SM_64) {
        st->gpr[R_R8] = LIN_DATA + 0x1000 + pick(r, 0x2000);
        st->gpr[R_R9] = LIN_DATA + 0x1ff0 + pick(r, 0x20);
        st->gpr[R_R13] = LIN_STACK + 0x1000 + pick(r, 0x2000);
    }
    if (chance(r, 75)) {                    /* aligned operands stay aligned */
        for (unsigned i = 0; i < 16; i++) {
            if ((BIT(i) & (pointers(p) | BIT(R_RSP))) && i != R_R9)
                st->gpr[i] &= ~63ull;
        }
    }
    st->gpr[counter(p)] = 1 + pick(r, 4);
    if (chance(r, 2) && !p->microcoded)
        st->rflags |= FL_TF;
    if (chance(r, 3) && !p->microcoded)
        st->rflags |= FL_AC;
}
