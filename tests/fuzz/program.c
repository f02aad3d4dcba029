/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * program.c - chooses the instructions of a random program; see program.h.  layout.c makes code of them.
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
static unsigned row_weight(const struct insn_row *row, enum snip_mode mode, enum flavour flavour)
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
        if (row->attr & IA_X87)
            return flavour == FLV_X87 ? 100 : flavour == FLV_INT ? 2 : 12;
        if (row->attr & (IA_SSE | IA_AVX | IA_MMX))
            return flavour == FLV_VECTOR ? 100 : flavour == FLV_INT ? 2 : 12;
        return flavour == FLV_INT || flavour == FLV_MIX ? 100 : 30;
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

    if (w & BIT(program_counter(p)))
        return false;
    if (w & (program_pointers(p) | BIT(R_RSP)))
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
        return in->base < 16 && (BIT(in->base) & program_pointers(p)) && chance(r, 30);
    if (in->base >= 16 || (in->adsize == 2 && mode != SM_16) || (in->seg >= S_FS && chance(r, 90)))
        return false;
    if (in->adsize == 2 && in->index != REG_NONE && chance(r, 98))
        return false;
    if (!(BIT(in->base) & (program_pointers(p) | BIT(R_RSP))))
        return chance(r, 1);
    if (in->index != REG_NONE && (BIT(in->index) & (program_pointers(p) | BIT(R_RSP) | BIT(program_counter(p)))))
        return false;
    if ((in->row->attr & IA_ALIGN) && in->index == REG_NONE && chance(r, 95))
        patch_disp(g, g->disp_size == 1 ? (int64_t)pick(r, 4) * 32 : ((int64_t)pick(r, 0x40) - 0x20) * 32);
    else if (g->disp_size >= 2)
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

/* movzx reg, low byte of reg: flags untouched.  Not for rsp..rdi outside 64-bit code. */
static bool add_cut(struct program *p, unsigned reg)
{
    uint8_t b[4] = { (uint8_t)(0x40 | (reg & 8 ? 5 : 0)), 0x0f, 0xb6, (uint8_t)(0xc0 | (reg & 7) << 3 | (reg & 7)) };

    if (p->mode == SM_64)
        add_bytes(p, "movzx", b, 4);
    else if (reg >= 4)
        return false;
    else if (p->mode != SM_16)
        add_bytes(p, "movzx", b + 1, 3);
    else {
        b[0] = 0x66;
        add_bytes(p, "movzx", b, 4);
    }
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
    return (row->cls == CL_HELPER && strcmp(row->name, "popf") != 0) || strstr(row->name, "maskmov") ||
           row->op[0].size == OS_T || (row->cls == CL_STRING && (row->opcode & 0xfe) == 0xa6);
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
    it->microcoded = is_microcoded(row);
    p->microcoded |= it->microcoded;
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

    if (!chance(r, row_weight(row, p->mode, p->flavour)) || (row->attr & (p->mode == SM_64 ? IA_NO64 : IA_ONLY64)))
        return false;
    if ((p->popf && is_microcoded(row)) || (p->microcoded && strcmp(row->name, "popf") == 0))
        return false;
    if (!gen_encode(r, row, p->mode, p->mode == SM_16 ? 0x8000 : LIN_CODE + 0x8000, &g) || g.len > 20)
        return false;
    if (reads_undefined(p, &g.in) || !writes_ok(r, p, &g.in) || !address_ok(r, p, &g, p->mode))
        return false;
    if (needs_cut(&g.in, &cut)) {
        if ((BIT(cut) & (program_pointers(p) | BIT(R_RSP) | BIT(program_counter(p)))) || !add_cut(p, cut))
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
    if ((kind == IT_JCC || kind == IT_JMP || kind == IT_CALL) && p->mode != SM_16 && chance(r, 40)) {
        it->to2 = p->n + 1 + pick(r, 8);
        it->patchable = true;
    }
}

/* ---- self-modification ---- */

/* op reg, imm32 of the 81h group, whose ModRM byte and immediate other items store to. */
static void add_target(struct runner *r, struct program *p)
{
    static const uint8_t regs64[] = { R_RAX, R_RCX, R_RDX, R_R10, R_R11, R_R12, R_R15 };
    static const uint8_t ext[] = { 0, 1, 4, 5, 6, 7 };
    unsigned reg = p->mode == SM_64 ? regs64[pick(r, sizeof(regs64))] : pick(r, 2);
    uint8_t b[8];
    unsigned n = 0;

    if (p->mode == SM_64)
        b[n++] = (uint8_t)(0x40 | (chance(r, 50) ? 8 : 0) | (reg & 8 ? 1 : 0));
    b[n++] = 0x81;
    b[n++] = (uint8_t)(0xc0 | ext[pick(r, sizeof(ext))] << 3 | (reg & 7));
    for (unsigned i = 0; i < 4; i++)
        b[n++] = (uint8_t)runner_rand(r);
    add_bytes(p, "target", b, n);
    struct item *it = &p->item[p->n - 1];
    it->patchable = true;
    it->fl_write = FL_STATUS;
    it->fl_undef = FL_AF;                    /* it may become AND, OR or XOR */
    p->fl_undef = FL_AF;
    p->fl_undef_any |= FL_AF;
}

/* A store to an item: into `to`, or into the next target when there is none yet. */
static void add_patch(struct runner *r, struct program *p, bool forward)
{
    unsigned to = p->n, tries = 20;

    if (!forward) {
        do
            to = pick(r, p->n ? p->n : 1);
        while (!(to < p->n && p->item[to].patchable) && --tries);
        if (!tries)
            return;
    }
    struct item *it = add(p, IT_PATCH, "patch");
    it->to = forward ? NO_ITEM : to;
    it->value = runner_rand(r);
    it->reg = forward || p->item[to].kind == IT_INSN ? pick(r, 4) : PATCH_IMM32;
    if (it->reg == PATCH_ADD) {
        it->fl_write = FL_STATUS;
        p->fl_undef = 0;
    }
}

static void add_target_for(struct runner *r, struct program *p)
{
    add_target(r, p);
    for (unsigned i = 0; i < p->n; i++) {
        if (p->item[i].kind == IT_PATCH && p->item[i].to == NO_ITEM)
            p->item[i].to = p->n - 1;
    }
}

static void add_modification(struct runner *r, struct program *p)
{
    unsigned k = pick(r, 3);

    if (k == 0)
        add_target_for(r, p);
    else
        add_patch(r, p, k == 1);
}

/* Undefined flags that branches to item i bring along. */
static void join_branch(struct program *p, uint32_t *joined)
{
    const struct item *it = &p->item[p->n - 1];

    joined[it->to] |= p->fl_undef;
    joined[it->to2] |= p->fl_undef;
}

static bool add_item(struct runner *r, struct program *p, uint32_t *joined)
{
    unsigned n = p->n;

    if (chance(r, 1)) {
        add_branch(r, p);
        join_branch(p, joined);
        return true;
    }
    if (p->smc && chance(r, 1)) {
        add_modification(r, p);
        return p->n != n;
    }
    if (p->fl_undef && chance(r, 1)) {
        add_definer(r, p);
        return true;
    }
    if (add_random(r, p))
        return true;
    p->n = n;
    return false;
}

void program_make(struct runner *r, struct program *p, enum snip_mode mode, unsigned want)
{
    uint32_t joined[MAX_ITEMS + 32] = { 0 };
    unsigned done_joins = 0;
    bool loop = chance(r, 35);

    memset(p, 0, sizeof(*p));
    p->mode = mode;
    p->flavour = pick(r, 5) ? pick(r, FLV_COUNT) : FLV_MIX;
    p->smc = mode != SM_16 && chance(r, 25);
    p->counts = loop ? (chance(r, 20) ? 60 : 4) : 1;
    if (loop)
        add_definer(r, p);
    while (p->n + 6 < MAX_ITEMS && p->n < want) {
        if (!add_item(r, p, joined))
            continue;
        for (; done_joins < p->n; done_joins++)
            p->fl_undef |= joined[done_joins + 1];
    }
    if (p->smc)
        add_target_for(r, p);
    if (loop) {
        struct item *it = add(p, IT_LOOP_END, "loop");
        it->to = 0;
        p->fl_undef |= FL_CF & p->fl_undef_any;
    }
    for (unsigned i = 0; i < p->n; i++) {
        struct item *it = &p->item[i];
        if (it->kind != IT_INSN && it->kind != IT_LOOP_END && it->kind != IT_PATCH && it->to > p->n)
            it->to = p->n;
        if (it->to2 > p->n)
            it->to2 = p->n;
    }
    p->fl_undef = p->fl_undef_any;
}
